"""The simulator's counts against plain Python, bin by bin and device by device."""

import datetime as dt
from collections import defaultdict
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from tippers_dagster.campus.source.schema import SESSIONS, SPACES, TRUTH_OCCUPANCY
from tippers_dagster.simulation import Campus, CampusOptions, simulate_campus
from tippers_dagster.simulation.calendar import Bins, Calendar
from tippers_dagster.simulation.truth import Counter, Intervals

Counts = dict[tuple[str, int], int]
SPRING = CampusOptions(people=40, buildings=2, days=10, start=dt.date(2025, 3, 3), seed=5)
AUTUMN = CampusOptions(people=40, buildings=1, days=9, start=dt.date(2025, 10, 28), seed=6)
HALF_HOUR = CampusOptions(
    people=30,
    buildings=1,
    days=8,
    start=dt.date(2025, 4, 1),
    timezone="Australia/Lord_Howe",
    open_session_seconds=9 * 86400,
)


@pytest.mark.parametrize("options", [SPRING, AUTUMN, HALF_HOUR], ids=["spring", "autumn", "half"])
def test_true_device_counts_match_the_session_rows(options: CampusOptions) -> None:
    campus = simulate_campus(options)
    batches = list(campus.batches())
    sessions = pa.concat_tables(b.rows for b in batches if b.kind == SESSIONS)
    counts = pa.concat_tables(b.rows for b in batches if b.kind == TRUTH_OCCUPANCY)
    found = {
        (row["space_id"], int(row["interval_begin_time"].timestamp())): row["number_connections"]
        for row in counts.to_pylist()
    }
    assert len(found) == counts.num_rows
    assert set(counts["interval_seconds"].to_pylist()) == {3600}
    assert found == _recount(campus, sessions)


def _recount(campus: Campus, sessions: pa.Table) -> Counts:
    """The meaning of the numbers, written as plainly as possible."""
    zone = ZoneInfo(campus.options.timezone)
    parents = {row["space_id"]: row["parent_space_id"] for row in campus.tables[SPACES].to_pylist()}
    devices: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in _one_per_session(sessions.to_pylist()):
        if not row["mac_address"] or row["space_id"] not in parents:
            continue
        start = int(row["start_time"].replace(tzinfo=zone).timestamp())
        if row["end_time"] is None:
            end = start + campus.options.open_session_seconds
        else:
            end = int(row["end_time"].replace(tzinfo=zone).timestamp())
        for begin in _hours(start, max(end, start + 1), zone):
            space = row["space_id"]
            while space is not None:
                devices[space, begin].add(row["mac_address"])
                space = parents[space]
    return {key: len(macs) for key, macs in devices.items()}


def _one_per_session(rows: list[dict]) -> list[dict]:
    """A closed row stands for an open one, and equal rows are one."""
    kept: dict[tuple, dict] = {}
    for row in rows:
        session = (row["mac_address"], row["sensor_id"], row["space_id"], row["start_time"])
        if row["end_time"] is not None and row["end_time"] < row["start_time"]:
            continue
        if session not in kept or kept[session]["end_time"] is None:
            kept[session] = row
    assert len(kept) < len(rows), "some sessions have several rows"
    return list(kept.values())


def _hours(start: int, end: int, zone: ZoneInfo) -> list[int]:
    """Starts of the bins that [start, end) overlaps."""
    begins = []
    day = dt.datetime.fromtimestamp(start, zone).date()
    midnight = _midnight(day, zone)
    while midnight < end:
        following = _midnight(day + dt.timedelta(days=1), zone)
        bins = range(midnight, following, 3600)
        begins += [b for b in bins if b < end and min(b + 3600, following) > start]
        day, midnight = day + dt.timedelta(days=1), following
    return begins


def _midnight(day: dt.date, zone: ZoneInfo) -> int:
    return int(dt.datetime.combine(day, dt.time(), zone).timestamp())


@pytest.mark.parametrize("seed", range(5))
def test_counter_against_sets(seed: int) -> None:
    """Random trees and intervals, in blocks, over two periods."""
    rng = np.random.default_rng(seed)
    spaces = 12
    parent = np.array([int(rng.integers(-1, i)) if i else -1 for i in range(spaces)])
    calendar = Calendar.of("America/Los_Angeles", dt.date(2025, 3, 7), 6)
    bins = (Bins.of(calendar, 900), Bins.of(calendar, 3600))
    edges = [int(calendar.midnights[i]) for i in (0, 3, 6)]
    counters = [Counter(parent, bins, low, high) for low, high in pairwise(edges)]
    expected: list[dict[tuple[int, int], set[tuple[int, int]]]] = [defaultdict(set) for _ in bins]
    for block in range(3):
        start = rng.integers(edges[0], edges[2], 80)
        end = np.minimum(start + rng.integers(1, 30 * 3600, 80), edges[2])
        rows = Intervals(rng.integers(0, 9, 80), rng.integers(0, spaces, 80), start, end)
        rest = counters[1].add(counters[0].add(rows))
        assert len(rest.entity) == 0
        _expect(expected, rows, block, parent, bins)
    for level in range(2):
        tables = [counter.tables()[level] for counter in counters]
        found = {
            (space, begin): count
            for table in tables
            for space, _, begin, count in zip(*table.to_pydict().values(), strict=True)
        }
        assert found == {key: len(value) for key, value in expected[level].items()}


def _expect(
    expected: list[dict[tuple[int, int], set[tuple[int, int]]]],
    rows: Intervals,
    block: int,
    parent: np.ndarray,
    bins: tuple[Bins, ...],
) -> None:
    for entity, space, start, end in zip(
        rows.entity.tolist(), rows.space.tolist(), rows.start.tolist(), rows.end.tolist(),
        strict=True,
    ):  # fmt: skip
        for level, b in enumerate(bins):
            low, high = b.index(np.array([start, end - 1]))
            for begin in b.begins(np.arange(low, high + 1)).tolist():
                above = space
                while above >= 0:
                    expected[level][above, begin].add((block, entity))
                    above = int(parent[above])
