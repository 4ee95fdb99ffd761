"""Advisory locks of the warehouse's server: the death of a process frees its locks at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import Logger

import sqlalchemy as sa

from tippers_dagster.fingerprint import of_text
from tippers_dagster.settings import Settings
from tippers_dagster.warehouse.engine import warehouse_engine

_held: dict[Settings, tuple[sa.Connection, set[str]]] = {}
"""The connection that holds this process's run locks until it ends, and the runs."""


def hold_run_lock(settings: Settings, run_id: str) -> None:
    """Hold the lock of a Dagster run until this process ends: it tells that the run is alive."""
    connection, runs = _held.get(settings, (None, set()))
    if connection is None or not _answers(connection):
        # Locks go with their connection, as when the server was started again.
        connection, runs = _autocommit(settings), {*runs, run_id}
        lacking = runs
    else:
        lacking = {run_id} - runs
    if lacking:
        connection.execute(
            sa.text("SELECT count(pg_advisory_lock(k)) FROM unnest(CAST(:keys AS bigint[])) AS k"),
            {"keys": [_lock_of_run(run) for run in lacking]},
        )
    _held[settings] = connection, runs | lacking


def _answers(connection: sa.Connection) -> bool:
    try:
        connection.execute(sa.text("SELECT"))
    except sa.exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        connection.close()
        return False
    return True


def live_runs(settings: Settings, run_ids: Iterable[str]) -> set[str]:
    """Those of the runs whose lock somebody holds."""
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(
            sa.text("SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory'")
        ).all()
    held = {(high << 32) | low for high, low in rows}
    return {run_id for run_id in run_ids if _lock_of_run(run_id) % 2**64 in held}


@contextmanager
def held_together(settings: Settings, names: Iterable[str], log: Logger) -> Iterator[None]:
    """Hold the locks of these names meanwhile; waits for who holds any of them.

    Names of different things must differ. All are taken in one order, so that two who want some of
    the same never wait for each other.
    """
    keys = sorted(_signed(of_text(name)) for name in set(names))
    with _autocommit(settings) as connection:
        every = {"keys": keys}
        ordered = "FROM (SELECT unnest(CAST(:keys AS bigint[])) AS k) AS keys"
        free = connection.scalar(
            sa.text(f"SELECT bool_and(pg_try_advisory_lock(k)) {ordered}"), every
        )
        if free is False:
            connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))
            log.info("Waiting for another run that computes some of the same.")
            connection.execute(sa.text(f"SELECT count(pg_advisory_lock(k)) {ordered}"), every)
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))


def _autocommit(settings: Settings) -> sa.Connection:
    return warehouse_engine(settings).connect().execution_options(isolation_level="AUTOCOMMIT")


def _lock_of_run(run_id: str) -> int:
    return _signed(of_text("run", run_id))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
