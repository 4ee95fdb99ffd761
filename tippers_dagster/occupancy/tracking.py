"""Tracks and untracks spaces, updates Dagster's partitions, and purges the lake."""

from __future__ import annotations

import datetime as dt
import logging

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
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.chunk_tables import PREFIXES
from tippers_dagster.occupancy.files import DERIVED_COUNTS, PRESENCE, SOURCE_COUNTS
from tippers_dagster.occupancy.partitions import sync_partitions
from tippers_dagster.occupancy.records import void
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.occupancy.state import ASSETS, COUNTS, DAYS, SESSIONS, SOURCE
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
from tippers_dagster.platform.lake.keys import chunk_file, sessions_key
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

_log = logging.getLogger(__name__)


def track_space(settings: Settings, *, space: str | None, start: dt.date, end: dt.date) -> Grid:
    """Track a space, or the log only, over the local dates [start, end), and add its partitions to
    Dagster.

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
    space: str | None,
    start: dt.date | None = None,
    end: dt.date | None = None,
    purge: bool = False,
) -> tuple[Grid, int]:
    """Stop tracking a root space, or the log only, and delete its partitions from Dagster.

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
    selected = sa.and_(figures.asset.in_(COUNTS), figures.space.in_(inside))
    if sessions:
        selected = sa.or_(selected, figures.asset.in_((SESSIONS, DAYS)))
    with warehouse_engine(settings).begin() as connection:
        forgotten = connection.execute(
            sa.delete(partition_figures).where(figures.chunk.in_(chunks), selected)
        ).rowcount
        connection.execute(sa.delete(attempt).where(attempt.c.chunk.in_(chunks)))
    return forgotten


def purge_untracked(settings: Settings, grid: Grid) -> int:
    """Delete partitions outside the grid, chunk by chunk, from the lake and then from the records;
    at last the addresses of devices that no session refers to any more.

    Waits for runs that compute a chunk. What an interrupted purge has not reached is recorded
    still, and void if its rows may be gone, so the next one continues.
    """
    kept = {*grid.leaves, *grid.parents}
    recorded = sa.union(
        *(
            sa.select(table.c.asset, table.c.space, table.c.chunk)
            for table in (partition_figures, replacing)  # killed runs leave only the latter
        )
    )
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(recorded).all()
    tracked = set(grid.chunks)
    untracked: dict[str, list[tuple[str, str]]] = {}
    for asset, space, chunk in rows:
        if chunk not in tracked or (asset in COUNTS and space not in kept):
            untracked.setdefault(chunk, []).append((asset, space))
    for chunk, partitions in untracked.items():
        with advisory_locks(settings, [f"chunk {asset} {chunk}" for asset in ASSETS], _log):
            _purge(settings, chunk, partitions)
    if any(asset == SESSIONS for partitions in untracked.values() for asset, _ in partitions):
        forget_addresses(settings)
    return sum(map(len, untracked.values()))


def _purge(settings: Settings, chunk: str, partitions: list[tuple[str, str]]) -> None:
    """Delete partitions (asset, space) of a chunk."""
    lake, engine = occupancy_lake(settings), warehouse_engine(settings)
    for asset in ASSETS:
        spaces = [space for of, space in partitions if of == asset]
        void(engine, asset, spaces, [chunk] * len(spaces), "purge")
    all_of_it = any(asset == SESSIONS for asset, _ in partitions)
    if all_of_it:
        lake.delete(sessions_key(chunk))
    files.remove(lake, PRESENCE, chunk, [space for asset, space in partitions if asset == SOURCE])
    if any(asset == DAYS for asset, _ in partitions):
        for prefix in PREFIXES:
            lake.delete(chunk_file(prefix, chunk))
    counted = [space for asset, space in partitions if asset in COUNTS]
    for dataset in (SOURCE_COUNTS, DERIVED_COUNTS):
        files.remove(lake, dataset, chunk, counted)
    with engine.begin() as connection:
        for table in (partition_figures, replacing, attempt):
            cell = sa.tuple_(table.c.asset, table.c.space)
            query = sa.delete(table).where(table.c.chunk == chunk, cell.in_(partitions))
            connection.execute(query)
        if all_of_it:
            for table in (session_space, session_reject, source_chunk, sealed_chunk):
                connection.execute(sa.delete(table).where(table.c.chunk == chunk))
