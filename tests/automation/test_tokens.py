"""Changes of a source table's rows, detected with PostgreSQL's counters."""

from __future__ import annotations

import time

import pytest

from tests.automation.graph import execute
from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.automation.tokens import MISSING, check_sources, source_tokens
from tippers_dagster.settings import Settings, get_settings


def token(settings: Settings, name: str = "t") -> str:
    return source_tokens(settings, {name: Table("odd Schema", name)})[name]


@pytest.fixture
def settings(stack: Settings) -> Settings:
    execute(stack, 'CREATE SCHEMA "odd Schema"')
    execute(
        stack, 'CREATE TABLE "odd Schema".t AS SELECT i, now() AS at FROM generate_series(1, 5) i'
    )
    return stack


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO t VALUES (6)",
        "UPDATE t SET i = 9 WHERE i = 1",
        "DELETE FROM t WHERE i = 1",
        "TRUNCATE t",
        "DROP TABLE t; CREATE TABLE t AS SELECT i, now() AS at FROM generate_series(1, 5) i",
        "DROP TABLE t",
        "ALTER TABLE t ALTER i TYPE text",
    ],
)
def test_every_change_is_detected(settings: Settings, change: str) -> None:
    before = token(settings)
    assert token(settings) == before
    execute(settings, f'SET LOCAL search_path = "odd Schema"; {change}')
    assert token(settings) != before


def test_reading_and_vacuum_change_nothing(settings: Settings) -> None:
    before = token(settings)
    execute(settings, 'SELECT count(*) FROM "odd Schema".t')
    execute(settings, 'ANALYZE "odd Schema".t')
    assert token(settings) == before


def test_a_missing_table_has_a_token(settings: Settings) -> None:
    assert token(settings, "not there") == MISSING


def test_a_view_changes_with_the_tables_behind_it(settings: Settings) -> None:
    execute(settings, 'CREATE VIEW "odd Schema".v AS SELECT i FROM "odd Schema".t')
    execute(settings, 'CREATE VIEW "odd Schema".w AS SELECT i + 1 AS j FROM "odd Schema".v')
    before = token(settings, "w")
    execute(settings, 'INSERT INTO "odd Schema".t VALUES (6)')
    after = token(settings, "w")
    assert after != before
    execute(
        settings, 'CREATE OR REPLACE VIEW "odd Schema".v AS SELECT i * 2 AS i FROM "odd Schema".t'
    )
    assert token(settings, "w") != after


def test_a_partitioned_table_changes_with_its_partitions(settings: Settings) -> None:
    execute(
        settings,
        'SET LOCAL search_path = "odd Schema"; CREATE TABLE p (i int) PARTITION BY RANGE (i); '
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
    )
    before = token(settings, "p")
    execute(settings, 'INSERT INTO "odd Schema".p VALUES (6)')
    after = token(settings, "p")
    assert after != before
    execute(
        settings,
        'CREATE TABLE "odd Schema".p2 PARTITION OF "odd Schema".p FOR VALUES FROM (10) TO (20)',
    )
    assert token(settings, "p") != after


def test_without_counters_rows_are_counted(settings: Settings) -> None:
    from tippers_dagster.automation.tokens import _token
    from tippers_dagster.platform.warehouse.engine import warehouse_engine

    def counted() -> str:
        with warehouse_engine(settings).connect() as connection:
            return _token(connection, Table("odd Schema", "t"), None)

    before = counted()
    assert counted() == before
    execute(settings, 'UPDATE "odd Schema".t SET i = 77 WHERE i = 1')
    assert counted() != before


def test_a_source_is_checked_at_once_and_then_rarely(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [Node(("t",), source=Table("odd Schema", "t"))]
    monkeypatch.setenv("TIPPERS_REFRESH_SECONDS", "1")
    get_settings.cache_clear()
    settings = get_settings()
    first = check_sources(settings, nodes)
    execute(settings, 'INSERT INTO "odd Schema".t VALUES (6)')
    assert check_sources(settings, nodes) == first
    at_once = check_sources(settings, nodes, at_once=True)
    assert at_once != first
    execute(settings, 'INSERT INTO "odd Schema".t VALUES (7)')
    time.sleep(1.1)
    assert check_sources(settings, nodes) not in (first, at_once)
