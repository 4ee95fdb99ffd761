"""Reading the warehouse as Arrow over connections that are kept open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from adbc_driver_postgresql import dbapi

from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import arrow_connection, read_arrow
from tippers_dagster.settings import Settings

Ask = Callable[[str], dict[str, Any]]

PID = "SELECT pg_backend_pid() AS pid"


@pytest.fixture
def ask(stack: Settings) -> Ask:
    def first_row(sql: str) -> dict[str, Any]:
        row: dict[str, Any] = read_arrow(stack, sql).to_pylist()[0]
        return row

    return first_row


def test_a_connection_is_used_again_in_a_new_transaction(ask: Ask) -> None:
    query = f"{PID}, now() AS now"
    first, then = ask(query), ask(query)
    assert first["pid"] == then["pid"]
    assert first["now"] < then["now"]


def test_what_was_not_committed_is_rolled_back(stack: Settings, ask: Ask) -> None:
    with arrow_connection(stack) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (x int)")
    assert ask("SELECT to_regclass('t')::text AS found") == {"found": None}


def test_a_failed_query_does_not_spoil_the_connection(ask: Ask) -> None:
    before = ask(PID)
    with pytest.raises(dbapi.Error):
        ask("SELECT 1 / 0")
    assert ask(PID) == before


def test_connections_are_separate_while_they_are_used(stack: Settings, ask: Ask) -> None:
    with arrow_connection(stack) as connection, connection.cursor() as cursor:
        cursor.execute(PID)
        assert cursor.fetch_arrow_table().to_pylist()[0] != ask(PID)


def test_a_connection_that_the_server_closed_is_replaced(stack: Settings, ask: Ask) -> None:
    before = ask(PID)
    with closing(psycopg2.connect(databases(stack).warehouse)) as link, link.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%(pid)s)", before)
    assert ask(PID) != before
