"""A campus of which a week that contains the present is tracked."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen
from tests.sql.definitions import bare_project
from tippers_dagster.campus.local_time import chunk_key
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.settings import Settings, get_settings

PARENTS = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall"}
MAC = "00:11:22:33:44:55"


@pytest.fixture
def bare(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment with no definitions but staging models: they are parsed in a moment."""
    monkeypatch.setenv("TIPPERS_DBT_PROJECT", str(bare_project(stack.home_path.parent / "project")))
    get_settings.cache_clear()
    return get_settings()


@pytest.fixture
def now() -> dt.datetime:
    """The local time."""
    return dt.datetime.now(ZoneInfo("America/Los_Angeles")).replace(tzinfo=None)


@pytest.fixture
def week(now: dt.datetime) -> str:
    """The chunk that contains it."""
    return chunk_key(now.date(), "week")


@pytest.fixture
def live(bare: Settings, now: dt.datetime, week: str) -> Settings:
    """Two weeks up to the present are tracked; one row names no space."""
    monday = dt.date.fromisoformat(week)
    start = max(now - dt.timedelta(hours=1), dt.datetime.combine(monday, dt.time()))
    rows = [Seen(MAC, "r1", start, now), Seen(MAC, "nowhere", start, now)]
    campus.fill(bare, PARENTS, rows)
    track_space(bare, space="campus", start=monday - dt.timedelta(7), end=monday + dt.timedelta(7))
    return bare
