"""What kinds of devices each week of the log has, how many are new, and who is known to carry them.

A device that changes its address is a new device with each: counts of devices over days or weeks
are too high by as much. How much that may be shows in these figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.devices import KINDS, OPAQUE, device_kinds

Ints = NDArray[Any]

WEEKS = pa.schema(
    {
        "week": pa.date32(),
        **dict.fromkeys(("dates", "devices", *KINDS, "sessions", "known"), pa.int64()),
        **dict.fromkeys(("devices_a_day", "new_a_day"), pa.float64()),
        "is_first": pa.bool_(),
    }
)
"""The columns of identities by week."""

_MONDAY = 4
"""The first Monday, in days from 1970-01-01."""


def identities_by_week(days: Iterable[pa.Table], addresses: pa.Table) -> pa.Table:
    """Devices by kind, new devices, sessions and sessions with a person, per week from Monday.

    Parameters
    ----------
    days
        Device days of time chunks in order, no date in two of them: device, local_date, sessions,
        and known (sessions with a person; null counts as 0). Each is sorted by device and date, as
        in the lake.
    addresses
        Devices and their normalised ids (``BY_DEVICE``). A device without one counts as opaque.

    Returns
    -------
    One row per week with sessions, in order, with the columns of ``WEEKS``:

    week
        Its Monday.
    dates
        The number of its dates with sessions.
    devices, universal, randomised, opaque
        Distinct devices, all and by kind.
    sessions, known
        Sessions that start in the week, and those with a person.
    devices_a_day, new_a_day
        Means over the dates: distinct devices, and those that no earlier date has.
    is_first
        Whether the log begins in this week, so that every device is new at first.
    """
    kinds, seen = _Kinds.of(addresses), _Seen()
    found = [_of_chunk(table, kinds, seen) for table in days if table.num_rows]
    if not found:
        return WEEKS.empty_table()
    by_date, by_kind = (pa.concat_tables(tables) for tables in zip(*found, strict=True))
    total = _by_week(by_date).join(_by_week(by_kind), "week").sort_by("week")
    total = total.filter(pc.greater(total["dates"], 0))
    week, dates = total["week"].to_numpy(), total["dates"]
    devices = np.sum([total[kind] for kind in KINDS], axis=0)
    columns = {
        **{name: total[name] for name in total.column_names},
        "week": pa.array((week * 7 + _MONDAY).astype(np.int32)).view(pa.date32()),
        "devices": devices,
        "devices_a_day": pc.divide(total["device_days"].cast(pa.float64()), dates),
        "new_a_day": pc.divide(total["new"].cast(pa.float64()), dates),
        "is_first": week == week.min(),
    }
    return pa.table([columns[name] for name in WEEKS.names], schema=WEEKS)


@dataclass(frozen=True)
class _Kinds:
    """The code of each device's kind; devices in order."""

    devices: Ints
    codes: Ints

    @classmethod
    def of(cls, addresses: pa.Table) -> _Kinds:
        """Those of devices' addresses."""
        devices = addresses["device"].to_numpy()
        order = np.argsort(devices)
        codes = device_kinds(addresses["mac_address"].combine_chunks())
        return cls(devices[order], codes[order])

    def among(self, devices: Ints) -> Ints:
        """The codes of some devices."""
        at, known = _look_up(self.devices, devices)
        found = np.full(devices.size, OPAQUE, np.int64)
        found[known] = self.codes[at[known]]
        return found


@dataclass
class _Seen:
    """The devices of all chunks so far, in order, and the last week in which each was counted."""

    devices: Ints = field(default_factory=lambda: np.empty(0, np.uint64))
    week: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, devices: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """The places of distinct devices, given in order, and which of them are new."""
        at, known = _look_up(self.devices, devices)
        new = ~known
        self.devices = np.insert(self.devices, at[new], devices[new])
        self.week = np.insert(self.week, at[new], np.iinfo(np.int64).min)
        return at + np.cumsum(new) - new, new

    def count(self, places: Ints, weeks: Ints) -> NDArray[np.bool_]:
        """Whether each device is not yet counted in its week; weeks of a device are in order."""
        fresh = self.week[places] != weeks
        self.week[places] = weeks
        return fresh


def _of_chunk(table: pa.Table, kinds: _Kinds, seen: _Seen) -> tuple[pa.Table, pa.Table]:
    """The numbers of each date of a chunk, and each week's devices that are not yet counted."""
    device = table["device"].to_numpy()
    date = table["local_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    week = (date - _MONDAY) // 7
    first = _beginnings(device)
    places, new = seen.add(device[first])

    pairs = _beginnings(device, week)
    owner = np.searchsorted(first, pairs, "right") - 1
    fresh = seen.count(places[owner], week[pairs])
    codes, weeks = kinds.among(device[first])[owner][fresh], week[pairs][fresh]
    of_kinds = {kind: _sums(weeks, week, codes == code) for code, kind in enumerate(KINDS)}

    dates = np.arange(date.min(), date.max() + 1)
    of_dates = {
        "device_days": _sums(date, date),
        "new": _sums(date[first][new], date),
        "sessions": _sums(date, date, table["sessions"].to_numpy()),
        "known": _sums(date, date, pc.fill_null(table["known"], 0).to_numpy()),
    }
    of_dates["dates"] = (of_dates["device_days"] > 0).astype(np.int64)
    return (
        pa.table({"week": (dates - _MONDAY) // 7, **of_dates}),
        pa.table({"week": np.arange(week.min(), week.max() + 1), **of_kinds}),
    )


def _by_week(table: pa.Table) -> pa.Table:
    """The sums of each week."""
    names = [name for name in table.column_names if name != "week"]
    sums = table.group_by("week").aggregate([(name, "sum") for name in names])
    return sums.select(["week", *(f"{name}_sum" for name in names)]).rename_columns(
        ["week", *names]
    )


def _sums(keys: Ints, among: Ints, values: Ints | None = None) -> Ints:
    """The number, or the sum of values, of each key from the least to the greatest ``among``."""
    low, high = int(among.min()), int(among.max())
    return np.bincount(keys - low, values, high - low + 1).astype(np.int64)


def _beginnings(*keys: Ints) -> Ints:
    """The first row of each run of rows that are alike in all keys."""
    new = np.zeros(keys[0].size, bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def _look_up(ordered: Ints, values: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where values are, or belong, among ordered ones, and whether they are there."""
    at = np.searchsorted(ordered, values)
    there = at < ordered.size
    there[there] = ordered[at[there]] == values[there]
    return at, there
