"""Locks on runs, and on the partitions and assets that they compute.

Every connection needs its own database session: a pool that shares sessions between transactions
(PgBouncer's transaction pooling) would lose the locks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import Logger

import sqlalchemy as sa

from tippers_dagster.platform.locks.keeper import REMOTE_GRACE_SECONDS, Keeper, keeper_of, key_of
from tippers_dagster.platform.locks.processes import Process
from tippers_dagster.platform.locks.tables import held_lock
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse import fence
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

KEPT_DAYS = 7
"""How long the row of a killed run is kept."""


def hold_run_lock(settings: Settings, run_id: str) -> None:
    """Hold the lock of a Dagster run until this process ends: a sign that the run is alive."""
    keeper, name = _keeper(settings), _run_lock(run_id)
    if keeper.holds(name):
        return
    c = held_lock.c
    old = c.taken_at < sa.func.now() - sa.func.make_interval(0, 0, 0, KEPT_DAYS)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.delete(held_lock).where(c.name.like(_run_lock("%")), old))
    keeper.take([name], lambda: None, shared=True)


@dataclass(frozen=True)
class RunProcesses:
    """The runs whose process is running, and those whose process has certainly ended.

    Other runs are unknown: they have not taken their lock yet, or have released it.
    """

    alive: set[str]
    gone: set[str]


def run_processes(settings: Settings, run_ids: Iterable[str]) -> RunProcesses:
    """Whether the runs' processes are alive: they hold the run's lock, or run on this host.

    A process on another host that has lost its lock counts as alive for another minute, as it
    retakes the lock after a broken connection or a database restart.
    """
    names = {_run_lock(run_id): run_id for run_id in run_ids}
    by_key = {key_of(name) % 2**64: name for name in names}
    c = held_lock.c
    query = sa.select(c.name, c.place, c.pid, c.began).where(c.name.in_(names))
    with warehouse_engine(settings).connect() as connection:
        holders = [(r.name, Process(r.place, r.pid, r.began)) for r in connection.execute(query)]
        keys = {(high << 32) | low for high, low in connection.execute(_LOCKED)}
    alive = {name for key, name in by_key.items() if key in keys}
    alive |= {name for name, holder in holders if holder.is_running}
    for name in alive:
        _missing_since.pop(name, None)
    alive |= {
        name
        for name, holder in holders
        if name not in alive and not holder.is_local and not _missing_for_long(name)
    }
    gone = {name for name, _ in holders} - alive
    return RunProcesses({names[name] for name in alive}, {names[name] for name in gone})


@contextmanager
def advisory_locks(settings: Settings, names: Iterable[str], log: Logger) -> Iterator[None]:
    """Hold the locks with these names within the block; waits until all of them are free.

    Either all are taken or none, so there are no deadlocks. The locks survive a restart of the
    database. Once another process has held any of them, commits of this thread through the
    warehouse's engine fail with ``LocksLost``. Releasing them never fails.
    """
    engine, keeper = warehouse_engine(settings), _keeper(settings)

    def waiting() -> None:
        log.info("Waiting for another run that computes some of the same assets.")

    group = keeper.take(sorted(set(names)), waiting, shared=False)
    held = fence.Fence(engine.url, group.names, group.token)
    fence.enter(held)
    try:
        yield
    finally:
        fence.leave(held)
        keeper.release(group)


_missing_since: dict[str, float] = {}
"""When a process on another host was first noticed to have lost its lock."""


def _missing_for_long(name: str) -> bool:
    now = time.monotonic()
    return now - _missing_since.setdefault(name, now) >= REMOTE_GRACE_SECONDS


_LOCKED = sa.text(
    "SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _keeper(settings: Settings) -> Keeper:
    warehouse_engine(settings)  # migrates the tables
    return keeper_of(databases(settings).warehouse)


def _run_lock(run_id: str) -> str:
    return f"run {run_id}"
