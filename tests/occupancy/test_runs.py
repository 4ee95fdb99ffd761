"""Which runs are active, what they cover, and that two never compute the same chunk at once."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import numpy as np
import pytest

from tests.occupancy import campus
from tests.stack.waiting import until
from tippers_dagster.automation.orphaned_runs import IN_PROCESS_TAG
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import LowMemory
from tippers_dagster.occupancy import runs
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.partitions import sync_partitions
from tippers_dagster.occupancy.runs import (
    ONE_KEY_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    ActiveRun,
    active_runs,
    fail_dead_runs,
    run_locks,
)
from tippers_dagster.occupancy.state import DERIVED, SESSIONS, SOURCE, load_state
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.locks.locks import advisory_locks, run_processes
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.date(2025, 1, 6)
W1, W2, W3 = (str(MONDAY + dt.timedelta(weeks=n)) for n in range(3))

HOLD = """
import sys, time, logging
from tippers_dagster.occupancy.runs import run_locks
from tippers_dagster.settings import get_settings
asset, run_id, seconds, *chunks = sys.argv[1:]
with run_locks(get_settings(), run_id, asset, chunks, logging.getLogger()):
    print("held", flush=True)
    time.sleep(float(seconds))
print("freed", flush=True)
time.sleep(600)
"""


@pytest.fixture
def settings(stack: Settings) -> Settings:
    campus.fill(stack, {"hall": None, "r1": "hall", "r2": "hall", "r3": "hall"})
    track(stack, space="hall", start=MONDAY, end=MONDAY + dt.timedelta(weeks=3))
    return stack


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(settings) as instance:
        yield instance


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def hold(
    holders: list[subprocess.Popen[str]], asset: str, run_id: str, seconds: float, *chunks: str
) -> subprocess.Popen[str]:
    """A process that holds a run's locks for a while, and then stays alive."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, asset, run_id, str(seconds), *chunks],
        stdout=subprocess.PIPE,
        text=True,
    )
    holders.append(process)
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def a_run(instance: dg.DagsterInstance, asset: str, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(
        occupancy_definitions(get_settings()).get_repository_def().get_job("__ASSET_JOB"),
        tags=tags,
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([dg.AssetKey(asset)]),
    )


def test_partitions_that_runs_cover(settings: Settings, instance: dg.DagsterInstance) -> None:
    partitions = sync_partitions(settings, instance)
    a_run(instance, SESSIONS, **{ONE_KEY_TAG: W2})
    a_run(instance, SOURCE, **{RANGE_START_TAG: f"r1|{W1}", RANGE_END_TAG: f"r2|{W2}"})
    done = a_run(instance, DERIVED, **{ONE_KEY_TAG: f"hall|{W1}"})
    instance.report_run_failed(done)
    state = load_state(settings, partitions.grid, partitions.sources)
    found = {run.asset: run for run in active_runs(instance)}
    assert set(found) == {SESSIONS, SOURCE}
    sessions = found[SESSIONS].mask(state.sessions, *partitions.keys[SESSIONS])
    assert sessions.tolist() == [[False, True, False]]
    source = found[SOURCE].mask(state.source, *partitions.keys[SOURCE])
    assert state.source.spaces == ["r1", "r2", "r3"]
    assert source.tolist() == [[True, True, False], [True, True, False], [False] * 3]


def test_a_run_whose_corner_no_longer_exists(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    partitions = sync_partitions(settings, instance)
    level = load_state(settings, partitions.grid, partitions.sources).source
    run = ActiveRun("x", SOURCE, dg.DagsterRunStatus.STARTED, ("gone", W1), ("r2", W2))
    mask = run.mask(level, *partitions.keys[SOURCE])
    assert np.argwhere(mask).tolist() == [[1, 0], [1, 1]]


def test_runs_of_other_assets_are_ignored(instance: dg.DagsterInstance) -> None:
    a_run(instance, "session_source", **{ONE_KEY_TAG: W1})
    assert active_runs(instance) == []


def test_the_second_run_of_a_chunk_waits(
    settings: Settings, holders: list[subprocess.Popen[str]]
) -> None:
    first = hold(holders, SESSIONS, "run-1", 1.5, W1, W2)
    assert said(first) == "held"
    other_chunk = hold(holders, SESSIONS, "run-2", 0, W3)
    other_asset = hold(holders, SOURCE, "run-3", 0, W1, W2)
    assert said(other_chunk) == said(other_asset) == "held"
    with run_locks(settings, "run-4", SESSIONS, [W2, W3], quiet()):
        assert said(first) == "freed"


def test_overlapping_runs_do_not_block_each_other_for_ever(
    settings: Settings, holders: list[subprocess.Popen[str]]
) -> None:
    overlapping = [(W1, W2), (W2, W3), (W3, W1), (W1, W2, W3)]
    started = [
        hold(holders, SESSIONS, f"run-{i}", 0.2, *chunks) for i, chunks in enumerate(overlapping)
    ]
    assert [(said(p), said(p)) for p in started] == [("held", "freed")] * 4


def test_a_killed_process_holds_nothing(
    settings: Settings, holders: list[subprocess.Popen[str]]
) -> None:
    process = hold(holders, SESSIONS, "run-1", 600, W1)
    assert said(process) == "held"
    os.kill(process.pid, signal.SIGKILL)
    with run_locks(settings, "run-2", SESSIONS, [W1], quiet()):
        pass


def test_runs_whose_process_died_are_failed(
    settings: Settings,
    instance: dg.DagsterInstance,
    holders: list[subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive = a_run(instance, SESSIONS, **{ONE_KEY_TAG: W1})
    dead = a_run(instance, SESSIONS, **{ONE_KEY_TAG: W2})
    assert said(hold(holders, SESSIONS, alive.run_id, 0, W1)) == "held"
    assert fail_dead_runs(settings, instance) == [], "both have only just started"
    monkeypatch.setattr("tippers_dagster.automation.orphaned_runs.GRACE_SECONDS", 0)
    assert fail_dead_runs(settings, instance) == [dead.run_id]
    assert instance.get_run_by_id(dead.run_id).status == dg.DagsterRunStatus.FAILURE
    assert [run.run_id for run in active_runs(instance)] == [alive.run_id]
    holders[0].kill()
    until(lambda: fail_dead_runs(settings, instance) == [alive.run_id], 10)


def test_dead_runs_of_commands_are_distinguished_from_others(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.op
    def wait() -> None: ...

    @dg.job
    def somebodys() -> None:
        wait()

    others = instance.create_run_for_job(somebodys, status=dg.DagsterRunStatus.STARTED)
    ours = instance.create_run_for_job(
        somebodys, status=dg.DagsterRunStatus.STARTED, tags={IN_PROCESS_TAG: "true"}
    )
    monkeypatch.setattr("tippers_dagster.automation.orphaned_runs.GRACE_SECONDS", 0)
    assert fail_dead_runs(settings, instance) == [ours.run_id]
    assert instance.get_run_by_id(others.run_id).status == dg.DagsterRunStatus.STARTED


def test_runs_wait_for_memory_before_they_lock_anything(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(settings: Settings, log: object) -> None:
        assert run_processes(settings, ["waiting"]).alive == {"waiting"}, (
            "it does not count as dead"
        )
        with advisory_locks(settings, [f"chunk {SOURCE} {W1}"], quiet()):
            raise LowMemory("Only 12 MB are free.")

    monkeypatch.setattr(runs, "wait_for_memory", short)
    with pytest.raises(LowMemory), run_locks(settings, "waiting", SOURCE, [W1], quiet()):
        raise AssertionError("it began")


def quiet() -> dg.DagsterLogManager:
    return dg.build_asset_context().log
