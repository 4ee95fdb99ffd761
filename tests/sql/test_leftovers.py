"""Copies of the log that nothing reads any more are dropped from the warehouse."""

from __future__ import annotations

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.leftovers import drop_copied_log, drop_other_engine
from tippers_dagster.sql.roles import ensure_roles

COPY = "connection_source.user_ap_trajectory"


def _execute(settings: Settings, *statements: str) -> None:
    with warehouse_engine(settings).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _there(settings: Settings, table: str) -> bool:
    with warehouse_engine(settings).connect() as connection:
        found = connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": table})
    return found is not None


def test_the_synced_session_table_is_dropped(stack: Settings) -> None:
    own = stack.model_copy(update={"source_url": stack.database_url})
    _execute(own, "CREATE SCHEMA connection_source", f"CREATE TABLE {COPY} (mac_address text)")
    drop_copied_log(stack)
    assert _there(own, COPY), "without a source of its own, the deployment has no such connection"
    drop_copied_log(own)
    assert not _there(own, COPY)


def test_the_synced_session_table_stays_while_it_is_read(stack: Settings) -> None:
    own = stack.model_copy(update={"source_url": stack.database_url})
    _execute(
        own,
        "CREATE SCHEMA connection_source",
        f"CREATE TABLE {COPY} (mac_address text)",
        f"CREATE VIEW rules.device__long AS SELECT mac_address FROM {COPY}",
    )
    drop_copied_log(own)
    assert _there(own, COPY)
    _execute(own, "DROP VIEW rules.device__long")
    drop_copied_log(own)
    assert not _there(own, COPY)


def test_what_postgresql_needs_is_dropped_for_duckdb(stack: Settings) -> None:
    ensure_roles(stack)
    _execute(
        stack,
        "CREATE TABLE log.sessions (chunk text) PARTITION BY LIST (chunk)",
        "CREATE TABLE log.\"sessions 1\" PARTITION OF log.sessions FOR VALUES IN ('1')",
        "SET LOCAL ROLE tippers_builder",
        "CREATE VIEW staging.stg_sessions AS SELECT * FROM log.sessions",
        "CREATE TABLE staging.int_sessions (mac_address text)",
        "CREATE TABLE rules.device__long (mac_address text)",
    )
    drop_other_engine(stack)
    for table in ("log.sessions", "staging.stg_sessions", "staging.int_sessions"):
        assert not _there(stack, table)
    assert _there(stack, "rules.device__long")
