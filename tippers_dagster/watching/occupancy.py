"""Reads the progress of occupancy, and how old the newest counts are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from tippers_dagster.campus.local_time import LocalClock, chunk_key
from tippers_dagster.campus.spaces.tree import NoSpaces
from tippers_dagster.occupancy.rejects import totals
from tippers_dagster.occupancy.state import ASSETS, SESSIONS, State
from tippers_dagster.occupancy.status import LevelStatus, level_statuses, snapshot_as_it_is
from tippers_dagster.occupancy.tables import partition_figures, replacing, source_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.watching.figures import Newest, Occupancy, Rejects

if TYPE_CHECKING:
    from dagster import DagsterInstance


def read_occupancy_figures(settings: Settings, instance: DagsterInstance) -> Occupancy:
    """The progress of all levels; of a campus without spaces, zeros."""
    try:
        snapshot = snapshot_as_it_is(settings, instance)
    except NoSpaces:
        return Occupancy(tuple(LevelStatus(asset, 0, 0, 0, 0, 0, []) for asset in ASSETS))
    age = sa.func.extract("epoch", sa.func.now() - sa.func.min(replacing.c.since))
    query = sa.select(sa.func.count(), sa.func.coalesce(age, 0)).select_from(replacing)
    with warehouse_engine(settings).connect() as connection:
        number, oldest = connection.execute(query).one()
        newest = _newest(connection, settings, snapshot.state)
    return Occupancy(tuple(level_statuses(snapshot)), newest, number, float(oldest))


def read_rejects(settings: Settings) -> Rejects:
    """How much could not be used."""
    found = totals(settings)
    return Rejects(found.loading, found.extraction, found.left_out)


def _newest(connection: sa.Connection, settings: Settings, state: State) -> Newest | None:
    now = dt.datetime.fromtimestamp(state.sessions.now, dt.UTC)
    present = chunk_key(now.astimezone(ZoneInfo(settings.timezone)).date(), settings.chunk)
    begun = [chunk for chunk in state.grid.chunks if chunk <= present]
    if not begun:
        return None
    chunk, column = begun[-1], len(begun) - 1
    # A chunk that has just begun is as old as that: else nothing would be late at midnight.
    began = LocalClock(settings.timezone).chunk_seconds(chunk, settings.chunk)[0]
    live = chunk == present
    counts = (state.source, state.derived)
    computed = max(int(level.recorded_at[:, column].max(initial=0)) for level in counts) / 1e6
    counted_at = computed or (began if live else None)
    seen = connection.execute(
        sa.select(source_chunk.c.observed_at, source_chunk.c.rows).where(
            source_chunk.c.chunk == chunk
        )
    ).first()
    figures = partition_figures.c
    read = connection.execute(
        sa.select(figures.rows, figures.rejected).where(
            figures.asset == SESSIONS, figures.space == "", figures.chunk == chunk
        )
    ).first()
    observed_at = seen.observed_at.timestamp() if seen is not None else began if live else None
    total = 0 if read is None else read.rows + read.rejected
    unfinished = sum(int(level.stale[:, column].sum()) for level in state.counting)
    return Newest(
        chunk,
        live=live,
        counts_age=None if counted_at is None else max(0.0, now.timestamp() - counted_at),
        observed_age=None if observed_at is None else max(0.0, now.timestamp() - observed_at),
        rows=None if seen is None else seen.rows,
        unfinished=unfinished,
        behind=_behind(state, column) if unfinished else 0.0,
        rejected_share=read.rejected / total if read is not None and total else None,
    )


def _behind(state: State, column: int) -> float:
    """How long counts of a chunk have waited: for its sessions since these were last requested,
    else since these were computed.
    """
    sessions = state.sessions
    if not sessions.stale[0, column]:
        return max(0.0, sessions.now - int(sessions.recorded_at[0, column]) / 1e6)
    if not sessions.tries[0, column]:
        return 0.0
    return max(0.0, sessions.now - float(sessions.requested_at[0, column]))
