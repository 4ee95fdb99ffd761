"""Which devices meet in a time chunk: what rules about company need of its sessions.

Two questions are asked of a window of chunks, see `windows`: is a device's session accompanied, and
which other device shares most of a device's sessions. The chunk's tables hold as little as answers
them exactly:

* **devices**: how many sessions start here, and how many of them another device's session that
  starts here accompanies. Those are certain in any window that contains the chunk.
* **doubtful** sessions, one by one: those that last beyond the chunk or into it, and those that
  only a carried session accompanies. Their answer depends on other chunks, or on whether the window
  has the chunk in which the carried session starts.
* **pairs**: a partner that shares the least share of a window's sessions shares at least as much of
  those of one chunk. So every chunk lists the pairs that share at least `LISTED` of the device's
  sessions, and for each device the most that a partner which is not listed can share. `LISTED` is
  well below the least share: most pairs of one chunk are then ruled out by the others.

Pairs of a crowd are hardly ever made. A partner that shares ``need`` of n sessions misses at most
``n - need``, so it is found among those of the ``n - need + spare`` least crowded sessions. And the
work of a chunk is limited to a multiple of its sessions.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.occupancy.arrays import grouped, ranges
from tippers_dagster.occupancy.meetings import Presence, Rows

Ints = NDArray[Any]
Bools = NDArray[np.bool_]

LISTED = (3, 5)
"""A chunk lists the pairs that share at least this share of the device's sessions."""

MEETINGS_PER_SESSION = 16
"""So many meetings are looked at in a chunk, times its sessions: first those of the devices that
have the fewest. No pair is listed of the others, visitors of an event say, whose every session is
in a crowd: their partners may share all their sessions, and are left to the window."""

_BLOCK = 1 << 22
# Meetings, or lookups, that are in memory at once.


@dataclass(frozen=True)
class Encounters:
    """The tables of a chunk.

    Attributes
    ----------
    devices
        device; sessions that start in the chunk; their seconds; how many of them are accompanied
        for certain; unlisted: the most sessions that a partner shares which is not among the
        pairs; meetings: how many would be looked at to list its pairs.
    doubtful
        device, space, start, end; sessions: how many are alike; carried; accompanied: whether by
        another device's session that starts in the chunk.
    pairs
        device, partner, shared: of the device's sessions that overlap the chunk, carried ones
        included, those that overlap one of the partner's in the same space.
    """

    devices: pa.Table
    doubtful: pa.Table
    pairs: pa.Table


def encounters(sessions: pa.Table, end: int) -> Encounters:
    """The encounters of a chunk.

    Parameters
    ----------
    sessions
        The chunk's sessions: device, space, start, end (seconds), carried.
    end
        When the chunk ends (seconds).

    Raises
    ------
    ValueError
        See `Presence`.
    """
    ids, spaces, rows, carried = coded(sessions)
    own = ~carried
    everybody = Presence(rows, ids.size, len(spaces))
    crowd = everybody.others(rows)
    starting = crowd
    if carried.any():
        starting = Presence(rows[own], ids.size, len(spaces)).others(rows)
    certain = own & (starting > 0)
    doubtful = carried | (~certain & ((rows.end > end) | (crowd > 0)))
    counted = np.bincount(rows.device[own], minlength=ids.size)
    seconds = np.bincount(rows.device[own], (rows.end - rows.start)[own], minlength=ids.size)
    search = _Search.of(rows, crowd, counted)
    listable = search.affordable(MEETINGS_PER_SESSION)
    device, partner, shared = search.pairs(everybody, listable)
    devices = {
        "device": ids,
        "sessions": counted.astype(np.int32),
        "seconds": seconds.astype(np.int64),
        "accompanied": np.bincount(rows.device[certain], minlength=ids.size).astype(np.int32),
        "unlisted": np.where(listable, search.need - 1, search.sizes).astype(np.int32),
        "meetings": search.meetings,
    }
    pairs = {"device": ids[device], "partner": ids[partner], "shared": shared.astype(np.int32)}
    return Encounters(
        pa.table(devices),
        _alike(ids, spaces, rows[doubtful], carried[doubtful], starting[doubtful] > 0),
        pa.table(pairs),
    )


def pairs_of(sessions: pa.Table, wanted: Ints) -> tuple[pa.Table, Ints]:
    """The pairs of some devices, however many they meet, and ``unlisted`` for each of them.

    Parameters
    ----------
    sessions
        The chunk's sessions, as for `encounters`.
    wanted
        Ids of devices, sorted; one without sessions here shares none.
    """
    ids, spaces, rows, carried = coded(sessions)
    everybody = Presence(rows, ids.size, len(spaces))
    counted = np.bincount(rows.device[~carried], minlength=ids.size)
    search = _Search.of(rows, everybody.others(rows), counted)
    device, partner, shared = search.pairs(everybody, np.isin(ids, wanted))
    unlisted = np.zeros(wanted.size, np.int64)
    here = np.isin(wanted, ids)
    unlisted[here] = (search.need - 1)[np.searchsorted(ids, wanted[here])]
    pairs = {"device": ids[device], "partner": ids[partner], "shared": shared.astype(np.int32)}
    return pa.table(pairs), unlisted


def coded(sessions: pa.Table) -> tuple[Ints, pa.Array, Rows, Bools]:
    """Ids of the devices, names of the spaces, the sessions by their codes, and which are carried.

    The sessions are sorted by device; those of one device stay in their order.
    """
    ids, device = np.unique(sessions["device"].to_numpy(), return_inverse=True)
    space = sessions["space"].unify_dictionaries().combine_chunks()
    columns = (space.indices, sessions["start"], sessions["end"], sessions["carried"])
    code, start, end, carried = (np.asarray(column) for column in columns)
    order = np.argsort(device, kind="stable")
    rows = Rows(device, code.astype(np.int64), start, end)
    return ids, space.dictionary, rows[order], carried[order].astype(bool)


def shared_rows(
    rows: Rows, presence: Presence, device: Ints, partner: Ints
) -> Iterator[tuple[Ints, Ints]]:
    """The rows of each device that overlap presence of its partner in the same space.

    Parameters
    ----------
    rows
        Sorted by device.
    device, partner
        Codes, one per pair.

    Yields
    ------
    (positions of pairs, positions of rows), for some pairs after the other.
    """
    low = np.searchsorted(rows.device, device)
    high = np.searchsorted(rows.device, device, side="right")
    for block in _blocks(high - low):
        pair, row = ranges(low[block], high[block])
        pair += block.start
        together = presence.includes(rows[row], partner[pair])
        yield pair[together], row[together]


@dataclass(frozen=True)
class _Search:
    """Where partners of each device are looked for.

    Attributes
    ----------
    rows
        Sorted by device.
    sizes, need
        Per device: its rows, and how many a listed partner shares.
    looked_at
        Positions of the rows that are looked at, sorted by device.
    least_met
        Per device: in how many of these a listed partner is, at least.
    crowd, meetings
        The meetings of each row, and of the rows that are looked at of each device.
    """

    rows: Rows
    sizes: Ints
    need: Ints
    looked_at: Ints
    least_met: Ints
    crowd: Ints
    meetings: Ints

    @classmethod
    def of(cls, rows: Rows, crowd: Ints, sessions: Ints) -> _Search:
        """The least crowded rows; ``sessions`` is how many of each device's are to be shared."""
        sizes = np.bincount(rows.device, minlength=sessions.size)
        need = np.maximum(1, -(-sessions * LISTED[0] // LISTED[1]))
        missed = sizes - need
        looked = np.minimum(sizes, missed + np.maximum(3, -(-sizes // 10)))
        order = np.lexsort((crowd, rows.device))
        nth = np.arange(order.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = order[nth < np.repeat(looked, sizes)]
        meetings = np.bincount(rows.device[chosen], crowd[chosen], minlength=sizes.size)
        return cls(rows, sizes, need, chosen, looked - missed, crowd, meetings.astype(np.int64))

    def affordable(self, per_row: int) -> Bools:
        """The devices of fewest meetings, as many as have at most ``per_row`` times the rows."""
        order = np.argsort(self.meetings, kind="stable")
        found = np.empty(order.size, bool)
        found[order] = np.cumsum(self.meetings[order]) <= per_row * len(self.rows)
        return found

    def pairs(self, presence: Presence, wanted: Bools) -> tuple[Ints, Ints, Ints]:
        """The devices, partners and shared rows of the pairs that share enough of wanted devices.

        Sorted by device and partner.
        """
        looked_at = self.looked_at[wanted[self.rows.device[self.looked_at]]]
        per_device = np.where(wanted, self.meetings, 0)
        first = np.searchsorted(self.rows.device[looked_at], np.arange(wanted.size + 1))
        found = [(np.empty(0, np.int64),) * 3]
        for block in _blocks(per_device):
            mine = looked_at[first[block.start] : first[block.stop]]
            row, partner = presence.meetings(self.rows[mine])
            key = self.rows.device[mine][row] * wanted.size + partner
            key, met = np.unique(key, return_counts=True)
            device, partner = np.divmod(key, wanted.size)
            enough = met >= self.least_met[device]
            found.append(self._counted(presence, device[enough], partner[enough]))
        device, partner, shared = (np.concatenate(column) for column in zip(*found, strict=True))
        return device, partner, shared

    def _counted(self, presence: Presence, device: Ints, partner: Ints) -> tuple[Ints, Ints, Ints]:
        shared = np.zeros(device.size, np.int64)
        for pair, _ in shared_rows(self.rows, presence, device, partner):
            shared += np.bincount(pair, minlength=device.size)
        enough = shared >= self.need[device]
        return device[enough], partner[enough], shared[enough]


def _blocks(work: Ints) -> Iterator[slice]:
    """Slices that are worth about `_BLOCK` each, or one element."""
    number = np.cumsum(work) // _BLOCK
    bounds = np.flatnonzero(np.diff(number, prepend=-1, append=-1))
    for start, stop in pairwise(bounds):
        yield slice(int(start), int(stop))


def _alike(ids: Ints, spaces: pa.Array, rows: Rows, carried: Bools, accompanied: Bools) -> pa.Table:
    """Sessions one by one, with the number of those that are alike. Those are answered alike."""
    columns = [rows.device, rows.start, rows.end, rows.space, carried, accompanied]
    order, first, sizes = grouped(columns)
    one = order[first]
    space = pa.array(rows.space[one].astype(np.int32))
    return pa.table(
        {
            "device": ids[rows.device[one]],
            "space": pa.DictionaryArray.from_arrays(space, spaces),
            "start": rows.start[one],
            "end": rows.end[one],
            "sessions": sizes.astype(np.int32),
            "carried": carried[one],
            "accompanied": accompanied[one],
        }
    )
