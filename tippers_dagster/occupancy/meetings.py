"""Who was where with whom, as array operations: lookups among the intervals of presence.

Presence is merged first: the intervals of one device in one space neither overlap nor touch. So
the intervals of a space that overlap [start, end) are those that begin before its end, less those
that end by its start: two binary searches, however crowded the space is. Pairs of devices are made
only by `meetings`, whose result is as long as there are pairs of rows and intervals.

Devices and spaces are codes from 0, times are seconds, intervals are half-open. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.occupancy import sweep
from tippers_dagster.occupancy.arrays import places, ranges

Ints = NDArray[Any]
Bools = NDArray[np.bool_]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Rows:
    """Sessions, or parts of them: arrays of equal length."""

    device: Ints
    space: Ints
    start: Ints
    end: Ints

    def __len__(self) -> int:
        return self.device.size

    def __getitem__(self, which: Ints | slice) -> Rows:
        return Rows(self.device[which], self.space[which], self.start[which], self.end[which])


class Presence:
    """Merged intervals of presence, and what overlaps given rows.

    Parameters
    ----------
    rows
        Where devices are, in any order.
    devices, spaces
        Numbers of codes: those of `rows`, and of rows looked up later, are below them.

    Raises
    ------
    ValueError
        When a row does not end after it starts, or when spaces, devices and seconds together do
        not fit into 63 bits: use fewer chunks.
    """

    def __init__(self, rows: Rows, devices: int, spaces: int) -> None:
        merged = sweep.merge(rows.space, rows.device, rows.start, rows.end)
        self._merged = Rows(merged.device, merged.space, merged.start, merged.end)
        self._devices = devices
        self._origin = int(merged.start.min()) if len(merged) else 0
        self._span = int(merged.end.max()) - self._origin if len(merged) else 0
        self._bits = self._span.bit_length()
        if (devices * spaces).bit_length() + self._bits > 63:
            raise ValueError(
                f"{devices} devices in {spaces} spaces over {self._span} seconds do not fit into "
                "63 bits: use fewer chunks"
            )

    def includes(self, rows: Rows, device: Ints) -> Bools:
        """Whether a device is present in the row's space at any time of the row.

        ``device`` has one code per row.
        """
        starts, ends = self._of_devices
        owner = self._owner(rows.space, device)
        next_end = places(ends, self._key(owner, rows.start), "right")
        return np.append(starts, _NEVER)[next_end] < self._key(owner, rows.end)

    def others(self, rows: Rows) -> Ints:
        """The number of intervals of other devices that overlap each row, in its space."""
        everybody = _overlapping(self._of_spaces, self._spans(rows.space, rows))
        owner = self._owner(rows.space, rows.device)
        return everybody - _overlapping(self._of_devices, self._spans(owner, rows))

    def meetings(self, rows: Rows) -> tuple[Ints, Ints]:
        """Each row and each interval of another device that overlaps it, in its space.

        Returns
        -------
        (positions in ``rows``, devices). A device whose presence is interrupted during a row is
        there once per interval. Memory grows with the result, whose length `others` gives.
        """
        device, begins, ends = self._by_start
        low, high = self._spans(rows.space, rows)
        # Intervals that begin during a row, and rows that begin during an interval.
        row, interval = ranges(places(begins, low), places(begins, high))
        order = np.argsort(low, kind="stable")
        low = low[order]
        also, at = ranges(np.searchsorted(low, begins, side="right"), np.searchsorted(low, ends))
        row = np.concatenate([row, order[at]])
        met = device[np.concatenate([interval, also])]
        other = met != rows.device[row]
        return row[other], met[other]

    @cached_property
    def _of_spaces(self) -> tuple[Ints, Ints]:
        return self._sorted_keys(self._merged.space)

    @cached_property
    def _of_devices(self) -> tuple[Ints, Ints]:
        return self._sorted_keys(self._owner(self._merged.space, self._merged.device))

    @cached_property
    def _by_start(self) -> tuple[Ints, Ints, Ints]:
        starts, ends = self._spans(self._merged.space, self._merged)
        order = np.argsort(starts, kind="stable")
        return self._merged.device[order], starts[order], ends[order]

    def _sorted_keys(self, owner: Ints) -> tuple[Ints, Ints]:
        starts, ends = self._spans(owner, self._merged)
        return np.sort(starts), np.sort(ends)

    def _spans(self, owner: Ints, rows: Rows) -> tuple[Ints, Ints]:
        return self._key(owner, rows.start), self._key(owner, rows.end)

    def _owner(self, space: Ints, device: Ints) -> Ints:
        return np.asarray(space, np.int64) * self._devices + device

    def _key(self, owner: Ints, time: Ints) -> Ints:
        """One integer, in the order of owners and times; times are clipped to the presence's."""
        key = np.clip(time - self._origin, 0, self._span)
        key |= np.asarray(owner, np.int64) << self._bits
        return key


def _overlapping(intervals: tuple[Ints, Ints], spans: tuple[Ints, Ints]) -> Ints:
    """How many intervals, given by sorted starts and sorted ends, overlap each span."""
    starts, ends = intervals
    low, high = spans
    return places(starts, high) - places(ends, low, "right")
