"""The log of a window of time chunks, as rules read it: which chunks there are, and who met whom.

Rules read chunks whose sessions, days and encounters belong together.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.addresses import device_addresses
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.window import EVERYTHING, Span, Window
from tippers_dagster.errors import BadInput, EnvironmentFault
from tippers_dagster.occupancy import windows
from tippers_dagster.occupancy.chunk_tables import PLACE_DAYS, read_encounters
from tippers_dagster.occupancy.log import spans_of
from tippers_dagster.occupancy.records import STEADY_SECONDS, unchanged
from tippers_dagster.occupancy.regions import regions_seen
from tippers_dagster.occupancy.state import State, load_state
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.keys import chunk_file, sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

POLL_SECONDS = 1.0
NAMED = 3


class LogIncomplete(EnvironmentFault):
    """Days and encounters of some chunks do not belong to their sessions, or are missing."""


class NoTerm(BadInput):
    """The calendar has no term that could be a window."""


def log_chunks(
    settings: Settings, window: Window = EVERYTHING, until: dt.date | None = None
) -> list[str]:
    """The tracked chunks of a window with sessions in the lake, in order of time.

    Waits for runs that are computing some of them. ``until``: for a past window, the date by which
    it ends.

    Raises
    ------
    LogIncomplete
        The days and encounters of a chunk are not computed from its sessions. A run that reads the
        log is repeated later.
    NoTerm
        The window is a term, and the calendar has none until the last date of the log.
    """
    chunks = None
    if not window.is_everything:
        chunks = [span.chunk for span in window_log(settings, window, until)]
    state = _complete(settings, chunks)
    return _names(state, _present(state) & _among(state, chunks))


def window_log(settings: Settings, window: Window, until: dt.date | None = None) -> list[Span]:
    """The chunks of a window, whether or not their log is complete.

    ``until``: as for ``log_chunks``.

    Raises
    ------
    NoTerm
        As for ``log_chunks``.
    """
    with warehouse_engine(settings).connect() as connection:
        found = spans_of(connection, window, until)
        no_term = window.term and not found and spans_of(connection, EVERYTHING, until)
    if no_term:
        raise NoTerm(
            "The window is a term, but the calendar has none up to the last date of the log.",
            "Enter it on the Calendar page, or with `tippers calendar`.",
        )
    return found


def _among(state: State, chunks: Sequence[str] | None) -> np.ndarray:
    """bool per chunk: it is one of these; None: of all."""
    if chunks is None:
        return np.ones(len(state.grid.chunks), bool)
    return np.isin(state.grid.chunks, chunks)


def _complete(settings: Settings, chunks: Sequence[str] | None) -> State:
    """A state in which the tables of chunks belong to their sessions; None: of all chunks."""
    until = time.monotonic() + STEADY_SECONDS
    while True:
        state = _state(settings)
        mine = _present(state) if chunks is None else _among(state, chunks)
        broken = mine & ~(state.days.fresh[0] & ~state.sessions.void[0])
        if not broken.any():
            return state
        if time.monotonic() > until:
            raise _incomplete(_names(state, broken))
        time.sleep(POLL_SECONDS)


def _present(state: State) -> np.ndarray:
    """bool per chunk: it has sessions in the lake."""
    found: np.ndarray = state.sessions.computed[0] & ~state.days.sealed
    return found


def partners(settings: Settings, chunks: Sequence[str]) -> pa.Table:
    """Of each device, how many of its sessions the device shares that shares most of them.

    Raises
    ------
    LogIncomplete
        A run is computing one of the chunks.
    LakeError
        A file cannot be read.
    """
    found = _read(
        settings,
        chunks,
        lambda lake: windows.best_partners(
            _window(settings, lake, chunks), device_addresses(settings)
        ),
    )
    return found.drop_columns(["partner"])


def company(settings: Settings, chunks: Sequence[str]) -> pa.Table:
    """How many of each device's sessions another device accompanies.

    Raises
    ------
    LogIncomplete, LakeError
        As for ``partners``.
    """
    return _read(
        settings, chunks, lambda lake: windows.accompanied(_window(settings, lake, chunks))
    )


def crowds(settings: Settings, chunks: Sequence[str], coverage: pa.Table) -> pa.Table:
    """Of each device, the region in which it meets most others.

    Parameters
    ----------
    coverage
        The regions that access points cover, see ``regions_seen``.

    Raises
    ------
    LogIncomplete, LakeError
        As for ``partners``.
    """

    def answer(lake: Lake) -> pa.Table:
        days = [partial(lake.read_table, chunk_file(PLACE_DAYS, chunk)) for chunk in chunks]
        return windows.co_located(days, regions_seen(days, coverage))

    return _read(settings, chunks, answer)


def _window(settings: Settings, lake: Lake, chunks: Sequence[str]) -> list[windows.Chunk]:
    clock = LocalClock(settings.timezone)
    columns = ["device", "space", "start", "end", "carried"]
    return [
        windows.Chunk(
            *clock.chunk_seconds(chunk, settings.chunk),
            read_encounters(lake, chunk),
            partial(lake.read_table, sessions_key(chunk), columns),
        )
        for chunk in chunks
    ]


def _read(
    settings: Settings, chunks: Sequence[str], answer: Callable[[Lake], pa.Table]
) -> pa.Table:
    """An answer from files that matched their records the whole time."""
    state = _complete(settings, chunks)
    mine = _among(state, chunks)[None]
    found = answer(open_lake(settings))
    with warehouse_engine(settings).connect() as connection:
        same = _unchanged(connection, state, mine)
    if not same.all():
        raise _incomplete(_names(state, ~same))
    return found


def _unchanged(connection: sa.Connection, state: State, mine: np.ndarray) -> np.ndarray:
    levels = (state.sessions, state.days)
    return np.logical_and.reduce([unchanged(connection, level, mine) for level in levels])


def _state(settings: Settings) -> State:
    return load_state(settings, wanted_grid(settings, load_tree(settings)))


def _names(state: State, mask: np.ndarray) -> list[str]:
    return [state.grid.chunks[i] for i in np.flatnonzero(mask)]


def _incomplete(chunks: list[str]) -> LogIncomplete:
    named = ", ".join(chunks[:NAMED]) + (" ..." if len(chunks) > NAMED else "")
    return LogIncomplete(
        f"Days and encounters are not computed from the present sessions of: {named}.",
        "A running `tippers up` computes them. To compute them now: `tippers occupancy "
        "materialize`.",
    )
