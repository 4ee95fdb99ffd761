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
        Normalised rows by ``sessions.SCHEMA``, which may have further columns.

    Returns
    -------
    pa.Table
        The rows that remain, in their order.
    """
    session = _sessions(rows)
    repeated = np.bincount(session)[session] > 1 if len(session) else np.zeros(0, bool)
    if not repeated.any():
        return rows
    candidates = np.flatnonzero(repeated)
    few = rows.take(pa.array(candidates))
    ranks = [_rank(few[name]) for name in _precedence(rows.column_names)]
    # Of equal rows the first remains: the sort is stable, and the best row is the first of its
    # session.
    order = np.lexsort((*(-rank for rank in reversed(ranks)), session[candidates]))
    of = session[candidates][order]
    best = np.append(True, of[1:] != of[:-1])
    remaining = ~repeated
    remaining[candidates[order[best]]] = True
    return rows.filter(pa.array(remaining))


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
    indices = [chunk.indices for chunk in column.dictionary_encode().chunks]
    return pa.chunked_array(indices, pa.int32()).fill_null(-1).to_numpy().astype(np.int64)


def _precedence(names: list[str]) -> list[str]:
    first = ["end", "last_seen"]
    return [*first, *(name for name in names if name not in first)]


def _rank(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """The rank of each value, from 1; that of null is smallest, so an open end is before all."""
    ranks = pc.rank(column, [("", "ascending", "at_start")], tiebreaker="dense")
    return ranks.to_numpy().astype(np.int64)
