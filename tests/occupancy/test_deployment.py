"""A whole running deployment: daemon, web server and code server."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import sqlalchemy as sa

from benchmarks.soak import free_ports
from tests.local.waiting import until
from tippers_dagster.local.databases import databases
from tippers_dagster.local.postgres import stop_embedded
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.status import LevelStatus, occupancy_status
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.warehouse.engine import warehouse_engine

pytestmark = pytest.mark.slow

MONDAY = dt.date(2025, 1, 6)
ROOMS, FLOORS = 12, 3


@dataclass(frozen=True)
class Deployed:
    """A running ``tippers up`` and the environment of its home."""

    environment: dict[str, str]
    up: psutil.Process

    def tippers(self, *arguments: str) -> str:
        """Run a command in a separate process; returns its output."""
        done = subprocess.run(
            [sys.executable, "-m", "tippers_dagster.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the web server as its page does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.environment['TIPPERS_WEB_PORT']}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    home = tmp_path_factory.mktemp("deployed") / "home"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TIPPERS_", "DAGSTER_"))},
        "TIPPERS_HOME": str(home),
        **free_ports(),
        "TIPPERS_OBSERVE_RECENT_SECONDS": "1",
        "TIPPERS_AUTOMATE_DEFINITIONS": "false",
    }
    log = (home.parent / "up.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "tippers_dagster.cli", "up"],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    deployed = Deployed(environment, psutil.Process(process.pid))
    try:
        until(lambda: "Everything is up" in _text(log.name), 120, lambda: _text(log.name))
        _ingest(deployed, home.parent)
        yield deployed
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        stop_embedded(home)


@pytest.fixture
def settings(running: Deployed, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in running.environment.items():
        if name.startswith("TIPPERS_"):
            monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    return get_settings()


def test_newly_tracked_spaces_are_computed_once_in_few_runs(
    running: Deployed, settings: Settings
) -> None:
    _track(running, "campus", weeks=3)
    wait_until_up_to_date(settings, chunks=3)
    computed = _computed(settings)
    assert computed == {
        "sessions": (1, 3),
        "source_occupancy": (1, 3 * ROOMS),
        "derived_occupancy": (1, 3 * (FLOORS + 1)),
    }
    _track(running, "f1", weeks=4)  # overlaps: only the new week is computed
    wait_until_up_to_date(settings, chunks=4)
    after = _computed(settings)
    assert after["source_occupancy"][1] - computed["source_occupancy"][1] == ROOMS
    assert max(runs for runs, _ in after.values()) <= 2


def test_a_late_session_reaches_its_space_and_those_above_only(
    running: Deployed, settings: Settings
) -> None:
    before = _computed(settings)
    with (
        closing(psycopg2.connect(databases(settings).source)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO source.user_ap_trajectory VALUES "
            "('late', 'ap', '2025-01-15 03:00', '2025-01-15 03:30', 'r4')"
        )
    until(
        lambda: (
            _computed(settings)["derived_occupancy"][1] >= before["derived_occupancy"][1] + 2
            and _up_to_date(occupancy_status(settings))
        ),
        120,
    )
    grown = {a: n - before[a][1] for a, (_, n) in _computed(settings).items()}
    assert grown == {"sessions": 1, "source_occupancy": 1, "derived_occupancy": 2}
    read = read_occupancy("campus", "2025-01-15T03:00", "2025-01-15T04:00", 1800)
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


def test_the_page_s_materialize_button_works(running: Deployed) -> None:
    runs = [
        _launch(running, "session_source", {"dagster/partition": "2025-01-13"}),
        _launch(running, "sessions", {"dagster/partition": "2025-01-13"}),
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


def test_the_page_s_backfill_works(running: Deployed) -> None:
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


def test_a_daemon_killed_in_the_middle_loses_nothing(running: Deployed, settings: Settings) -> None:
    _track(running, "campus", weeks=6)
    until(lambda: any(s.running for s in occupancy_status(settings)), 60)
    daemons = [
        child
        for child in running.up.children(recursive=True)
        if "dagster._daemon" in " ".join(child.cmdline())
    ]
    assert daemons
    for daemon in daemons:
        daemon.kill()
    wait_until_up_to_date(settings, chunks=6)


def test_the_definitions_are_those_of_the_page(running: Deployed) -> None:
    answer = running.graphql("{ assetNodes { assetKey { path } groupName } }")
    paths = [n["assetKey"]["path"] for n in answer["assetNodes"] if n["groupName"] == "occupancy"]
    assert sorted(paths) == [
        ["derived_occupancy"],
        ["presence_retention"],
        ["session_source"],
        ["sessions"],
        ["source_occupancy"],
    ]


def wait_until_up_to_date(settings: Settings, chunks: int) -> None:
    def done() -> bool:
        levels = occupancy_status(settings)
        return levels[0].wanted == chunks and _up_to_date(levels)

    until(done, 180, lambda: str([s.numbers for s in occupancy_status(settings)]))


def _up_to_date(levels: list[LevelStatus]) -> bool:
    return all(level.done == level.wanted for level in levels)


def _computed(settings: Settings) -> dict[str, tuple[int, int]]:
    """Runs and partitions computed so far, by asset."""
    query = sa.text("SELECT asset, count(*), sum(partitions) FROM tippers.run_duration GROUP BY 1")
    with warehouse_engine(settings).connect() as connection:
        return {asset: (runs, int(n)) for asset, runs, n in connection.execute(query)}


def _track(deployed: Deployed, space: str, weeks: int) -> None:
    end = MONDAY + dt.timedelta(weeks=weeks)
    deployed.tippers("track", "--space", space, "--start", str(MONDAY), "--end", str(end))


def _ingest(deployed: Deployed, folder: Path) -> None:
    spaces = ["campus,Campus,,"]
    spaces += [f"f{i},Floor {i},campus," for i in range(FLOORS)]
    spaces += [f"r{i},Room {i},f{i % FLOORS},R-{i}" for i in range(ROOMS)]
    header = "space_id,space_name,parent_space_id,building_room\n"
    (folder / "spaces.csv").write_text(header + "\n".join(spaces))
    rows = [
        f"device{(day + room) % 5},ap,{MONDAY + dt.timedelta(days=day)} {8 + room % 9:02}:00:00,"
        f"{MONDAY + dt.timedelta(days=day)} {9 + room % 9:02}:30:00,r{room}"
        for day in range(42)
        for room in range(ROOMS)
    ]
    header = "mac_address,sensor_id,start_time,end_time,space_id\n"
    (folder / "sessions.csv").write_text(header + "\n".join(rows))
    for kind in ("spaces", "sessions"):
        deployed.tippers("ingest", kind, str(folder / f"{kind}.csv"))


def _text(path: str) -> str:
    return Path(path).read_text()
