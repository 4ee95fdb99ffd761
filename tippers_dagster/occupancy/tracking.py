"""Tracks and untracks spaces, updates Dagster's partitions, and purges the lake."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from tippers_dagster.campus.addresses import forget_addresses
from tippers_dagster.campus.local_time import chunk_keys
from tippers_dagster.campus.spaces.tracking import (
    Grid,
    Tracked,
    track,
    untrack,
    untrack_exact_range,
    wanted_grid,
)
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.partitions import sync_partitions
from tippers_dagster.occupancy.state import DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tables import (
    attempt,
    partition_figures,
    replacing,
    sealed_chunk,
    session_reject,
    session_space,
    source_chunk,
)
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import occupancy_key, presence_key, sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


def track_space(settings: Settings, *, space: str, start: dt.date, end: dt.date) -> Grid:
    """Track a space over the local dates [start, end), and add its partitions to Dagster.

    Raises
    ------
    BadInput
        See :func:`tippers_dagster.campus.spaces.tracking.track`.
    """
    track(settings, space=space, start=start, end=end)
    with dagster_instance(settings) as instance:
        return sync_partitions(settings, instance).grid


def untrack_space(
    settings: Settings,
    *,
    space: str,
    start: dt.date | None = None,
    end: dt.date | None = None,
    purge: bool = False,
) -> tuple[Grid, int]:
    """Stop tracking a root space, and delete its partitions from Dagster.

    Returns the grid that is still tracked, and the number of partitions purged. Without ``purge``
    the lake and the figures stay, and are used if the space is tracked again.
    """
    untrack(settings, space=space, start=start, end=end)
    with dagster_instance(settings) as instance:
        grid = sync_partitions(settings, instance).grid
    return grid, purge_untracked(settings, grid) if purge else 0


def untrack_range(settings: Settings, tracked: Tracked, *, purge: bool = False) -> tuple[Grid, int]:
    """Stop tracking exactly one tracked range; otherwise as :func:`untrack_space`."""
    untrack_exact_range(settings, tracked)
    with dagster_instance(settings) as instance:
        grid = sync_partitions(settings, instance).grid
    return grid, purge_untracked(settings, grid) if purge else 0


def recompute(
    settings: Settings, *, space: str, start: dt.date, end: dt.date, sessions: bool = True
) -> int:
    """Have the running deployment recompute a space and everything below it over [start, end).

    The records of its partitions are deleted, so automation finds them missing; the files stay
    readable until new ones replace them.

    Parameters
    ----------
    sessions
        Also read the source again; otherwise start from the sessions in the lake.

    Returns
    -------
    int
        How many partitions will be computed.

    Raises
    ------
    BadInput
        When none of it is tracked, or all of it is sealed.
    """
    grid = wanted_grid(settings, load_tree(settings))
    inside = set(grid.tree.subtree(space)).intersection([*grid.leaves, *grid.parents])
    chunks = sorted(set(chunk_keys(start, end, settings.chunk)).intersection(grid.chunks))
    if not inside or not chunks:
        raise BadInput(f"Space {space!r} is not tracked from {start} to {end}.", "Track it first.")
    figures = partition_figures.c
    with warehouse_engine(settings).connect() as connection:
        sealed = set(connection.scalars(sa.select(sealed_chunk.c.chunk)))
    if not set(chunks) - sealed:
        raise BadInput(
            f"Only the counts of space {space!r} from {start} to {end} are kept, so it cannot be "
            "recomputed.",
            "Its sessions and presence have been deleted (TIPPERS_PRESENCE_DAYS).",
        )
    chunks = [chunk for chunk in chunks if chunk not in sealed]
    selected = sa.and_(figures.asset != SESSIONS, figures.space.in_(inside))
    if sessions:
        selected = sa.or_(selected, figures.asset == SESSIONS)
    with warehouse_engine(settings).begin() as connection:
        forgotten = connection.execute(
            sa.delete(partition_figures).where(figures.chunk.in_(chunks), selected)
        ).rowcount
        connection.execute(sa.delete(attempt).where(attempt.c.chunk.in_(chunks)))
    return forgotten


def purge_untracked(settings: Settings, grid: Grid) -> int:
    """Delete partitions outside the grid: first their records, then their files in the lake, then
    the addresses of devices that no session refers to any more.
    """
    kept = {*grid.leaves, *grid.parents}
    with warehouse_engine(settings).begin() as connection:
        rows = connection.execute(
            sa.union(
                *(
                    sa.select(table.c.asset, table.c.space, table.c.chunk)
                    for table in (partition_figures, replacing)  # killed runs leave only the latter
                )
            )
        ).all()
        untracked = [
            row
            for row in rows
            if row.chunk not in grid.chunks or (row.asset != SESSIONS and row.space not in kept)
        ]
        for table in (partition_figures, replacing, attempt):
            cell = sa.tuple_(table.c.asset, table.c.space, table.c.chunk)
            connection.execute(sa.delete(table).where(cell.in_([tuple(row) for row in untracked])))
        chunks = sorted({row.chunk for row in untracked if row.asset == SESSIONS})
        for table in (session_space, session_reject, source_chunk, sealed_chunk):
            connection.execute(sa.delete(table).where(table.c.chunk.in_(chunks)))
    lake = open_lake(settings)
    for asset, space, chunk in untracked:
        keys = {
            SESSIONS: [sessions_key(chunk)],
            SOURCE: [presence_key(space, chunk), occupancy_key(space, chunk)],
            DERIVED: [occupancy_key(space, chunk)],
        }[asset]
        for key in keys:
            lake.delete(key)
    if chunks:
        forget_addresses(settings)
    return len(untracked)
