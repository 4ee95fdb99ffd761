"""Connections that read and write Arrow data."""

from contextlib import closing

import psycopg2
import pytest

from tippers_dagster.platform.postgres.adbc import adbc_connection


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
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert _answer(database, "SELECT now() AS now, 2::bigint AS x, 'ü' AS name")["x"] == 2  # type: ignore[index]


def test_an_unavailable_server_is_an_error_each_time(tmp_path: object) -> None:
    from adbc_driver_postgresql import dbapi

    for _ in range(2):
        with pytest.raises(dbapi.Error):
            adbc_connection(f"postgresql://postgres@/none?host={tmp_path}")
