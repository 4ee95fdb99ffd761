"""Packs the partitions that a tick requests into few runs.

Dagster describes a run's partitions by a first and a last key: in two dimensions, a rectangle of
keys in order of creation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rectangle:
    """Rows [top, bottom) and columns [left, right) of a grid of partitions."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> int:
        """Number of partitions."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def cells(self) -> tuple[slice, slice]:
        """Index of the rectangle in a grid."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def pack(
    wanted: np.ndarray, allowed: np.ndarray, *, few: int = 3, largest: int = 50_000
) -> list[Rectangle]:
    """Cover all wanted cells of a grid with disjoint rectangles of allowed cells.

    The cover is exact unless that takes more than ``few`` rectangles. Then it may include cells
    that are allowed but not wanted (fresh ones, which a run skips): a box around all wanted cells
    if that is dense enough, otherwise a box around the wanted cells of each column.

    Parameters
    ----------
    wanted, allowed
        bool [rows, columns]; wanted cells are always allowed.
    largest
        Maximum number of cells per rectangle; larger ones are cut.
    """
    exact = _fewest(wanted)
    if len(exact) > few:
        boxes = _boxes(wanted, allowed)
        whole = _fewest(boxes)
        exact = whole if len(whole) < len(exact) else exact
    return [piece for rectangle in exact for piece in _cut(rectangle, largest)]


def ranges(
    kinds: Sequence[Hashable | None],
    sizes: Sequence[int],
    passable: Sequence[bool],
    *,
    largest: int,
) -> list[tuple[int, int]]:
    """Put chunks that need the same kind of run into ranges [first, end), each for one run.

    Parameters
    ----------
    kinds
        Per chunk, in the order of Dagster's keys; None: it needs no run.
    sizes
        Partitions per chunk.
    passable
        Whether a range may include the chunk although it needs no run.
    largest
        Maximum number of partitions of a range, unless a single chunk has more.
    """
    found: list[tuple[int, int]] = []
    kind, size = None, 0
    for i, (this, n, open_to_all) in enumerate(zip(kinds, sizes, passable, strict=True)):
        if this is None:
            kind = kind if open_to_all else None
        elif this == kind and size + n <= largest:
            found[-1] = (found[-1][0], i + 1)
            size += n
        else:
            found.append((i, i + 1))
            kind, size = this, n
    return found


def _fewest(wanted: np.ndarray) -> list[Rectangle]:
    by_rows = _stripes(wanted)
    by_columns = [Rectangle(r.left, r.right, r.top, r.bottom) for r in _stripes(wanted.T)]
    return min(by_rows, by_columns, key=len)


def _stripes(wanted: np.ndarray) -> list[Rectangle]:
    """Adjacent equal rows form a stripe; each run of its wanted columns is a rectangle."""
    if not wanted.any():
        return []
    changes = np.flatnonzero((wanted[1:] != wanted[:-1]).any(axis=1)) + 1
    tops = [0, *changes.tolist()]
    bottoms = [*changes.tolist(), len(wanted)]
    return [
        Rectangle(top, bottom, left, right)
        for top, bottom in zip(tops, bottoms, strict=True)
        for left, right in _runs(wanted[top])
    ]


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _boxes(wanted: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Wanted cells and the allowed ones between them: in one box if possible, else per column."""
    rows, columns = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
    box = np.zeros_like(wanted)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    dense = wanted.sum() * 4 >= box.sum()
    if dense and allowed[box].all():
        return box
    filled = wanted.copy()
    for column in columns:
        inside = np.flatnonzero(wanted[:, column])
        between = slice(inside[0], inside[-1] + 1)
        if allowed[between, column].all():
            filled[between, column] = True
    return filled


def _cut(rectangle: Rectangle, largest: int) -> list[Rectangle]:
    """Cut between columns, and between rows where a single column is too large."""
    down = min(rectangle.bottom - rectangle.top, largest)
    across = max(1, largest // down)
    return [
        Rectangle(top, min(top + down, rectangle.bottom), left, min(left + across, rectangle.right))
        for left in range(rectangle.left, rectangle.right, across)
        for top in range(rectangle.top, rectangle.bottom, down)
    ]
