"""Exact distinct devices per space and time bin, as array operations.

A sweep over intervals: nothing is expanded to (device, bin) pairs and no row is looped over.
Instants are seconds (int64); intervals are half-open. Pure functions, which release the GIL
for most of their time: callers sweep several time chunks at once in threads.

`Presence` keeps an interval's space, device and time in one 63-bit integer for its start and
one for its end. Sorting the starts and sorting the ends, each by itself, is then all that
merging takes: among the intervals of one device in one space, the i-th smallest start opens a
new merged interval exactly when the (i-1)-th smallest end lies before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Grid = NDArray[np.int32]

_KEY_BITS = 63
_EMPTY = np.empty(0, np.int64)
# Cells counted at once: two int64 grids of this size stay in a core's cache.
_BLOCK_CELLS = 1 << 16
# Rows split at once, likewise.
_BLOCK_ROWS = 1 << 17
# Bins of unequal widths are found in a table of at most this many equal units.
_TABLE_CELLS = 1 << 22


@dataclass(frozen=True)
class Presence:
    """When each device was in each space: the exact state from which all counts follow.

    Intervals are sorted by (space, device, start), and those of one device in one space
    neither overlap nor touch. Created by `merge` and `union`; read it through `space`,
    `device`, `start` and `end`, four arrays with one row per interval.
    """

    _starts: Int64
    _ends: Int64
    _devices: Ints  # distinct device ids, sorted: a key holds the index
    _device_bits: int
    _time_bits: int
    _origin: int  # instant (seconds) of a key's time 0

    def __len__(self) -> int:
        return self._starts.size

    @cached_property
    def space(self) -> Int32:
        """Space codes."""
        return (self._starts >> (self._device_bits + self._time_bits)).astype(np.int32)

    @cached_property
    def device(self) -> Ints:
        """Device ids, as passed in."""
        rank = (self._starts >> self._time_bits) & ((1 << self._device_bits) - 1)
        return self._devices[rank]

    @cached_property
    def start(self) -> Int64:
        """Seconds, included."""
        return self._time(self._starts) + self._origin

    @cached_property
    def end(self) -> Int64:
        """Seconds, excluded."""
        return self._time(self._ends) + self._origin

    def _time(self, keys: Int64) -> Int64:
        return keys & ((1 << self._time_bits) - 1)


def merge(space: Ints, device: Ints, start: Ints, end: Ints) -> Presence:
    """Merge overlapping and touching intervals of one device in one space.

    Parameters
    ----------
    space
        Space codes, integers from 0.
    device
        Device ids, any integers. Sorted ones, as in the lake's sessions, are merged faster.
    start, end
        Seconds, ``start < end``, in any order. Intervals are not clipped.

    Raises
    ------
    ValueError
        When a row has ``end <= start`` or a negative space code, or when spaces, devices and
        seconds together do not fit into 63 bits: use a shorter time range.
    """
    if not len(space):
        return Presence(_EMPTY, _EMPTY, np.asarray(device)[:0], 0, 0, 0)
    if not (np.asarray(end) > start).all():
        raise ValueError("every interval must end after it starts")
    if np.min(space) < 0:
        raise ValueError("space codes are integers from 0")
    devices, rank = _ranks(np.asarray(device))
    origin = int(np.min(start))
    time_bits = (int(np.max(end)) - origin).bit_length()
    device_bits = (devices.size - 1).bit_length()
    space_bits = int(np.max(space)).bit_length()
    if space_bits + device_bits + time_bits > _KEY_BITS:
        raise ValueError(
            f"{devices.size} devices over {time_bits} bits of seconds in spaces up to "
            f"{int(np.max(space))} do not fit into {_KEY_BITS} bits: use a shorter time range"
        )
    prefix = np.asarray(space).astype(np.int64) << device_bits
    prefix |= rank
    prefix <<= time_bits
    prefix -= origin
    starts = prefix + start
    ends = np.add(prefix, end, out=prefix)
    return Presence(*_merge_keys(starts, ends), devices, device_bits, time_bits, origin)


def union(presence: Presence, group: Ints) -> Presence:
    """The presence of groups of spaces: a device is in a group while it is in any of its spaces.

    Parameters
    ----------
    presence
        Result of `merge` or `union`.
    group
        For each space code, the code of its group from 0, or -1 for none. Call once per depth
        of a tree, with the ancestor at that depth (or the space itself).
    """
    shift = presence._device_bits + presence._time_bits
    group = np.asarray(group, np.int64)
    if group.size and int(group.max()).bit_length() + shift > _KEY_BITS:
        raise ValueError(f"group codes up to {group.max()} do not fit into {_KEY_BITS} bits")
    starts, ends = presence._starts, presence._ends
    space = starts >> shift
    if group.size and group.min() < 0:
        kept = group[space] >= 0
        starts, ends, space = starts[kept], ends[kept], space[kept]
    move = ((group - np.arange(group.size)) << shift)[space]
    starts, ends = _merge_keys(starts + move, ends + move)
    return replace(presence, _starts=starts, _ends=ends)


def count(presence: Presence, n_spaces: int, edges: Int64) -> Grid:
    """Distinct devices per space and bin.

    A bin counts a device once if any of its presence overlaps the bin. Presence outside the
    edges is not counted.

    Parameters
    ----------
    presence
        Result of `merge` or `union`.
    n_spaces
        Rows of the result: one more than the largest space code, or more.
    edges
        Seconds, strictly increasing: n + 1 for n bins, of any widths.

    Returns
    -------
    int32 array [n_spaces, n_bins]
    """
    return count_many(presence, n_spaces, {0: edges})[0]


def count_many(
    presence: Presence, n_spaces: int, edges_by_width: Mapping[int, Int64]
) -> dict[int, Grid]:
    """`count` for several lists of edges, by their key, in the order of the keys.

    If all edges of a list are among those of the list before it, as usual for wider bins, it is
    counted from that list's bins instead of from the seconds.
    """
    grids: dict[int, Grid] = {}
    finer: tuple[Int64, _Covered] | None = None
    for width, given in sorted(edges_by_width.items()):
        edges = np.asarray(given, np.int64)
        if edges.size < 2:
            grids[width] = np.zeros((n_spaces, 0), np.int32)
            continue
        if finer is not None and _nests(finer[0], edges):
            covered = _coarser(finer[1], finer[0], edges)
        else:
            covered = _covered_bins(presence, edges)
        grids[width] = _grid(covered, n_spaces, len(edges) - 1)
        finer = edges, covered
    return grids


def nonzero(grid: Grid, edges: Int64) -> tuple[Int32, Int64, Int32]:
    """The non-zero cells of a grid: space codes, starts of bins (seconds), counts."""
    cells = np.flatnonzero(grid)
    space, bins = np.divmod(cells, grid.shape[1])
    return space.astype(np.int32), np.asarray(edges)[bins], grid.ravel()[cells]


def split(start: Int64, end: Int64, boundaries: Int64) -> list[Int64]:
    """For each time chunk, the rows of the intervals that overlap it, in no particular order.

    An interval across a boundary is in both chunks: clip it to each before merging.

    Parameters
    ----------
    start, end
        Seconds, ``start < end``.
    boundaries
        Seconds at which consecutive chunks begin, and the end of the last: n + 1.
    """
    n_chunks = len(boundaries) - 1
    found: list[list[Int64]] = [[_EMPTY] for _ in range(n_chunks)]
    for low in range(0, len(start), _BLOCK_ROWS):
        block = slice(low, low + _BLOCK_ROWS)
        rows, offsets = _split_block(start[block], end[block], boundaries)
        rows += low
        for chunk in np.flatnonzero(np.diff(offsets)):
            found[chunk].append(rows[offsets[chunk] : offsets[chunk + 1]])
    return [np.concatenate(rows) for rows in found]


def _split_block(start: Int64, end: Int64, boundaries: Int64) -> tuple[Int64, Int64]:
    """Rows by chunk: chunk i has ``rows[offsets[i]:offsets[i + 1]]``."""
    n_chunks = len(boundaries) - 1
    # Boundaries passed when a row starts: it starts in chunk passed - 1.
    passed = np.searchsorted(boundaries, start, side="right")
    next_boundary = np.append(boundaries, np.iinfo(np.int64).max)[passed]
    across = np.flatnonzero(end > next_boundary)
    more = np.searchsorted(boundaries[:-1], end[across], side="left") - passed[across]
    more_rows = np.repeat(across, more)
    nth = np.arange(more_rows.size) - np.repeat(np.cumsum(more) - more, more)
    bucket = np.concatenate([passed, passed[more_rows] + nth + 1])
    if n_chunks < 1 << 16:
        bucket = bucket.astype(np.uint16)  # whose stable sort is a radix sort
    rows = np.argsort(bucket, kind="stable")
    copies = rows >= start.size
    rows[copies] = more_rows[rows[copies] - start.size]
    return rows, np.cumsum(np.bincount(bucket, minlength=n_chunks + 2))[: n_chunks + 1]


# --- keys --------------------------------------------------------------------------------------
def _ranks(device: Ints) -> tuple[Ints, Int64]:
    """The distinct devices, sorted, and each row's index into them."""
    if (device[1:] >= device[:-1]).all():
        new = np.append(True, device[1:] != device[:-1])
        return device[new], np.cumsum(new) - 1
    return np.unique(device, return_inverse=True)


def _merge_keys(starts: Int64, ends: Int64) -> tuple[Int64, Int64]:
    """Merge intervals given as keys. Sorts its arguments in place."""
    starts.sort()
    ends.sort()
    return _join(starts, ends, starts[1:] > ends[:-1])


def _join(starts: Ints, ends: Ints, apart: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Starts and ends of the runs of intervals that ``apart`` (n - 1) does not separate."""
    if apart.all():
        return starts, ends
    return starts[np.append(True, apart)], ends[np.append(apart, True)]


# --- bins --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Covered:
    """The bins from ``first`` to ``last`` that each interval of presence overlaps.

    Sorted by (owner, first). An owner's interval may begin in the bin in which the previous one
    ends, but not earlier.
    """

    owner: Int64  # (space, device)
    first: Int32
    last: Int32
    device_bits: int


def _covered_bins(presence: Presence, edges: Int64) -> _Covered:
    """The bins within the edges that presence overlaps."""
    owner = presence._starts >> presence._time_bits
    shift = presence._origin - int(edges[0])
    span = int(edges[-1] - edges[0])
    start = presence._time(presence._starts)
    last = presence._time(presence._ends)
    start += shift
    last += shift - 1
    if len(owner) and (shift < 0 or int(last.max()) >= span):
        inside = (start < span) & (last >= 0)
        owner, start, last = owner[inside], start[inside], last[inside]
        np.maximum(start, 0, out=start)
        np.minimum(last, span - 1, out=last)
    bin_of = _bin_finder(edges)
    return _Covered(owner, bin_of(start), bin_of(last), presence._device_bits)


def _bin_finder(edges: Int64) -> Callable[[Int64], Int32]:
    """A function from seconds since the first edge, within the edges, to bin indexes."""
    widths = np.diff(edges)
    unit = int(widths[0])
    # The last bin may be shorter than its unit: no second beyond it is looked up.
    if (widths[:-1] == unit).all() and widths[-1] <= unit:
        return lambda seconds: _units(seconds, unit)
    unit = int(np.gcd.reduce(widths))
    if int(widths.sum()) // unit <= _TABLE_CELLS:
        table = np.repeat(np.arange(widths.size, dtype=np.int32), widths // unit)
        return lambda seconds: table[_units(seconds, unit)]
    inner = edges[1:-1] - edges[0]
    return lambda seconds: np.searchsorted(inner, seconds, side="right").astype(np.int32)


def _units(seconds: Int64, unit: int) -> Int32:
    # 32-bit division by a constant is many times faster than 64-bit.
    return (seconds.astype(np.uint32) // np.uint32(unit)).view(np.int32)


def _nests(finer: Int64, coarser: Int64) -> bool:
    """Whether the coarser edges are all among the finer ones, and end where those end."""
    if finer[0] != coarser[0] or finer[-1] != coarser[-1]:
        return False
    return bool((finer[np.searchsorted(finer, coarser)] == coarser).all())


def _coarser(covered: _Covered, finer: Int64, coarser: Int64) -> _Covered:
    """The same presence in wider bins, whose edges are among the finer ones."""
    wider = (np.searchsorted(coarser, finer[:-1], side="right") - 1).astype(np.int32)
    return replace(covered, first=wider[covered.first], last=wider[covered.last])


def _grid(covered: _Covered, n_spaces: int, n_bins: int) -> Grid:
    """Running sums of +1 where an interval's bins begin and -1 after they end.

    A bin in which one interval of an owner ends and the next begins belongs only to the former,
    which makes the count distinct. If nothing is left of the latter, its +1 and -1 cancel out.
    """
    owner, first, last = covered.owner, covered.first, covered.last
    space = owner >> covered.device_bits
    if space.size and space[-1] >= n_spaces:
        raise ValueError(f"space code {space[-1]} is beyond the {n_spaces} rows of the grid")
    opens = space * n_bins
    # One past the last bin of a space is the first bin of the next, where the sum must be zero.
    closes = opens + last
    closes += 1
    opens += first
    opens[1:] += (first[1:] == last[:-1]) & (owner[1:] == owner[:-1])
    grid = np.empty(n_spaces * n_bins, np.int32)
    step = max(1, _BLOCK_CELLS // n_bins)
    blocks = np.arange(0, n_spaces + step, step)
    rows = np.searchsorted(space, blocks)
    for block, low, high in zip(blocks[:-1], rows[:-1], rows[1:], strict=True):
        cells = grid[block * n_bins : (block + step) * n_bins]
        change = np.bincount(opens[low:high] - block * n_bins, minlength=cells.size + 1)
        change -= np.bincount(closes[low:high] - block * n_bins, minlength=cells.size + 1)
        # Summed as int64 and cast afterwards: casting on the way takes twice as long.
        cells[:] = np.cumsum(change, out=change)[:-1]
    return grid.reshape(n_spaces, n_bins)
