"""Place days and device days equal a plain count."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.occupancy import company
from tests.occupancy.company import Session
from tippers_dagster.occupancy.days import device_days, place_days

DAYS = 3


@given(st.integers(0, 1 << 32), st.integers(0, DAYS - 1))
def test_days_of_a_chunk(seed: int, chunk: int) -> None:
    sessions = company.campus(random.Random(seed), DAYS)
    table = company.table(sessions, chunk)
    own = [s for s in sessions if s.chunk == chunk]
    found = place_days(table).to_pylist()
    assert sorted(found, key=str) == sorted(_place_days(own), key=str)
    assert [row["device"] for row in found] == sorted(row["device"] for row in found)
    assert device_days(table).to_pylist() == _device_days(own)


def test_an_empty_chunk() -> None:
    empty = company.table([], 0)
    assert place_days(empty).num_rows == device_days(empty).num_rows == 0


def test_dates_are_local() -> None:
    """Sessions of one chunk are on the dates of the times that the source has."""
    sessions = [Session(1, "hall", None, company.FIRST + hour * 3600, 0) for hour in (3, 30)]
    table = company.table(
        [Session(s.device, s.space, None, s.start, s.start + 60) for s in sessions], 0
    )
    early = [time - dt.timedelta(hours=8) for time in table["start_time"].to_pylist()]
    table = table.set_column(5, "start_time", [early])
    (row,) = place_days(table).to_pylist()
    assert row["local_date"] == early[0].date()
    assert row["hours"] == 1 << early[0].hour


def _place_days(sessions: list[Session]) -> list[dict[str, Any]]:
    groups: dict[Any, list[Session]] = defaultdict(list)
    for s in sessions:
        groups[s.device, s.time.date(), s.space, s.sensor].append(s)
    return [
        {
            "device": device,
            "local_date": date,
            "space": space,
            "sensor": sensor,
            "sessions": len(group),
            "seconds": sum(s.length for s in group),
            "hours": sum(1 << hour for hour in {s.time.hour for s in group}),
        }
        for (device, date, space, sensor), group in groups.items()
    ]


def _device_days(sessions: list[Session]) -> list[dict[str, Any]]:
    groups: dict[Any, list[Session]] = defaultdict(list)
    for s in sessions:
        groups[s.device, s.time.date()].append(s)
    return [
        {
            "device": device,
            "local_date": date,
            "sessions": len(group),
            "seconds": sum(s.length for s in group),
            "first_start": min(s.time for s in group),
            "last_end": max(s.time + dt.timedelta(seconds=s.length) for s in group),
            "known": sum(s.person is not None for s in group),
        }
        for (device, date), group in sorted(groups.items())
    ]
