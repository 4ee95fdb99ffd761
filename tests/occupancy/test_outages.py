"""Commands during a database restart and after being killed: nothing is computed twice."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.conftest import server_folder
from tests.occupancy import campus
from tests.occupancy.campus import Seen, stale
from tests.stack.waiting import until
from tippers_dagster.automation import orphaned_runs as runs
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.runs import active_runs, fail_dead_runs
from tippers_dagster.occupancy.state import DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.locks import keeper
from tippers_dagster.platform.postgres.embedded import postmaster_pid, start_embedded
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

pytestmark = pytest.mark.slow

MONDAY = dt.date(2025, 1, 6)
TREE = {"campus": None, "b0": "campus", "r0": "b0", "r1": "b0"}

SLOWLY = """
import pathlib, sys, time
from tippers_dagster.occupancy.counting import Counter
folder, count = pathlib.Path(sys.argv[1]), Counter.count_sources
def slowly(*given):
    (folder / "counting").touch()
    while not (folder / "go on").exists():
        time.sleep(0.1)
    return count(*given)
Counter.count_sources = slowly
sys.argv[1:] = ["occupancy", "materialize"]
from tippers_dagster.cli import main
main()
"""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with server_folder() as home:
        monkeypatch.setenv("TIPPERS_HOME", str(home))
        get_settings.cache_clear()
        settings = get_settings()
        rows = [
            Seen(f"m{i % 3}", f"r{i % 2}", at, at + dt.timedelta(hours=1))
            for i in range(8)
            for at in [dt.datetime.combine(MONDAY + dt.timedelta(weeks=i % 2), dt.time(9))]
        ]
        campus.fill(settings, TREE, rows)
        track_space(settings, space="campus", start=MONDAY, end=MONDAY + dt.timedelta(weeks=2))
        yield settings


def materialize_slowly(folder: Path) -> subprocess.Popen[str]:
    """A command that has reached the counting of the first chunks, and waits there."""
    command = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(folder)], stderr=subprocess.PIPE, text=True
    )
    until((folder / "counting").exists, 90)
    return command


def computed(settings: Settings) -> dict[str, tuple[int, int]]:
    """Runs that computed anything, and partitions computed, by asset."""
    query = sa.text("SELECT asset, count(*), sum(partitions) FROM tippers.run_duration GROUP BY 1")
    with warehouse_engine(settings).connect() as connection:
        return {asset: (n, int(partitions)) for asset, n, partitions in connection.execute(query)}


def statuses(instance: dg.DagsterInstance) -> Counter[str]:
    return Counter(run.status.value for run in instance.get_runs())


def test_a_run_continues_while_the_database_restarts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = materialize_slowly(tmp_path)
    server = postmaster_pid(settings.home_path)
    assert server is not None
    os.kill(server, signal.SIGINT)
    until(lambda: postmaster_pid(settings.home_path) is None, 30)
    time.sleep(2 * keeper.PING_SECONDS)
    start_embedded(settings.home_path)
    monkeypatch.setattr(runs, "GRACE_SECONDS", 0)
    with dagster_instance(settings) as instance:
        assert [run.asset for run in active_runs(instance)] == [SOURCE]
        assert fail_dead_runs(settings, instance) == []
        second = subprocess.Popen(
            [sys.executable, "-m", "tippers_dagster.cli", "occupancy", "materialize"]
        )
        time.sleep(2 * keeper.PING_SECONDS)
        assert fail_dead_runs(settings, instance) == []
        (tmp_path / "go on").touch()
        assert (first.wait(120), second.wait(120)) == (0, 0)
        # Both may start a run of the last levels: the second finds them computed.
        assert statuses(instance) in [{"SUCCESS": n} for n in (4, 5, 6)]
        assert len(instance.get_materialized_partitions(dg.AssetKey(SOURCE))) == 4
    assert stale(settings) == {}
    assert computed(settings) == {SESSIONS: (1, 2), SOURCE: (1, 4), DERIVED: (1, 4), DAYS: (1, 2)}


def test_a_killed_command_is_seen_at_once(settings: Settings, tmp_path: Path) -> None:
    first = materialize_slowly(tmp_path)
    first.kill()
    first.wait()
    with dagster_instance(settings) as instance:
        assert statuses(instance) == {"SUCCESS": 1, "STARTED": 1}
        materialize(settings, instance)
        assert statuses(instance) == {"FAILURE": 1, "SUCCESS": 4}
    assert stale(settings) == {}
    assert computed(settings) == {SESSIONS: (1, 2), SOURCE: (1, 4), DERIVED: (1, 4), DAYS: (1, 2)}
