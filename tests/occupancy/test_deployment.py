"""A whole running deployment: daemon, web server and code server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from tests.deployment import FLOORS, MONDAY, ROOMS, Deployed
from tests.stack.waiting import until
from tippers_dagster.campus.spaces.tracking import list_tracked
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.status import LevelStatus, occupancy_status
from tippers_dagster.occupancy.tracking import track_space, untrack_space
from tippers_dagster.platform.dagster.internals import launched_runs
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def running(deployed: Deployed) -> Deployed:
    return deployed


@pytest.fixture
def settings(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Nothing is tracked, and a test may track weeks that no other does."""
    settings = deployed.enter(monkeypatch)
    assert list_tracked(settings) == []
    yield settings
    for space in {tracked.space for tracked in list_tracked(settings)}:
        untrack_space(settings, space=space)


@pytest.fixture
def tracked(settings: Settings) -> Settings:
    """Three weeks of the plain campus are tracked, and computed."""
    _track(settings, "campus", since=0, weeks=3)
    wait_until_up_to_date(settings, chunks=3)
    return settings


def test_newly_tracked_spaces_are_computed_once_in_few_runs(
    running: Deployed, settings: Settings
) -> None:
    before = _computed(settings)
    since = MONDAY + dt.timedelta(weeks=6)
    end = since + dt.timedelta(weeks=3)
    running.tippers("track", "--space", "campus", "--start", str(since), "--end", str(end))
    wait_until_up_to_date(settings, chunks=3)
    computed = _computed(settings)
    assert _grown(before, computed) == {
        "sessions": (1, 3),
        "source_occupancy": (1, 3 * ROOMS),
        "derived_occupancy": (1, 3 * (FLOORS + 1)),
        "days_and_encounters": (1, 3),
    }
    _track(settings, "f1", since=6, weeks=4)  # overlaps: only the new week is computed
    wait_until_up_to_date(settings, chunks=4)
    after = _computed(settings)
    assert after["source_occupancy"][1] - computed["source_occupancy"][1] == ROOMS
    assert max(runs for runs, _ in _grown(before, after).values()) <= 2


def test_a_late_session_reaches_its_space_and_those_above_only(
    tracked: Settings,
) -> None:
    settings = tracked
    before = _computed(settings)
    with (
        closing(psycopg2.connect(databases(settings).source)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO source.user_ap_trajectory VALUES "
            "('at night', 'ap', '2025-01-15 05:00', '2025-01-15 05:30', 'r4')"
        )
    until(
        lambda: (
            _computed(settings)["derived_occupancy"][1] >= before["derived_occupancy"][1] + 2
            and _up_to_date(occupancy_status(settings))
        ),
        120,
    )
    grown = {a: n - before[a][1] for a, (_, n) in _computed(settings).items()}
    assert grown == {
        "sessions": 1,
        "source_occupancy": 1,
        "derived_occupancy": 2,
        "days_and_encounters": 1,
    }
    read = read_occupancy("campus", "2025-01-15T05:00", "2025-01-15T06:00", 1800)
    assert read["number_connections"].to_pylist() == [1, 0]


LAUNCH = """
mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""
BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""


RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
BACKFILL_STATE = """
query($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } }
  }
}"""


def test_the_page_s_materialize_button_works(running: Deployed, tracked: Settings) -> None:
    runs = [
        _launch(running, "session_source", {"dagster/partition": "2025-01-13"}),
        _launch(running, "sessions", {"dagster/partition": "2025-01-13"}),
        _launch(running, "days_and_encounters", {"dagster/partition": "2025-01-13"}),
        _launch(running, "source_occupancy", {"dagster/partition": "r3|2025-01-13"}),
        _launch(
            running,
            "derived_occupancy",
            {
                "dagster/asset_partition_range_start": "campus|2025-01-06",
                "dagster/asset_partition_range_end": "f0|2025-01-13",
            },
        ),
    ]

    def states() -> set[str]:
        return {running.graphql(RUN, id=run)["runOrError"]["status"] for run in runs}

    until(lambda: states() <= {"SUCCESS", "FAILURE", "CANCELED"}, 180)
    assert states() == {"SUCCESS"}


def test_the_page_s_backfill_works(running: Deployed, tracked: Settings) -> None:
    chosen = {
        "sessions": ["2025-01-06"],
        "source_occupancy": ["r1|2025-01-06", "r2|2025-01-13"],
        "derived_occupancy": ["campus|2025-01-06"],
    }
    backfills = []
    for asset, partitions in chosen.items():
        params = {"assetSelection": [{"path": [asset]}], "partitionNames": partitions}
        answer = running.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        backfills.append(answer["backfillId"])

    def states() -> list[dict[str, Any]]:
        return [
            running.graphql(BACKFILL_STATE, id=backfill)["partitionBackfillOrError"]
            for backfill in backfills
        ]

    until(lambda: all(s["status"] != "REQUESTED" for s in states()), 240, lambda: str(states()))
    assert {s["status"] for s in states()} == {"COMPLETED_SUCCESS"}, states()


def _launch(running: Deployed, asset: str, tags: dict[str, str]) -> str:
    """Start a run as the page does; its id."""
    params = {
        "mode": "default",
        "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        "runConfigData": "{}",
        "selector": {
            "repositoryLocationName": "tippers",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
        },
    }
    answer = running.graphql(LAUNCH, params=params)["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


@pytest.mark.outage
def test_a_daemon_killed_in_the_middle_loses_nothing(running: Deployed, settings: Settings) -> None:
    _track(settings, "campus", since=9, weeks=3)
    until(lambda: any(s.running for s in occupancy_status(settings)), 60)
    daemons = [
        child
        for child in running.up.children(recursive=True)
        if "dagster._daemon" in " ".join(child.cmdline())
    ]
    assert daemons
    for daemon in daemons:
        daemon.kill()
    wait_until_up_to_date(settings, chunks=3)


def test_the_definitions_are_those_of_the_page(running: Deployed) -> None:
    answer = running.graphql("{ assetNodes { assetKey { path } groupName } }")
    paths = [n["assetKey"]["path"] for n in answer["assetNodes"] if n["groupName"] == "occupancy"]
    assert sorted(paths) == [
        ["days_and_encounters"],
        ["derived_occupancy"],
        ["presence_retention"],
        ["session_source"],
        ["sessions"],
        ["source_occupancy"],
    ]


def wait_until_up_to_date(settings: Settings, chunks: int) -> None:
    def done() -> bool:
        levels = occupancy_status(settings)
        if levels[0].wanted != chunks or not _up_to_date(levels):
            return False
        # What a run has computed is seen before it has noted how long that took.
        return not launched_runs(databases(settings).dagster)

    until(done, 180, lambda: str([s.numbers for s in occupancy_status(settings)]))


def _up_to_date(levels: list[LevelStatus]) -> bool:
    return all(level.done == level.wanted for level in levels)


def _computed(settings: Settings) -> dict[str, tuple[int, int]]:
    """Runs and partitions computed so far, by asset."""
    query = sa.text("SELECT asset, count(*), sum(partitions) FROM tippers.run_duration GROUP BY 1")
    with warehouse_engine(settings).connect() as connection:
        return {asset: (runs, int(n)) for asset, runs, n in connection.execute(query)}


def _grown(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Runs and partitions computed in between."""
    none = (0, 0)
    return {
        asset: (runs - before.get(asset, none)[0], n - before.get(asset, none)[1])
        for asset, (runs, n) in after.items()
    }


def _track(settings: Settings, space: str, since: int, weeks: int) -> None:
    start = MONDAY + dt.timedelta(weeks=since)
    track_space(settings, space=space, start=start, end=start + dt.timedelta(weeks=weeks))
