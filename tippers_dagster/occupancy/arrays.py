"""Groups, distinct values and ranges of integer arrays, by sorting. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]


def distinct(values: Ints) -> Ints:
    """The distinct integers, sorted; many times as fast as the hash table of `numpy.unique`."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: ordered.size]]


def places(ordered: Ints, values: Ints, side: Literal["left", "right"] = "left") -> Ints:
    """As `numpy.searchsorted`, but five times as fast for a million values in no order: each is
    looked up near the one before.
    """
    order = np.argsort(values)
    found = np.empty(values.size, np.int64)
    found[order] = np.searchsorted(ordered, values[order], side)
    return found


def grouped(keys: Sequence[Ints]) -> tuple[Ints, Ints, Ints]:
    """Rows that are alike in all keys, side by side.

    Returns
    -------
    (rows in the order of the keys, positions among them at which groups begin, sizes of groups).
    Rows of a group stay in their order.
    """
    order = np.lexsort(keys[::-1])
    new = np.zeros(order.size, bool)
    new[:1] = True
    for key in keys:
        ordered = key[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    first = np.flatnonzero(new)
    return order, first, np.diff(first, append=order.size)


def reduced(function: np.ufunc, values: Ints, first: Ints) -> Ints:
    """The function over each group's values; ``reduceat`` refuses to make no groups."""
    return function.reduceat(values, first) if first.size else values[:0]


def ranges(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """For each number of the half-open ranges, the position of its range and the number."""
    sizes = high - low
    owner = np.repeat(np.arange(low.size), sizes)
    return owner, np.arange(owner.size) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)
