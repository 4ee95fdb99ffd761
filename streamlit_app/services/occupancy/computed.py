"""What is computed: the chunks of a space, and the time that the computed sessions span."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import sqlalchemy as sa

from streamlit_app.services.occupancy.local_time import clock, local_time, midnight, to_seconds
from streamlit_app.services.occupancy.window import Window
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.occupancy.sharing import is_sealed
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

SESSIONS, SOURCE, DERIVED = "sessions", "source_occupancy", "derived_occupancy"

_MAX_LAST_CHUNKS = 5
"""How many chunks, from the newest back, are searched for a session that begins in its chunk."""


@dataclass(frozen=True)
class Extent:
    """Local dates [first, until) of the chunks that are computed for a space."""

    first: dt.date
    until: dt.date


def extents(settings: Settings, spaces: Sequence[str]) -> dict[str, Extent]:
    """The extent of each space with computed chunks."""
    figures = partition_figures.c
    query = (
        sa.select(figures.space, sa.func.min(figures.chunk), sa.func.max(figures.chunk))
        .where(figures.asset.in_((SOURCE, DERIVED)), figures.space.in_(spaces))
        .group_by(figures.space)
    )
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query).all()
    return {
        space: Extent(chunk_bounds(first, settings.chunk)[0], chunk_bounds(last, settings.chunk)[1])
        for space, first, last in rows
    }


def newest_partition(settings: Settings, tree: SpaceTree, space: str) -> tuple[str, str | None]:
    """The asset that holds a space's counts, and the partition of the space's newest chunk."""
    asset = SOURCE if tree.is_leaf[tree.position(space)] else DERIVED
    figures = partition_figures.c
    query = sa.select(sa.func.max(figures.chunk)).where(
        figures.asset == asset, figures.space == space
    )
    with warehouse_engine(settings).connect() as connection:
        chunk = connection.scalar(query)
    return asset, f"{space}|{chunk}" if chunk else None


@dataclass(frozen=True)
class Log:
    """Local times at which the first and the last computed session begin.

    Counts of bins outside are unknown, even in a computed chunk.
    """

    begin: dt.datetime
    end: dt.datetime

    def covers(self, local: np.ndarray) -> np.ndarray:
        """Whether each bin overlaps the log; ``local``: bin edges in seconds of the wall clock."""
        return (local[:-1] <= to_seconds(self.end)) & (local[1:] > to_seconds(self.begin))


def log_span(settings: Settings) -> Log | None:
    """The time that the computed sessions span; None without sessions."""
    figures = partition_figures.c
    query = (
        sa.select(figures.chunk)
        .where(figures.asset == SESSIONS, figures.rows > 0)
        .order_by(figures.chunk)
    )
    with warehouse_engine(settings).connect() as connection:
        chunks = list(connection.scalars(query))
    first = next(_session_begins(settings, chunks), None)
    last = first
    newest = chunks[::-1][:_MAX_LAST_CHUNKS]
    for chunk_begin, earliest, latest in _session_begins(settings, newest):
        last = (chunk_begin, earliest, latest)
        # A session that begins with its chunk may continue one of the chunk before.
        if latest > chunk_begin:
            break
    if first is None or last is None:
        return None
    return Log(local_time(settings, first[1]), local_time(settings, last[2]))


def _session_begins(settings: Settings, chunks: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Per chunk in the lake: its begin, and the begins of its first and last session (UTC).

    A sealed chunk has no sessions any more: they are assumed to have filled it.
    """
    lake = open_lake(settings)
    for chunk in chunks:
        begin, end = clock(settings.timezone).chunk_seconds(chunk, settings.chunk)
        try:
            starts = lake.read_table(sessions_key(chunk), columns=["start"])["start"]
        except LakeFileMissing:
            if is_sealed(settings, chunk):
                yield begin, begin, end - 1
            continue
        bounds = pc.min_max(starts).as_py()
        yield begin, max(int(bounds["min"]), begin), max(int(bounds["max"]), begin)


def default_window(settings: Settings, extent: Extent) -> Window:
    """The last seven days that have sessions, within the extent."""
    end, log = extent.until, log_span(settings)
    if log is not None and extent.first < log.end.date() + dt.timedelta(1) < end:
        end = log.end.date() + dt.timedelta(1)
    start = max(extent.first, end - dt.timedelta(7))
    return Window(midnight(start), midnight(end))
