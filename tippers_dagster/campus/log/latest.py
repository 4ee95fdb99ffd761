"""Of the rows that a log has of one session, the one that remains."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def latest(rows: pa.Table) -> pa.Table:
    """One row per session; rows in any order.

    Rows are of one session if they have the same session id and device; without an id, if they have
    the same device, access point (without one, space) and start. Of these remains a closed one
    rather than an open one, then the one with the later end, then the one that was seen later. If
    these are the same, the one that is larger in its other columns, from left to right, where null
    is smallest: what remains never depends on the order of the rows, nor on how they are split:
    ``latest(a + b) == latest(latest(a) + b)``.

    Parameters
    ----------
    rows
        Normalised rows by ``sessions.SCHEMA``, which may have further columns, of types
        whose values have an order.

    Returns
    -------
    pa.Table
        The rows that remain, in their order.
    """
    session = _sessions(rows)
    repeated = np.bincount(session)[session] > 1 if len(session) else np.zeros(0, bool)
    if not repeated.any():
        return rows
    remaining = ~repeated
    remaining[_best(rows, session, np.flatnonzero(repeated))] = True
    return rows.filter(pa.array(remaining))


def _best(
    rows: pa.Table, session: NDArray[np.int64], candidates: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The best of the candidates of each session; of equal ones the first."""
    candidates = candidates[np.argsort(session[candidates], kind="stable")]
    for name in _precedence(rows.column_names):
        first = np.flatnonzero(np.diff(session[candidates], prepend=-1))
        if len(first) == len(candidates):
            break
        ranks = _ranks(rows[name].take(pa.array(candidates)), first)
        if ranks is not None:
            sizes = np.diff(first, append=len(candidates))
            candidates = candidates[ranks == np.repeat(np.maximum.reduceat(ranks, first), sizes)]
    return candidates[np.flatnonzero(np.diff(session[candidates], prepend=-1))]


def _sessions(rows: pa.Table) -> NDArray[np.int64]:
    """The number of each row's session."""
    device, session_id = _codes(rows["device"]), _codes(rows["session_id"])
    place = _codes(pc.coalesce(rows["access_point"], rows["space"]))
    has_id = session_id >= 0
    start = _codes(rows["start"])
    # Places below zero, so that an id is never a place.
    first = np.where(has_id, session_id, -2 - place)
    second = np.where(has_id, 0, start)
    return _joined(_joined(device, first), second)


def _joined(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number per pair."""
    if not len(some):
        return some
    width = int(others.max() - others.min()) + 1
    _, numbers = np.unique(some * width + (others - others.min()), return_inverse=True)
    return numbers


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """One number per distinct value; -1 for null."""
    return _encoded(column)[0]


def _encoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Codes as above, and the values by code."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary


def _precedence(names: list[str]) -> list[str]:
    first = ["end", "last_seen"]
    return [*first, *(name for name in names if name not in first)]


def _ranks(column: pa.ChunkedArray, first: NDArray[np.intp]) -> NDArray[np.int64] | None:
    """The rank of each value, 0 for null; None if no session has different ones.

    ``first`` is the place of the first row of each session.
    """
    codes, values = _encoded(column)
    if (np.minimum.reduceat(codes, first) == np.maximum.reduceat(codes, first)).all():
        return None
    ranks = pc.rank(values, "ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    # Null has the code -1, and so finds the last.
    return np.append(ranks, 0)[codes]
