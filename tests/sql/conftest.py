"""A deployment on PostgreSQL whose dbt project has no definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sql.definitions import use_bare_project
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

TABLES = """
    CREATE SCHEMA IF NOT EXISTS staging;
    CREATE SCHEMA IF NOT EXISTS indexes;
    CREATE TABLE staging.int_sessions AS
    SELECT 'm' || n % 100 AS mac_address, n::numeric(10, 2) AS seconds, 'office' AS room_type,
        timestamp '2025-01-01' + n * interval '1 hour' AS start_time, n % 7 + 1 AS weekday
    FROM generate_series(1, 5000) n;
    CREATE TABLE indexes.device__devices AS SELECT 'm' || n AS mac_address
    FROM generate_series(0, 49) n;
    ANALYZE;
"""


@pytest.fixture
def bare(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TIPPERS_SQL_ENGINE", "postgres")
    return use_bare_project(monkeypatch, tmp_path / "project")


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.second_engine)])
def on_engine(
    request: pytest.FixtureRequest,
    stack: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """The same on each engine."""
    monkeypatch.setenv("TIPPERS_SQL_ENGINE", request.param)
    return use_bare_project(monkeypatch, tmp_path / "project")


@pytest.fixture
def campus(stack: Settings) -> Settings:
    """Sessions and an index exist; no other definition is computed."""
    with warehouse_engine(stack).begin() as connection:
        connection.exec_driver_sql(TABLES.replace("%", "%%"))
    return stack.model_copy(update={"sql_engine": "postgres", "sql_timeout_seconds": 2})
