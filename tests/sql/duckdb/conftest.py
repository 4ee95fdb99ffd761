"""A deployment on DuckDB: a small log in the lake, and tables of definitions in the warehouse."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.dbt_project.lake import write_lake, write_spaces
from tests.dbt_project.oracle import Session
from tests.sql.definitions import MACS, use_bare_project
from tippers_dagster.settings import Settings, get_settings

START = dt.datetime(2025, 1, 6, 9)


@pytest.fixture
def lake(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The campus of ``fill_source`` in the lake: three sessions of each device, one room."""
    monkeypatch.setenv("TIPPERS_SQL_ENGINE", "duckdb")
    monkeypatch.setenv("TIPPERS_SQL_TIMEOUT_SECONDS", "2")
    get_settings.cache_clear()
    settings = use_bare_project(monkeypatch, tmp_path / "project")
    write_spaces(settings)
    write_lake(settings, [session(n, day) for n in range(len(MACS)) for day in range(3)], [])
    return settings


def session(n: int, day: int) -> Session:
    """A device's session of a day; each device's are an hour longer than the previous one's."""
    start = START + dt.timedelta(days=day)
    end = start + dt.timedelta(hours=n + 1)
    seconds = [round(t.replace(tzinfo=dt.UTC).timestamp()) for t in (start, end)]
    return Session(MACS[n], "ap1", "1", start, end, *seconds)
