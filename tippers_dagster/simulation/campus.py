"""A campus with known truth: its static tables, and what happens week by week."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.source.schema import (
    FACULTY_DATA,
    REGION_TO_COVERAGE,
    SESSIONS,
    SPACE_METADATA,
    SPACES,
    TRUTH_DEVICE,
    TRUTH_HEADCOUNT,
    TRUTH_OCCUPANCY,
    TRUTH_PERSON,
)
from tippers_dagster.simulation.calendar import DAY, Bins, Calendar, Ints, holidays
from tippers_dagster.simulation.days import Stays, on_calendar, true_stays
from tippers_dagster.simulation.identities import Identities, build_identities
from tippers_dagster.simulation.options import CampusOptions
from tippers_dagster.simulation.people import (
    Devices,
    People,
    build_devices,
    build_people,
    faculty_table,
)
from tippers_dagster.simulation.places import Places, build_places
from tippers_dagster.simulation.truth import Counter, Intervals
from tippers_dagster.simulation.wifi import (
    BLANK_DEVICE,
    NO_SPACE,
    NULL_DEVICE,
    OPEN,
    REPEATED,
    USABLE,
    Associations,
    Sessions,
    as_logged,
    carried_associations,
    fixed_associations,
)

WEEK = 7
HEADCOUNT_WIDTHS = (900, 3600)
OCCUPANCY_WIDTHS = (3600,)
USER_NAME = "user_name"


@dataclass(frozen=True)
class Batch:
    """Some rows of one source or truth table.

    ``kind`` is that of the table (``SESSIONS``, ``TRUTH_HEADCOUNT``, ``TRUTH_OCCUPANCY``), ``done``
    the simulated share of the time, ``unusable`` the numbers of unusable rows by reason,
    ``repeated`` the number of further rows of sessions. Sessions have a ``user_name``, which no
    table stores: see ``SourceRows``.
    """

    kind: str
    rows: pa.Table
    done: float
    unusable: dict[str, int] = field(default_factory=dict)
    repeated: int = 0


@dataclass(frozen=True)
class Campus:
    """Created by ``simulate_campus``. Small tables are ready; the others are made in batches."""

    options: CampusOptions
    places: Places
    people: People
    devices: Devices
    identities: Identities
    calendar: Calendar

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """Spaces, room types, faculty offices, coverage, and the truth about people and devices."""
        return {
            SPACES: self.places.space_table(),
            SPACE_METADATA: self.places.metadata_table(),
            FACULTY_DATA: faculty_table(self.people, self.places),
            REGION_TO_COVERAGE: self.places.coverage_table(),
            TRUTH_PERSON: self.people.table(),
            TRUTH_DEVICE: self.identities.table(self.people, self.devices),
        }

    def batches(self) -> Iterator[Batch]:
        """Sessions, true head counts and true device counts, per week and block of people.

        Each row is in exactly one batch; the same options give the same rows in the same order.
        Device counts continue after the last day for as long as open sessions last.
        """
        blocks = self.people.blocks()
        carried = [Intervals.none() for _ in range(len(blocks) + 1)]
        first_day = 0
        while first_day < self.options.days or any(len(c.entity) for c in carried):
            stop = first_day + WEEK
            if first_day < self.options.days:
                stop = min(stop, self.options.days)
            yield from self._week(blocks, carried, first_day, stop)
            first_day = stop

    def _week(
        self, blocks: list[range], carried: list[Intervals], first_day: int, stop: int
    ) -> Iterator[Batch]:
        """A week of every block; ``carried`` has stays that last into the week, and then beyond."""
        done = min(1.0, stop / self.options.days)
        people, devices = (
            self._counter(widths, first_day, stop)
            for widths in (HEADCOUNT_WIDTHS, OCCUPANCY_WIDTHS)
        )
        for number in range(len(blocks) + 1):
            present = carried[number]
            if first_day < self.options.days:
                rng = self._random(first_day, number)
                if number < len(blocks):
                    stays = self._stays(blocks[number], first_day, stop, rng)
                    people.add(self._people_present(stays, blocks[number]))
                    owned = self.devices.of_people(blocks[number])
                    seen = carried_associations(
                        stays, blocks[number], self.devices, self.places, rng
                    )
                else:
                    owned = self.devices.fixed()
                    seen = self._fixed(first_day, stop, rng)
                end = self._wall(self.options.days)
                logged = as_logged(seen, self.identities, self.calendar, end, rng)
                yield self._session_batch(logged, done)
                first_address = self.identities.of_devices(owned).start
                present = present.then(self._devices_present(logged, first_address))
            carried[number] = devices.add(present)
        for kind, counter, column in (
            (TRUTH_HEADCOUNT, people, "people"),
            (TRUTH_OCCUPANCY, devices, "number_connections"),
        ):
            for table in counter.tables():
                yield Batch(kind, self._truth_rows(table, column), done)

    def _random(self, first_day: int, block: int) -> np.random.Generator:
        # A separate stream per week and block, so that none depends on another's draws.
        key = (1, first_day // WEEK, block)
        return np.random.default_rng(np.random.SeedSequence(self.options.seed, spawn_key=key))

    def _wall(self, day: int) -> int:
        return (self.calendar.first_day + day) * DAY

    def _counter(self, widths: tuple[int, ...], first_day: int, stop: int) -> Counter:
        midnights = self.calendar.midnights
        return Counter(
            self.places.parent,
            tuple(Bins.of(self.calendar, width) for width in widths),
            int(midnights[first_day]),
            int(midnights[stop]),
        )

    def _off_days(self, first_day: int, stop: int) -> Ints:
        """Weekday and 1 on days off, for each day: shape (days, 2)."""
        day = np.arange(first_day, stop)
        weekday = (day + self.options.start.weekday()) % 7
        free = holidays(self.options.start, stop)[first_day:]
        return np.column_stack([weekday, (weekday >= 5) | free])

    def _stays(self, block: range, first_day: int, stop: int, rng: np.random.Generator) -> Stays:
        off_days = self._off_days(first_day, stop)
        stays = true_stays(self.people, self.places, block, first_day, off_days, rng)
        return on_calendar(stays, self.calendar)

    def _fixed(self, first_day: int, stop: int, rng: np.random.Generator) -> Associations:
        workdays = 1 - self._off_days(first_day, stop)[:, 1]
        return fixed_associations(
            self.devices, self.places, self.calendar, self._wall(first_day), workdays, rng
        )

    def _people_present(self, stays: Stays, block: range) -> Intervals:
        here = stays.end > stays.start
        return Intervals(
            stays.person[here] - block.start,
            stays.space[here],
            self.calendar.instants(stays.start[here]),
            self.calendar.instants(stays.end[here]),
        )

    def _devices_present(self, sessions: Sessions, first_address: int) -> Intervals:
        """Presence of the usable sessions; those of zero length last a second within their bin."""
        picks = np.flatnonzero(sessions.status == USABLE)
        start = self.calendar.instants(sessions.start[picks])
        end = np.where(
            sessions.end[picks] == OPEN,
            start + self.options.open_session_seconds,
            self.calendar.instants(np.maximum(sessions.end[picks], sessions.start[picks])),
        )
        return Intervals(
            sessions.address[picks] - first_address,
            sessions.space[picks],
            start,
            np.maximum(end, start + 1),
        )

    def _session_batch(self, sessions: Sessions, done: float) -> Batch:
        addresses, points, spaces = self._names
        address = np.where(sessions.address == BLANK_DEVICE, len(addresses) - 1, sessions.address)
        space = np.where(sessions.space == NO_SPACE, len(spaces) - 1, sessions.space)
        names = self.identities.user_names
        user = pa.DictionaryArray.from_arrays(pa.array(sessions.user), names)
        rows = pa.table(
            {
                "mac_address": addresses.take(pa.array(address, mask=address == NULL_DEVICE)),
                "sensor_id": points.take(pa.array(sessions.access_point)),
                "start_time": _local_times(sessions.start),
                "end_time": _local_times(sessions.end),
                "space_id": spaces.take(pa.array(space)),
                USER_NAME: user,
            }
        )
        repeated = int(np.count_nonzero(sessions.status == REPEATED))
        return Batch(SESSIONS, rows, done, sessions.unusable, repeated)

    @cached_property
    def _names(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Addresses, access points and spaces; a blank address and an unknown space at the end."""
        unknown = str(10 * len(self.places.ids))
        return (
            pa.concat_arrays([self.identities.addresses, pa.array([""])]),
            pa.array(self.places.access_point_names),
            pa.array([*self.places.ids.tolist(), unknown]),
        )

    def _truth_rows(self, counts: pa.Table, column: str) -> pa.Table:
        begins = pa.array(counts["begin"].to_numpy() * 1_000_000, pa.timestamp("us", tz="UTC"))
        return pa.table(
            {
                "space_id": self._names[2].take(counts["space"]),
                "interval_seconds": counts["interval_seconds"],
                "interval_begin_time": begins,
                column: counts["count"],
            }
        )


def simulate_campus(options: CampusOptions) -> Campus:
    """Build the campus: its places, people, timetables and devices; days are simulated later.

    Raises
    ------
    BadInput
        From ``CampusOptions``, for sizes out of range.
    """
    places = build_places(options)
    people = build_people(options, places)
    devices = build_devices(options, people, places)
    spill = WEEK * (2 + options.open_session_seconds // (WEEK * DAY))
    return Campus(
        options=options,
        places=places,
        people=people,
        devices=devices,
        identities=build_identities(options, people, devices),
        calendar=Calendar.of(options.timezone, options.start, options.days + spill),
    )


def _local_times(wall: Ints) -> pa.Array:
    return pa.array(wall * 1_000_000, pa.timestamp("us"), mask=wall == OPEN)
