"""Answers about a window of time chunks, from the chunks' tables.

The window's log is the sessions that start in its chunks, which need not adjoin. What is answered
equals a plain comparison of all of them with all: sessions that last from one chunk into another
are compared in each, and sessions that start outside the window are nobody's company.

Pure functions; the sessions of a chunk are read through a function that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import HOUR
from tippers_dagster.occupancy.arrays import distinct, grouped, reduced
from tippers_dagster.occupancy.encounters import (
    Encounters,
    coded,
    encounters,
    pairs_of,
    shared_rows,
)
from tippers_dagster.occupancy.meetings import Presence, Rows

Ints = NDArray[Any]
Bools = NDArray[np.bool_]

LEAST_SHARE = (4, 5)
"""The share of a device's sessions that its best partner shares, at least."""

_MEETINGS = 1 << 23
# Of the devices whose pairs are listed at once, where no chunk lists them.

_AT_ONCE = 2
# Chunks whose crowds are counted at the same time: more would take more memory.


@dataclass(frozen=True)
class Chunk:
    """A chunk of a window: when it begins and ends (seconds), its tables, and how to read its
    sessions.
    """

    begin: int
    end: int
    encounters: Encounters
    sessions: Callable[[], pa.Table]


_SESSIONS = pa.schema(
    {
        "device": pa.uint64(),
        "space": pa.dictionary(pa.int32(), pa.string()),
        "start": pa.int64(),
        "end": pa.int64(),
        "carried": pa.bool_(),
    }
)


def _nobody() -> Chunk:
    """In place of a window without chunks."""
    none = _SESSIONS.empty_table()
    return Chunk(0, 0, encounters(none, 0), lambda: none)


# --- company -------------------------------------------------------------------------------------
def accompanied(window: Sequence[Chunk]) -> pa.Table:
    """How many of each device's sessions another device accompanies: is in the space meanwhile.

    Returns
    -------
    Columns device, sessions, accompanied_sessions and accompanied_share, for devices with sessions.
    """
    window = window or [_nobody()]
    totals = _Totals.of(window)
    device, sessions = _accompanied_doubtful(window)
    found = totals.accompanied.copy()
    np.add.at(found, np.searchsorted(totals.ids, device), sessions)
    here = totals.sessions > 0
    return pa.table(
        {
            "device": totals.ids[here],
            "sessions": totals.sessions[here],
            "accompanied_sessions": found[here],
            "accompanied_share": found[here] / totals.sessions[here],
        }
    )


def _accompanied_doubtful(window: Sequence[Chunk]) -> tuple[Ints, Ints]:
    """Devices of the doubtful sessions that are accompanied after all, and their numbers."""
    begins = _Begins(window)
    tables = [chunk.encounters.doubtful for chunk in window]
    together = pa.concat_tables([table.filter(begins.within(table)) for table in tables])
    together = together.unify_dictionaries().sort_by("device")
    if not together.num_rows:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    ids, spaces, rows, carried = coded(together)
    # A session is there in each chunk that it overlaps: one company anywhere is company.
    others = Presence(rows, ids.size, len(spaces)).others(rows)
    known = together["accompanied"].to_numpy() | (others > 0)
    order, first, sizes = grouped([rows.device, rows.space, rows.start, rows.end])
    ever = np.empty(order.size, bool)
    ever[order] = np.repeat(np.logical_or.reduceat(known[order], first), sizes)
    # Of those that start here and are accompanied for certain, only the carried copies are here.
    counted = ~carried & ever
    return ids[rows.device[counted]], together["sessions"].to_numpy()[counted]


# --- partners ------------------------------------------------------------------------------------
def best_partners(window: Sequence[Chunk], addresses: pa.Table) -> pa.Table:
    """Of each device, the other device that shares most of its sessions, if it shares enough.

    A partner shares a session if it is in the session's space at any time of the session. Of equal
    partners the first by address is taken.

    Parameters
    ----------
    window
        Its chunks. Their sessions are read for the pairs that their tables do not rule out.
    addresses
        Columns device and mac_address.

    Returns
    -------
    Columns device, sessions, mean_hours, and of the partner shared_sessions, shared_share,
    shared_spaces, partner and partner_mean_hours: null where none shares `LEAST_SHARE` of the
    sessions. One row per device with sessions.
    """
    window = window or [_nobody()]
    totals = _Totals.of(window)
    bounds = _Bounds.of(window, totals)
    place = _places(totals.ids, addresses)
    partner = np.full(totals.ids.size, -1)
    shared, spaces = np.zeros_like(partner), np.zeros_like(partner)
    for device, candidate in bounds.candidates(window):
        counts, used = _shared(window, totals.ids, device, candidate)
        enough = counts * LEAST_SHARE[1] >= totals.sessions[device] * LEAST_SHARE[0]
        order = np.lexsort((place[candidate], -counts, device))
        order = order[enough[order]]
        best = order[np.append(True, np.diff(device[order]) > 0)[: order.size]]
        partner[device[best]], shared[device[best]] = candidate[best], counts[best]
        spaces[device[best]] = used[best]
    here = totals.sessions > 0
    hours = totals.mean_hours
    none = partner[here] < 0
    with np.errstate(invalid="ignore", divide="ignore"):
        share = shared / totals.sessions
    found = {
        "shared_sessions": shared,
        "shared_share": share,
        "shared_spaces": spaces,
        "partner": totals.ids[partner],
        "partner_mean_hours": hours[partner],
    }
    columns = {"device": totals.ids, "sessions": totals.sessions, "mean_hours": hours}
    return pa.table(
        {name: values[here] for name, values in columns.items()}
        | {name: pa.array(values[here], mask=none) for name, values in found.items()}
    )


@dataclass(frozen=True)
class _Totals:
    """Sums over the window, by device; `ids` are sorted."""

    ids: Ints
    sessions: Ints
    seconds: Ints
    accompanied: Ints
    unlisted: Ints
    meetings: Ints

    @classmethod
    def of(cls, window: Sequence[Chunk]) -> _Totals:
        tables = [chunk.encounters.devices for chunk in window]
        together = pa.concat_tables(tables)
        ids, device = np.unique(together["device"].to_numpy(), return_inverse=True)

        def total(name: str) -> Ints:
            values = together[name].to_numpy()
            return np.bincount(device, values, minlength=ids.size).astype(np.int64)

        names = ("sessions", "seconds", "accompanied", "unlisted", "meetings")
        return cls(ids, *map(total, names))

    @cached_property
    def mean_hours(self) -> Ints:
        """Hours per session; 0 without sessions."""
        return self.seconds / np.maximum(self.sessions, 1) / HOUR


@dataclass(frozen=True)
class _Bounds:
    """Which pairs may share enough.

    A pair shares at most what each chunk lists, or what a pair can share that it does not list.

    Attributes
    ----------
    totals
        Of the window.
    open
        Per device, whether a partner that no chunk lists may share enough: its pairs have to be
        looked for.
    key, gain
        Listed pairs, as ``device * len(ids) + partner``, and how much more they share, at most,
        than one that no chunk lists.
    """

    totals: _Totals
    open: Bools
    key: Ints
    gain: Ints

    @classmethod
    def of(cls, window: Sequence[Chunk], totals: _Totals) -> _Bounds:
        keys, gains = [], []
        for chunk in window:
            devices, pairs = chunk.encounters.devices, chunk.encounters.pairs
            unlisted = np.zeros(totals.ids.size, np.int64)
            unlisted[np.searchsorted(totals.ids, devices["device"])] = devices["unlisted"]
            key, gain = _gains(totals.ids, pairs, unlisted)
            keys.append(key)
            gains.append(gain)
        key, gain = _summed(np.concatenate(keys), np.concatenate(gains))
        return cls(totals, _enough(totals, totals.unlisted), key, gain)

    def candidates(self, window: Sequence[Chunk]) -> Iterator[tuple[Ints, Ints]]:
        """Devices and partners, as codes: all that may share enough, one batch after the other.

        The pairs of one device are in one batch.
        """
        yield self._kept(self.totals.unlisted, self.key, self.gain, ~self.open)
        everyone = np.flatnonzero(self.open)
        batch = np.cumsum(self.totals.meetings[everyone]) // _MEETINGS
        for number in np.unique(batch):
            yield self._looked_for(window, everyone[batch == number])

    def _looked_for(self, window: Sequence[Chunk], wanted: Ints) -> tuple[Ints, Ints]:
        """The candidates of open devices: their pairs are listed, however many there are."""
        ids = self.totals.ids
        unlisted = np.zeros(ids.size, np.int64)
        keys, gains = [], []
        for chunk in window:
            pairs, bound = pairs_of(chunk.sessions(), ids[wanted])
            here = np.zeros(ids.size, np.int64)
            here[wanted] = bound
            unlisted += here
            key, gain = _gains(ids, pairs, here)
            keys.append(key)
            gains.append(gain)
        mask = np.zeros(ids.size, bool)
        mask[wanted] = True
        return self._kept(unlisted, *_summed(np.concatenate(keys), np.concatenate(gains)), mask)

    def _kept(self, unlisted: Ints, key: Ints, gain: Ints, devices: Bools) -> tuple[Ints, Ints]:
        device, partner = np.divmod(key, self.totals.ids.size)
        kept = devices[device] & _enough(self.totals, unlisted[device] + gain, device)
        return device[kept], partner[kept]


def _enough(totals: _Totals, shared: Ints, device: Ints | slice = slice(None)) -> Bools:
    sessions = totals.sessions[device]
    return (sessions > 0) & (shared * LEAST_SHARE[1] >= sessions * LEAST_SHARE[0])


def _gains(ids: Ints, pairs: pa.Table, unlisted: Ints) -> tuple[Ints, Ints]:
    device, partner = (np.searchsorted(ids, pairs[name]) for name in ("device", "partner"))
    return device * ids.size + partner, pairs["shared"].to_numpy() - unlisted[device]


def _summed(key: Ints, values: Ints) -> tuple[Ints, Ints]:
    key, group = np.unique(key, return_inverse=True)
    return key, np.bincount(group, values, minlength=key.size).astype(np.int64)


def _places(ids: Ints, addresses: pa.Table) -> Ints:
    """The place of each device in the order of addresses; those without one come last."""
    ordered = addresses.sort_by("mac_address")["device"].combine_chunks()
    found = pc.index_in(pa.array(ids), value_set=ordered.cast(pa.uint64()))
    return pc.fill_null(found, addresses.num_rows).to_numpy()


# --- exact numbers -------------------------------------------------------------------------------
def _shared(window: Sequence[Chunk], ids: Ints, device: Ints, partner: Ints) -> tuple[Ints, Ints]:
    """Of each pair: the device's sessions that the partner shares, and in how many spaces."""
    counts = np.zeros(device.size, np.int64)
    if not device.size:
        return counts, counts
    involved = ids[np.unique(np.concatenate([device, partner]))]
    begins, names = _Begins(window), _Names()
    used = [np.empty(0, np.int64)]
    parts: list[Sequence[Ints]] = [(np.empty(0, np.int64),) * 5]
    for chunk in window:
        table = chunk.sessions().select(["device", "space", "start", "end", "carried"])
        table = table.filter(pc.is_in(table["device"], value_set=pa.array(involved)))
        table = table.filter(begins.within(table))
        if not table.num_rows:
            continue
        known, spaces, rows, carried = coded(table)
        code = names.codes(spaces)
        here = np.flatnonzero(np.isin(ids[device], known) & np.isin(ids[partner], known))
        own, other = (np.searchsorted(known, ids[codes[here]]) for codes in (device, partner))
        presence = Presence(rows, known.size, len(spaces))
        partial = carried | (rows.end > chunk.end)
        nth = _nth(rows, partial)
        for at, row in shared_rows(rows, presence, own, other):
            pair, space, part = here[at], code[rows.space[row]], partial[row]
            counts += np.bincount(pair[~part], minlength=counts.size)
            used.append(distinct(pair << 32 | space))
            columns = (pair, space, rows.start[row], rows.end[row], nth[row])
            parts.append([column[part] for column in columns])
    # A session that lasts from chunk to chunk is shared once, however often it is.
    lasting = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order, first, _ = grouped(lasting)
    counts += np.bincount(lasting[0][order[first]], minlength=counts.size)
    pair = distinct(np.concatenate(used)) >> 32
    return counts, np.bincount(pair, minlength=counts.size)


def _nth(rows: Rows, wanted: Bools) -> Ints:
    """Numbers sessions that are alike from 0; all others than the wanted ones have 0."""
    at = np.flatnonzero(wanted)
    keys = (rows.device, rows.space, rows.start, rows.end)
    order, first, sizes = grouped([key[at] for key in keys])
    nth = np.zeros(wanted.size, np.int64)
    nth[at[order]] = np.arange(order.size) - np.repeat(first, sizes)
    return nth


class _Begins:
    """Tells the sessions of a window: they start in one of its chunks."""

    def __init__(self, window: Sequence[Chunk]) -> None:
        chunks = sorted((chunk.begin, chunk.end) for chunk in window)
        self._begins, self._ends = np.array(chunks, np.int64).reshape(-1, 2).T

    def within(self, table: pa.Table) -> pa.Array:
        start = table["start"].to_numpy()
        at = np.searchsorted(self._begins, start, side="right") - 1
        return pa.array((at >= 0) & (start < self._ends[at]))


class _Names:
    """Codes of spaces that are the same in all chunks."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, names: pa.Array) -> Ints:
        known = self._codes
        codes = (known.setdefault(name, len(known)) for name in names.to_pylist())
        return np.fromiter(codes, np.int64, len(names))


# --- crowds --------------------------------------------------------------------------------------
def co_located(place_days: Sequence[Callable[[], pa.Table]], regions: pa.Table) -> pa.Table:
    """Of each device, the region in which most others are seen by its access points in its hours.

    Others count once per access point, hour in which one of their sessions starts, and region.

    Parameters
    ----------
    place_days
        Read those of each chunk, see `days.place_days`; those of two are in memory at a time.
    regions
        One row per access point and space: sensor, space and space_name, the region's.

    Returns
    -------
    Columns device, space_name, co_located (others, over all regions) and co_located_share (of the
    region). No row for a device without others. Of equal regions the first by name is taken.
    """
    from scipy.sparse import csr_array  # type: ignore[import-untyped]  # has no types

    names, region = _region_names(regions)
    devices = [distinct(read()["device"].to_numpy()) for read in place_days]
    ids = distinct(np.concatenate([np.empty(0, np.uint64), *devices]))
    found = csr_array((ids.size, len(names)), dtype=np.int64)

    def others(read: Callable[[], pa.Table]) -> Any:
        return _others(read(), ids, regions, region, names)

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # most of it holds no lock of Python's
        found = sum(pool.map(others, place_days), found)
    found.sum_duplicates()  # sorts each device's regions, that is, by name
    found.eliminate_zeros()
    here = np.flatnonzero(np.diff(found.indptr))
    first, device = found.indptr[here], np.repeat(np.arange(here.size), np.diff(found.indptr)[here])
    most, total = (reduced(function, found.data, first) for function in (np.maximum, np.add))
    best = np.flatnonzero(found.data == most[device])
    best = best[np.diff(device[best], prepend=-1) > 0]
    return pa.table(
        {
            "device": ids[here],
            "space_name": names.take(pa.array(found.indices[best])),
            "co_located": total,
            "co_located_share": most / total,
        }
    )


def _region_names(regions: pa.Table) -> tuple[pa.Array, Ints]:
    """The names in order, null last, and the code of each region among them."""
    named = regions["space_name"].cast(pa.string()).combine_chunks()
    names = pa.concat_arrays([pc.unique(named.drop_null()).sort(), pa.nulls(1, pa.string())])
    return names, pc.index_in(named, value_set=names).to_numpy()


def _others(table: pa.Table, ids: Ints, regions: pa.Table, region: Ints, names: pa.Array) -> Any:
    """Others by device and region, as a sparse array: which devices were where and when, times
    how many were there by region.
    """
    from scipy.sparse import csr_array

    table = table.filter(pc.is_valid(table["sensor"])).combine_chunks()
    sensor, covered = _regions_of(table, regions, region)
    kept = np.flatnonzero(covered >= 0)
    table, sensor, covered = table.take(kept), sensor[kept], covered[kept]
    row, hour = _hours(table["hours"].to_numpy())
    day = table["local_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    places, place = np.unique((day[row] * 24 + hour) << 32 | sensor[row], return_inverse=True)
    device = np.searchsorted(ids, table["device"].to_numpy())[row]
    sizes = (ids.size, places.size, len(names))
    device, place, seen_in = _distinct_rows((device, place, covered[row]), sizes)
    crowds = csr_array((np.ones(place.size, np.int64), (place, seen_in)), sizes[1:])
    visits = _distinct_rows((device, place), sizes[:2])
    own = csr_array((np.ones(visits[0].size, np.int64), visits), sizes[:2])
    # The device is not among the others. But a region without a name is not the same as another.
    known = seen_in < len(names) - 1
    where = (device[known], seen_in[known])
    itself = csr_array((np.ones(where[0].size, np.int64), where), (sizes[0], sizes[2]))
    return own @ crowds - itself


def _hours(bits: Ints) -> tuple[Ints, Ints]:
    """The rows and hours of the bits that are set."""
    rows = [np.flatnonzero(bits & (1 << hour)) for hour in range(24)]
    return np.concatenate(rows), np.repeat(np.arange(24), [len(found) for found in rows])


def _regions_of(table: pa.Table, regions: pa.Table, region: Ints) -> tuple[Ints, Ints]:
    """Of each row, the code of its access point, and that of its region, or -1."""
    sensor, space = (
        table[name].unify_dictionaries().combine_chunks() for name in ("sensor", "space")
    )
    known, codes = (sensor.dictionary, space.dictionary), []
    for name, values in zip(("sensor", "space"), known, strict=True):
        found = pc.index_in(regions[name].cast(pa.string()), value_set=values)
        codes.append(pc.fill_null(found, -1).to_numpy().astype(np.int64))
    width = len(known[1])
    here = np.flatnonzero((codes[0] >= 0) & (codes[1] >= 0))
    pair = codes[0][here] * width + codes[1][here]
    order = np.argsort(pair)
    pair, of_pair = np.append(pair[order], -1), np.append(region[here][order], -1)
    at = sensor.indices.to_numpy().astype(np.int64)
    wanted = at * width + space.indices.to_numpy()
    found = np.searchsorted(pair[:-1], wanted)
    return at, np.where(pair[found] == wanted, of_pair[found], -1)


def _distinct_rows(rows: tuple[Ints, ...], sizes: tuple[int, ...]) -> tuple[Ints, ...]:
    """The distinct rows, sorted; columns are codes below their sizes."""
    return np.unravel_index(distinct(np.ravel_multi_index(rows, sizes)), sizes)
