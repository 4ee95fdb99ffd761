"""Materializing in this process: parts of the grid, alongside other runs, after failures."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, look_again, stale
from tests.occupancy.lake import counts_of
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy import launch
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.runs import RANGE_END_TAG, RANGE_START_TAG
from tippers_dagster.occupancy.state import DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.date(2025, 1, 6)
TREE = {"campus": None, "b0": "campus", "b1": "campus", "r0": "b0", "r1": "b0", "r2": "b1"}

COMMAND = [sys.executable, "-m", "tippers_dagster.cli", "occupancy", "materialize"]


def week(n: int) -> dt.date:
    return MONDAY + dt.timedelta(weeks=n)


def seen(mac: str, space: str, n: int) -> Seen:
    start = dt.datetime.combine(week(n), dt.time(9))
    return Seen(mac, space, start, start + dt.timedelta(hours=1))


@pytest.fixture
def settings(stack: Settings) -> Settings:
    rows = [seen(f"m{i % 3}", f"r{i % 3}", i % 4) for i in range(24)]
    campus.fill(stack, TREE, rows)
    track_space(stack, space="campus", start=MONDAY, end=week(4))
    return stack


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(settings) as instance:
        yield instance


def numbers(stages: list[launch.Stage]) -> list[tuple[str, int, int]]:
    return [(stage.asset, stage.partitions, stage.runs) for stage in stages]


def test_everything_is_computed_with_progress_then_nothing(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    told: list[tuple[str, int, int]] = []
    stages = materialize(settings, instance, on_progress=lambda *line: told.append(line))
    assert numbers(stages) == [(SESSIONS, 4, 1), (SOURCE, 12, 1), (DERIVED, 12, 1), (DAYS, 4, 1)]
    assert stale(settings) == {}
    for asset, partitions, _ in numbers(stages):
        done = [d for a, d, total in told if a == asset and total == partitions]
        assert done[0] == 0
        assert done[-1] == partitions
        assert done == sorted(done)
    assert numbers(materialize(settings, instance)) == [
        (SESSIONS, 0, 0),
        (SOURCE, 0, 0),
        (DERIVED, 0, 0),
        (DAYS, 0, 0),
    ]
    assert len(instance.get_materialized_partitions(dg.AssetKey(SOURCE))) == 12


def test_a_part_of_the_grid(settings: Settings, instance: dg.DagsterInstance) -> None:
    part = materialize(
        settings, instance, space="b0", start=dt.date(2025, 1, 15), end=dt.date(2025, 1, 21)
    )
    assert [(asset, n) for asset, n, _ in numbers(part)] == [
        (SESSIONS, 2),
        (SOURCE, 4),
        (DERIVED, 2),
        (DAYS, 2),
    ]
    lake = open_lake(settings)
    assert counts_of(lake, "b0", "2025-01-13") is not None
    assert counts_of(lake, "b1", "2025-01-13") is None
    assert counts_of(lake, "b0", "2025-01-06") is None
    rest = materialize(settings, instance)
    assert [(asset, n) for asset, n, _ in numbers(rest)] == [
        (SESSIONS, 2),
        (SOURCE, 8),
        (DERIVED, 10),
        (DAYS, 2),
    ]
    assert stale(settings) == {}


def test_separate_parts_exclude_partitions_between_them(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """Chunks are in order of tracking: others that cannot be computed yet may lie between them."""
    for n in (10, 6, 9, 7, 8):
        track_space(settings, space="campus", start=week(n), end=week(n + 1))
    part = materialize(settings, instance, start=week(7), end=week(10))
    assert part[0].partitions == 3
    assert {chunk for _, chunk in stale(settings)[DERIVED]}.isdisjoint(
        {week(n).isoformat() for n in (7, 8, 9)}
    )
    assert {chunk for _, chunk in stale(settings)[SESSIONS]} == {
        week(n).isoformat() for n in (0, 1, 2, 3, 6, 10)
    }


def test_again(settings: Settings, instance: dg.DagsterInstance) -> None:
    materialize(settings, instance)
    lake = open_lake(settings)
    before = counts_of(lake, "campus", "2025-01-06")
    lake.delete_prefix("occupancy/")
    lake.delete_prefix("sessions/")
    stages = materialize(settings, instance, again=True)
    assert [stage.partitions for stage in stages] == [4, 12, 12, 4]
    assert counts_of(lake, "campus", "2025-01-06") == before is not None


def test_a_failure_is_explained_and_the_rest_is_kept(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    materialize(settings, instance)
    lake = open_lake(settings)
    campus.add_sessions(settings, [seen("late", "r0", 0), seen("late", "r1", 1)])
    look_again(settings)
    good: dict[str, bytes] = {}

    def damage(asset: str, done: int, total: int) -> None:
        key = sessions_key("2025-01-13")
        if asset == SOURCE and not good:
            good[key] = lake.read_bytes(key)
            lake.write_bytes(key, b"damaged")

    with pytest.raises(TippersError, match="1 of 2 runs of source_occupancy failed") as caught:
        materialize(settings, instance, on_progress=damage)
    assert "not a readable Parquet file" in caught.value.message
    assert "run this again" in (caught.value.hint or "")
    assert stale(settings)[SOURCE] == {("r1", "2025-01-13")}
    for key, data in good.items():
        lake.write_bytes(key, data)
    materialize(settings, instance)
    assert stale(settings) == {}


def test_a_source_that_is_down(settings: Settings, instance: dg.DagsterInstance) -> None:
    change(settings, "ALTER TABLE source.user_ap_trajectory RENAME TO elsewhere")
    with pytest.raises(TippersError, match=r"1 of 1 runs of sessions failed.*user_ap_trajectory"):
        materialize(settings, instance)


def test_partitions_of_another_run_are_waited_for(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    other = instance.create_run_for_job(
        occupancy_definitions(get_settings()).get_repository_def().get_job("__ASSET_JOB"),
        tags={RANGE_START_TAG: "2025-01-06", RANGE_END_TAG: "2025-01-13"},
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([dg.AssetKey(SESSIONS)]),
    )
    worker = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(8)
    assert len(stale(settings)[SESSIONS]) == 4
    instance.report_run_failed(other)
    assert worker.wait(120) == 0
    assert stale(settings) == {}


def test_processes_at_once_compute_nothing_twice(settings: Settings) -> None:
    processes = [subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert stale(settings) == {}
    with campus.source(settings) as cursor:
        cursor.execute("SELECT asset, sum(partitions) FROM tippers.run_duration GROUP BY 1")
        assert dict(cursor.fetchall()) == {SESSIONS: 4, SOURCE: 12, DERIVED: 12, DAYS: 4}
