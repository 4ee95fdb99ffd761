"""Devices and people in a space: what both are counted from.

A session may have a person, who used the device. In a bin, ``people`` are the distinct persons of
the sessions that overlap it, and ``others`` the devices none of whose sessions that overlap it has
a person. For these, each space has the presence of its persons, and beside that of all its devices
the part in which their persons are known. Most devices have a person in all of their sessions in a
space, or in none; only of the rest are there rows of both.

The rows of a file of presence say whose they are in a column that is there if anyone is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.occupancy import sweep
from tippers_dagster.occupancy.arrays import distinct, grouped, reduced
from tippers_dagster.occupancy.sweep import Grid, Int64, Presence
from tippers_dagster.platform.fingerprint import mix

WHOSE = "whose"
DEVICE, KNOWN, PART, PERSON = range(4)
"""Whose presence a row has: a device's; one's whose persons are known all the time; the part of a
device's in which they are, if it has rows of ``DEVICE``, too; a person's."""

CONNECTIONS, PEOPLE, OTHERS = "number_connections", "number_people", "number_other_devices"

_NOBODY = sweep.merge(*(np.empty(0, kind) for kind in (np.int64, np.uint64, np.int64, np.int64)))


@dataclass(frozen=True, eq=False)
class Counted:
    """Counts per space and bin: int32 [spaces, bins] each."""

    devices: Grid
    people: Grid
    others: Grid

    @classmethod
    def of_devices(cls, devices: Grid) -> Counted:
        """Counts where nobody is known."""
        return cls(devices, np.broadcast_to(np.int32(0), devices.shape), devices)

    @property
    def has_people(self) -> bool:
        """Whether anybody may be known."""
        return self.others is not self.devices

    def at(self, spaces: NDArray[np.intp]) -> Counted:
        """Those of some spaces."""
        if not self.has_people:
            return Counted.of_devices(self.devices[spaces])
        return Counted(self.devices[spaces], self.people[spaces], self.others[spaces])


@dataclass(frozen=True, eq=False)
class Occupants:
    """The presence of devices and of persons in spaces.

    Attributes
    ----------
    devices
        Of all devices; the code is ``space * groups + group``. Group 1 has the devices whose
        persons are known all the time and everywhere, group 0 all others.
    groups
        1 if no device is in group 1.
    parts
        Of devices of group 0, while their persons are known; the code is the space.
    people
        Of persons.
    """

    devices: Presence
    groups: int = 1
    parts: Presence = _NOBODY
    people: Presence = _NOBODY

    def raised(self, group: NDArray[Any]) -> Occupants:
        """Those of groups of spaces, see ``sweep.union``."""
        group = np.asarray(group, np.int64)
        code = np.where(group[:, None] < 0, -1, group[:, None] * self.groups)
        code = np.where(code < 0, -1, code + np.arange(self.groups))
        return Occupants(
            sweep.union(self.devices, code.ravel()),
            self.groups,
            sweep.union(self.parts, group),
            sweep.union(self.people, group),
        )

    def count_many(self, n_spaces: int, edges: Mapping[int, Int64]) -> dict[int, Counted]:
        """Count in bins of several widths, see ``sweep.count_many``."""
        found = sweep.count_many(self.devices, n_spaces * self.groups, edges)
        parts, people = (
            sweep.count_many(presence, n_spaces, edges) if len(presence) else None
            for presence in (self.parts, self.people)
        )
        if self.groups == 1 and people is None:
            return {width: Counted.of_devices(grid) for width, grid in found.items()}
        counted = {}
        for width, grid in found.items():
            by_group = grid.reshape(n_spaces, self.groups, -1)
            devices = by_group.sum(axis=1, dtype=np.int32) if self.groups > 1 else by_group[:, 0]
            others = by_group[:, 0] if parts is None else by_group[:, 0] - parts[width]
            of_people = np.zeros_like(devices) if people is None else people[width]
            counted[width] = Counted(devices, of_people, others)
        return counted

    def rows(self, n_spaces: int) -> tuple[Int64, pa.Table]:
        """What a file has of each space: the bounds of its rows [n + 1], and all rows."""
        devices, parts, people = self.devices, self.parts, self.people
        space, is_known = np.divmod(devices.space, self.groups)
        if not len(people):
            bounds = np.searchsorted(space, np.arange(n_spaces + 1))
            return bounds, _table(devices.device, devices.start, devices.end)
        order = np.argsort(
            owner := np.concatenate([space, parts.space, people.space]), kind="stable"
        )
        sizes = len(parts), len(people)
        whose = np.concatenate([is_known, np.repeat([PART, PERSON], sizes)]).astype(np.int8)
        columns = (
            np.concatenate([getattr(presence, name) for presence in (devices, parts, people)])
            for name in ("device", "start", "end")
        )
        table = _table(*(column[order] for column in columns))
        bounds = np.append(0, np.cumsum(np.bincount(owner, minlength=n_spaces)))
        return bounds, table.append_column(WHOSE, pa.array(whose[order]))


def of_sessions(
    space: NDArray[Any],
    device: NDArray[np.uint64],
    person: NDArray[np.uint64],
    start: Int64,
    end: Int64,
) -> Occupants:
    """The presence that sessions make in each space by itself.

    A device may be in group 1 of one space and in group 0 of another, as in files: read these to
    count several spaces together.

    Parameters
    ----------
    space
        Codes from 0.
    device
        Sorted, as the lake has them.
    person
        0 where none is known.
    start, end
        Seconds.
    """
    if not person.any():
        return Occupants(sweep.merge(space, device, start, end))
    known = person > 0
    some = _partly_known(space, device, known)
    code = np.asarray(space, np.int64) * 2 + (known & ~some)
    part = known & some
    return Occupants(
        sweep.merge(code, device, start, end),
        2,
        sweep.merge(space[part], device[part], start[part], end[part]),
        sweep.merge(space[known], person[known], start[known], end[known]),
    )


def _partly_known(
    space: NDArray[Any], device: NDArray[np.uint64], known: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """bool per session: its device has sessions in the space with a person, and without."""
    new = np.append(True, device[1:] != device[:-1])
    first = np.flatnonzero(new)
    share = np.add.reduceat(known.astype(np.int64), first)
    sizes = np.diff(first, append=len(device))
    rows = np.flatnonzero(((share > 0) & (share < sizes))[np.cumsum(new) - 1])
    some = np.zeros(len(device), bool)
    order, first, sizes = grouped([device[rows], space[rows]])
    share = reduced(np.add, known[rows][order].astype(np.int64), first)
    some[rows[order]] = np.repeat((share > 0) & (share < sizes), sizes)
    return some


def of_rows(space: NDArray[Any], rows: pa.Table) -> Occupants:
    """The presence that rows of a file have, with the space code of each."""
    device, start, end = (rows[name].to_numpy() for name in ("device", "start", "end"))
    whose = whose_rows(rows)
    if whose is None:
        return Occupants(sweep.merge(space, device, start, end))

    def merged(mine: NDArray[np.bool_], code: NDArray[Any] = space) -> Presence:
        return sweep.merge(code[mine], device[mine], start[mine], end[mine])

    known = whose == KNOWN
    known[known] = ~np.isin(device[known], distinct(device[whose == DEVICE]))
    # Elsewhere, these are without a person.
    partly = (whose == PART) | ((whose == KNOWN) & ~known)
    return Occupants(
        merged(whose <= KNOWN, np.asarray(space, np.int64) * 2 + known),
        2,
        merged(partly),
        merged(whose == PERSON),
    )


def whose_rows(rows: pa.Table) -> NDArray[np.int8] | None:
    """Whose presence each row has; None if all are devices of which no person is known."""
    if WHOSE not in rows.column_names:
        return None
    whose: NDArray[np.int8] = pc.fill_null(rows[WHOSE], DEVICE).to_numpy()
    return whose


def devices_only(rows: pa.Table) -> pa.Table:
    """The rows with the presence of devices: device, start, end."""
    whose = whose_rows(rows)
    mine = rows if whose is None else rows.filter(pa.array(whose <= KNOWN))
    return mine.select(["device", "start", "end"])


def known_parts(rows: pa.Table) -> pa.Table:
    """The presence of devices while their persons are known: device, start, end."""
    return _only(rows, KNOWN, PART)


def people_only(rows: pa.Table) -> pa.Table:
    """The presence of persons, with their hashes as devices: device, start, end."""
    return _only(rows, PERSON)


def _only(rows: pa.Table, *kinds: int) -> pa.Table:
    whose = whose_rows(rows)
    mine = rows.slice(0, 0) if whose is None else rows.filter(pa.array(np.isin(whose, kinds)))
    return mine.select(["device", "start", "end"])


def prints(rows: pa.Table) -> NDArray[np.uint64]:
    """A fingerprint of each row of a file.

    Their sum does not depend on how presence is split into rows: a device whose persons are known
    all the time counts as a device, and as one of which a part is known.
    """
    found = mix(*(rows[name].to_numpy() for name in ("device", "start", "end")))
    whose = whose_rows(rows)
    if whose is None:
        return found
    known, other = whose == KNOWN, whose > KNOWN
    found[other] = mix(found[other], whose[other])
    found[known] += mix(found[known], PART)
    return found


def plain_presence(rows: pa.Table) -> pa.Table:
    """Rows as a file has them: without a column that says nothing."""
    whose = whose_rows(rows)
    if whose is None:
        return rows
    rows = rows.drop_columns([WHOSE])
    return rows.append_column(WHOSE, pa.array(whose)) if (whose > DEVICE).any() else rows


# --- counts -------------------------------------------------------------------------------------
def with_people(rows: pa.Table) -> pa.Table:
    """Rows of counts, with the number of people and of other devices in any case."""
    everyone = rows[CONNECTIONS]
    if PEOPLE not in rows.column_names:
        nobody = pa.array(np.zeros(rows.num_rows, np.int32))
        return rows.append_column(PEOPLE, nobody).append_column(OTHERS, everyone)
    people, others = pc.fill_null(rows[PEOPLE], 0), pc.coalesce(rows[OTHERS], everyone)
    return (
        rows.drop_columns([PEOPLE, OTHERS])
        .append_column(PEOPLE, people)
        .append_column(OTHERS, others)
    )


def plain_counts(rows: pa.Table) -> pa.Table:
    """Rows as a file has them: without columns that say nothing."""
    if PEOPLE not in rows.column_names:
        return rows
    filled = with_people(rows)
    if pc.any(pc.greater(filled[PEOPLE], 0)).as_py():
        return filled
    return filled.drop_columns([PEOPLE, OTHERS])


def _table(device: NDArray[Any], start: Int64, end: Int64) -> pa.Table:
    return pa.table({"device": device, "start": start, "end": end})
