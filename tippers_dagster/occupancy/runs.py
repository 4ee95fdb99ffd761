"""Runs of the occupancy assets: which are alive, what they cover, and their locks.

Locks are PostgreSQL advisory locks, so the death of a process frees them at once.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import numpy as np
import psutil
import sqlalchemy as sa

from tippers_dagster.fingerprint import of_text
from tippers_dagster.occupancy.partitions import split_key
from tippers_dagster.occupancy.state import ASSETS, Level
from tippers_dagster.settings import Settings
from tippers_dagster.warehouse.engine import warehouse_engine

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
ONE_KEY_TAG = "dagster/partition"
STALE_ONLY_TAG = "tippers/stale_only"
"""Runs with this tag pass over partitions that are fresh when they start."""

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
GRACE_SECONDS = 60
"""A run that has started holds its lock well before this."""

_held: dict[Settings, tuple[sa.Connection, set[str]]] = {}
"""The connection that holds this process's run locks until it ends, and the runs."""


@dataclass(frozen=True)
class ActiveRun:
    """An unfinished run of one of the occupancy assets, and the corners of what it covers."""

    run_id: str
    asset: str
    status: dg.DagsterRunStatus
    first: tuple[str, str]
    last: tuple[str, str]

    def mask(self, level: Level, rows: list[str], columns: list[str]) -> np.ndarray:
        """bool [spaces, chunks] of the level: what the run covers.

        ``rows`` and ``columns`` are the keys in Dagster's order, in which its range is meant.
        """
        covered = _between(rows, self.first[0], self.last[0])
        chunks = _between(columns, self.first[1], self.last[1])
        return np.outer(
            [space in covered for space in level.spaces], [c in chunks for c in level.chunks]
        )


def active_runs(instance: dg.DagsterInstance) -> list[ActiveRun]:
    """Unfinished runs that materialize partitions of the occupancy assets."""
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        first = run.tags.get(RANGE_START_TAG) or run.tags.get(ONE_KEY_TAG)
        last = run.tags.get(RANGE_END_TAG) or first
        for key in run.asset_selection or ():
            asset = key.to_user_string()
            if asset in ASSETS and first and last:
                corners = split_key(asset, first), split_key(asset, last)
                found.append(ActiveRun(run.run_id, asset, run.status, *corners))
    return found


def fail_dead_runs(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the started runs whose process is gone. Returns their ids.

    The code server notices the death of a run that it launched; nobody does when both died, or
    for a run in a process of its own.
    """
    started = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
            updated_before=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=GRACE_SECONDS),
        )
    )
    mine = [
        record.dagster_run
        for record in started
        if any(k.to_user_string() in ASSETS for k in record.dagster_run.asset_selection or ())
    ]
    if not mine:
        return []
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(
            sa.text("SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory'")
        ).all()
    alive = {(high << 32) | low for high, low in rows}
    dead = [run for run in mine if _lock_of_run(run.run_id) % 2**64 not in alive]
    for run in dead:
        instance.report_run_failed(run, "The process of this run is gone; what it lacks is redone.")
    return [run.run_id for run in dead]


@contextmanager
def run_locks(
    settings: Settings, run_id: str, asset: str, chunks: list[str], log: dg.DagsterLogManager
) -> Iterator[None]:
    """Hold the run's own lock until the process ends, and those of its chunks meanwhile.

    Two runs never compute the same chunk of an asset at once: the second waits.
    """
    _hold_run_lock(settings, run_id)
    keys = sorted(_signed(of_text("chunk", asset, chunk)) for chunk in chunks)
    with _autocommit(settings) as connection:
        every = {"keys": keys}
        ordered = "FROM (SELECT unnest(CAST(:keys AS bigint[])) AS k) AS keys"
        free = connection.scalar(
            sa.text(f"SELECT bool_and(pg_try_advisory_lock(k)) {ordered}"), every
        )
        if not free:
            connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))
            log.info("Waiting for another run that computes some of the same chunks.")
            connection.execute(sa.text(f"SELECT count(pg_advisory_lock(k)) {ordered}"), every)
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))


def wait_for_memory(settings: Settings, log: dg.DagsterLogManager) -> None:
    """Wait while the machine has less free memory than the settings ask for."""
    told = False
    while (free := psutil.virtual_memory().available >> 20) < settings.min_free_memory_mb:
        if not told:
            log.warning(
                f"Waiting for memory: {free} MB free, TIPPERS_MIN_FREE_MEMORY_MB is "
                f"{settings.min_free_memory_mb}."
            )
            told = True
        time.sleep(2)


def _hold_run_lock(settings: Settings, run_id: str) -> None:
    if settings not in _held:
        _held[settings] = _autocommit(settings), set()
    connection, runs = _held[settings]
    if run_id not in runs:
        connection.execute(sa.text("SELECT pg_advisory_lock(:k)"), {"k": _lock_of_run(run_id)})
        runs.add(run_id)


def _autocommit(settings: Settings) -> sa.Connection:
    return warehouse_engine(settings).connect().execution_options(isolation_level="AUTOCOMMIT")


def _lock_of_run(run_id: str) -> int:
    return _signed(of_text("run", run_id))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _between(keys: list[str], first: str, last: str) -> set[str]:
    """Keys from one to another; only these two where either is gone by now."""
    if first in keys and last in keys:
        return set(keys[keys.index(first) : keys.index(last) + 1])
    return {first, last}
