"""Readings written by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tippers_dagster.occupancy.status import LevelStatus
from tippers_dagster.watching.definitions import STANDINGS
from tippers_dagster.watching.figures import (
    Database,
    Definitions,
    Disk,
    Folder,
    Newest,
    Occupancy,
    Problem,
    Queue,
    Reading,
    Rejects,
    Retention,
    Storage,
)

AT = dt.datetime(2026, 3, 4, 17, 30, tzinfo=dt.UTC)
NEWEST = Newest("2026-03-02", True, 12.0, 5.0, 70_000, 0, 0.0, 0.01)


def level(asset: str, wanted: int, *, stale: int = 0, failed: int = 0) -> LevelStatus:
    examples = ["12|2026-03-02"] if failed else []
    return LevelStatus(asset, wanted, wanted - stale - failed, 0, stale, failed, examples)


def occupancy(newest: Newest | None = NEWEST, *, stale: int = 0, failed: int = 0) -> Occupancy:
    levels = (
        level("sessions", 52),
        level("source_occupancy", 104_000, stale=stale, failed=failed),
        level("derived_occupancy", 2_132),
        level("days_and_encounters", 52),
    )
    return Occupancy(levels, newest)


def definitions(due: int = 0, *problems: Problem, **standings: int) -> Definitions:
    return Definitions({s: standings.get(s, 0) for s in STANDINGS}, due, problems)


def queue(**changes: Any) -> Queue:
    figures = {
        "queued": 0,
        "oldest_wait": 0.0,
        "running": {"occupancy": 1, "others": 1},
        "longest_run": 65.0,
        "failed_hour": 0,
        "failed_day": 2,
        "ticks": {"session_source_observer": 3.0, "occupancy_automation": 2.0},
        "heartbeats": {"SENSOR": 12.0},
    }
    return Queue(**{**figures, **changes})


def database(**changes: Any) -> Database:
    figures = {
        "held": 3,
        "waiting": 0,
        "longest_wait": 0.0,
        "blocked": 0,
        "longest_blocked": 0.0,
        "connections": 31,
        "max_connections": 200,
        "longest_transaction": 0.2,
    }
    return Database(**{**figures, **changes})


def reading(**changes: Any) -> Reading:
    """Of a deployment in which all is well."""
    figures: dict[str, Any] = {
        "seconds": 0.05,
        "services": {"code server": None, "daemon": None, "web server": None, "app": None},
        "occupancy": occupancy(),
        "definitions": definitions(fresh=112),
        "queue": queue(),
        "rejects": Rejects(0, 0, 0),
        "database": database(),
        "retention": Retention(True, 7200.0, 0, 12, 3),
        "disk": Disk(80 << 30, 200 << 30),
        "storage": Storage({"warehouse": 3 << 30, "dagster": 1 << 30}, {"tippers": 2 << 30}),
        "lake": {"sessions": Folder(52, 4 << 30), "presence": Folder(52, 1 << 30)},
    }
    return Reading(AT, "0.1.0", **{**figures, **changes})


def nothing_read() -> Reading:
    """While no database answers."""
    parts = ("occupancy", "definitions", "queue", "rejects", "database", "retention", "storage")
    why = "connection refused"
    return Reading(AT, "0.1.0", services={}, failures=dict.fromkeys(parts, why))
