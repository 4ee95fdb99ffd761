"""Connections that read and write Arrow data."""

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from adbc_driver_postgresql import dbapi

from tippers_dagster.platform.postgres.adbc import adbc_connection, kept_connection


def _answer(url: str, sql: str) -> object:
    with adbc_connection(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table().to_pylist()[0]


def test_connections_are_separate(database: str) -> None:
    with adbc_connection(database) as first, adbc_connection(database) as second:
        cursors = first.cursor(), second.cursor()
        pids = set()
        for cursor in cursors:
            cursor.execute("SELECT pg_backend_pid() AS pid")
            pids.add(cursor.fetch_arrow_table()["pid"][0].as_py())
            cursor.close()
    assert len(pids) == 2


def test_without_a_commit_nothing_is_written(database: str) -> None:
    with adbc_connection(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (x int)")
    assert _answer(database, "SELECT to_regclass('t')::text AS found") == {"found": None}


def test_new_connections_work_after_the_server_dropped_all(database: str) -> None:
    assert _answer(database, "SELECT 1::bigint AS x") == {"x": 1}
    _close_all(database)
    assert _answer(database, "SELECT now() AS now, 2::bigint AS x, 'ü' AS name")["x"] == 2  # type: ignore[index]


def test_an_unavailable_server_is_an_error_each_time(tmp_path: object) -> None:
    for _ in range(2):
        with pytest.raises(dbapi.Error):
            adbc_connection(f"postgresql://postgres@/none?host={tmp_path}")


# --- kept connections ----------------------------------------------------------------------------
PID = "SELECT pg_backend_pid() AS pid"


def _read(url: str, sql: str) -> dict[str, Any]:
    with kept_connection(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        row: dict[str, Any] = cursor.fetch_arrow_table().to_pylist()[0]
        return row


def test_a_kept_connection_is_used_again_in_a_new_transaction(database: str) -> None:
    first, then = (_read(database, f"{PID}, now() AS now") for _ in range(2))
    assert first["pid"] == then["pid"]
    assert first["now"] < then["now"]


def test_the_user_s_first_statement_begins_the_transaction(database: str) -> None:
    for _ in range(2):
        with kept_connection(database) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SELECT current_setting('transaction_read_only') AS read_only")
            assert cursor.fetch_arrow_table().to_pylist() == [{"read_only": "on"}]
    with kept_connection(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only') AS read_only")
        assert cursor.fetch_arrow_table().to_pylist() == [{"read_only": "off"}]


def test_a_kept_connection_is_rolled_back_and_rests_in_no_transaction(database: str) -> None:
    with kept_connection(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (x int)")
    with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT state, to_regclass('t') FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchall() == [("idle", None)]


def test_a_failed_query_does_not_spoil_a_kept_connection(database: str) -> None:
    before = _read(database, PID)
    with pytest.raises(dbapi.Error):
        _read(database, "SELECT 1 / 0")
    assert _read(database, PID) == before


def test_kept_connections_are_separate_while_they_are_used(database: str) -> None:
    with kept_connection(database) as connection, connection.cursor() as cursor:
        cursor.execute(PID)
        assert cursor.fetch_arrow_table().to_pylist()[0] != _read(database, PID)


def test_a_kept_connection_that_the_server_closed_is_replaced(database: str) -> None:
    assert _read(database, "SELECT 1::bigint AS x") == {"x": 1}
    _close_all(database)
    assert _read(database, "SELECT 2::bigint AS x") == {"x": 2}


def test_a_connection_that_is_closed_while_it_is_used_is_replaced(database: str) -> None:
    with kept_connection(database) as connection, connection.cursor() as cursor:
        _close_all(database)
        with pytest.raises(dbapi.Error):
            cursor.execute("SELECT 1")
    assert _read(database, "SELECT 2::bigint AS x") == {"x": 2}


def _close_all(database: str) -> None:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
