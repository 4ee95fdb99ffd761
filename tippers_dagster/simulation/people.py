"""The people on campus: types, home rooms, timetables, and the devices that they carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.simulation import places as at
from tippers_dagster.simulation.calendar import Ints
from tippers_dagster.simulation.options import CampusOptions
from tippers_dagster.simulation.places import Places

Floats = NDArray[np.float64]

UNDERGRAD, GRAD, FACULTY, STAFF, VISITOR = range(5)
PERSON_TYPES = ("UNDERGRAD", "GRAD", "FACULTY", "STAFF", "VISITOR")
SHARES = np.array([0.56, 0.16, 0.07, 0.13, 0.08])

STATIC, LAPTOP, PHONE = range(3)
DEVICE_TYPES = ("STATIC", "LAPTOP", "PHONE")
LAPTOP_SHARE = np.array([0.75, 0.95, 0.95, 0.85, 0.35])
SECOND_PHONE_SHARE = np.array([0.06, 0.08, 0.15, 0.06, 0.02])

NOBODY = -1
BLOCK = 2000
"""People (with their devices) simulated together: a constant, as rows depend on it."""

MINUTE, HOUR = 60, 3600
MWF, TUE_THU, EVERY_DAY = 0b0010101, 0b0001010, 0b1111111
PART_TIME = 0.3
"""Share of graduate students who come only on the days of their course."""
DAY_AWAY = 0.6
"""Share of faculty who work elsewhere on one weekday."""
MWF_STARTS = np.arange(8, 17) * HOUR
TUE_THU_STARTS = (np.arange(7) * 90 + 8 * 60) * MINUTE
EVENTS = 6
BASES = 5

# How a fixed device uses the WiFi.
ALWAYS_ON, PRINTER, OFFICE_DESKTOP, NIGHT_REPORTER = range(4)


@dataclass(frozen=True)
class Events:
    """Recurring events, one entry each: classes and meetings.

    ``weekdays`` has bit 0 for Monday; ``start`` is seconds after midnight; ``attendance`` is the
    probability that an invited person comes on a day.
    """

    weekdays: Ints
    start: Ints
    seconds: Ints
    room: Ints
    attendance: Floats


@dataclass(frozen=True)
class People:
    """One entry per person. ``bases`` are the rooms between events, ``events`` their timetable.

    ``weekdays`` are those on which they may come: bit 0 for Monday. ``sociability`` is how often
    they visit somebody, relative to the average of 1.
    """

    ids: NDArray[np.str_]
    type: Ints
    bases: Ints
    events: Ints
    diligence: Floats
    evenings: Floats
    sociability: Floats
    weekdays: Ints
    first_day: Ints
    last_day: Ints
    timetable: Events

    @property
    def count(self) -> int:
        """Number of people."""
        return len(self.type)

    def blocks(self) -> list[range]:
        """Ranges of people simulated together."""
        return [range(low, min(low + BLOCK, self.count)) for low in range(0, self.count, BLOCK)]

    def table(self) -> pa.Table:
        """Rows of ``truth_person``."""
        types = np.array(PERSON_TYPES)[self.type]
        return pa.table({"person_id": self.ids.tolist(), "person_type": types.tolist()})


@dataclass(frozen=True)
class Devices:
    """One entry per device: those of people in the people's order, then the fixed ones.

    ``piece_seconds`` is the mean duration of an unbroken session, ``detection`` the share of stays
    that the WiFi sees, ``chatter`` the same for stays on the way, ``astray`` the share of sessions
    located in a wrong room nearby. ``habit`` and ``room`` are set only for fixed devices.
    """

    person: Ints
    type: Ints
    piece_seconds: Floats
    detection: Floats
    chatter: Floats
    astray: Floats
    habit: Ints
    room: Ints

    def of_people(self, people: range) -> range:
        """The devices of a block of people, which are consecutive."""
        carried = self.person[self.person != NOBODY]
        low, high = np.searchsorted(carried, [people.start, people.stop])
        return range(int(low), int(high))

    def fixed(self) -> range:
        """The devices without an owner, which come last."""
        return range(int((self.person != NOBODY).sum()), len(self.person))


def build_people(options: CampusOptions, places: Places) -> People:
    """People with their rooms and timetables."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(0, 1)))
    kind = rng.permutation(np.repeat(np.arange(len(SHARES)), _counts(options.people)))
    members = [np.flatnonzero(kind == t) for t in range(len(SHARES))]
    bases, advisor = _bases(kind, members, places, rng)
    events, timetable = _Timetable(kind, members, places, rng).build(bases, advisor)
    first_day, last_day = _visits(kind, options.days, rng)
    return People(
        ids=np.char.add("P", np.char.zfill(np.arange(1, options.people + 1).astype(str), 6)),
        type=kind,
        bases=bases,
        events=events,
        diligence=rng.beta(14, 2, options.people),
        evenings=rng.beta(3, 5, options.people),
        sociability=rng.gamma(5, 1 / 5, options.people),
        weekdays=_weekdays(kind, rng),
        first_day=first_day,
        last_day=last_day,
        timetable=timetable,
    )


def build_devices(options: CampusOptions, people: People, places: Places) -> Devices:
    """Phones, laptops and second phones of the people, and the fixed devices of the campus."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(0, 2)))
    every = np.arange(people.count)
    with_laptop = every[rng.random(people.count) < LAPTOP_SHARE[people.type]]
    with_second = every[rng.random(people.count) < SECOND_PHONE_SHARE[people.type]]
    habit, room = _fixed_devices(places, rng)
    person = np.concatenate([every, with_laptop, with_second])
    kind = np.repeat([PHONE, LAPTOP, PHONE], [people.count, len(with_laptop), len(with_second)])
    detection = np.concatenate(
        [
            rng.beta(18, 2, people.count),
            rng.beta(9, 2, len(with_laptop)),
            rng.beta(5, 5, len(with_second)),
        ]
    )
    order = np.argsort(person, kind="stable")
    nobodys = np.full(len(habit), NOBODY)
    kind = np.concatenate([kind[order], np.full(len(habit), STATIC)])
    mean_minutes = np.where(kind == LAPTOP, 200.0, 60.0) * rng.lognormal(0, 0.4, len(kind))
    return Devices(
        person=np.concatenate([person[order], nobodys]),
        type=kind,
        piece_seconds=mean_minutes * MINUTE,
        detection=np.concatenate([detection[order], np.ones(len(habit))]),
        chatter=rng.beta(0.6, 3.0, len(kind)),
        astray=np.select(
            [kind == PHONE, kind == LAPTOP],
            [rng.beta(1.2, 4.5, len(kind)), rng.beta(1, 24, len(kind))],
        ),
        habit=np.concatenate([np.full(len(person), -1), habit]),
        room=np.concatenate([np.full(len(person), -1), room]),
    )


def faculty_table(people: People, places: Places) -> pa.Table:
    """Rows of the source's ``faculty_data``."""
    faculty = np.flatnonzero(people.type == FACULTY)
    offices = [places.building_room(room) for room in people.bases[faculty, 0].tolist()]
    names = [f"Professor {number:04d}" for number in range(1, len(faculty) + 1)]
    return pa.table({"name": names, "office": pa.array(offices, pa.string())})


def _counts(people: int) -> Ints:
    """Number of people per type: rounded shares with the exact total, at least one each."""
    exact = SHARES * people
    counts = np.maximum(np.floor(exact).astype(np.int64), 1)
    counts[UNDERGRAD] += people - counts.sum()
    return counts


def _bases(
    kind: Ints, members: list[Ints], places: Places, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Rooms where each person spends the time between events, (people, BASES), and advisors.

    The first is the home room; -1 is off campus. Advisors are the faculty member of each graduate
    student and the host of each visitor; -1 for others.
    """
    offices = {k: rng.permutation(places.of_kind(k)) for k in at.PEOPLE_PER_ROOM}
    outdoors = places.of_kind(at.OUTDOOR)
    undergrads, grads, faculty, staff, visitors = members
    bases = np.full((len(kind), BASES), -1, np.int64)
    advisor = np.full(len(kind), -1, np.int64)

    bases[undergrads, 0] = rng.choice(offices[at.OPEN_LAB], len(undergrads))
    bases[undergrads, 1] = rng.choice(offices[at.LIBRARY], len(undergrads))
    bases[undergrads, 2] = rng.choice(offices[at.OPEN_LAB], len(undergrads))
    bases[undergrads, 3] = rng.choice(outdoors, len(undergrads))

    bases[faculty, 0] = _share_out(offices[at.FACULTY_OFFICE], len(faculty), 1)
    bases[faculty, 1] = offices[at.RESEARCH_LAB][
        np.arange(len(faculty)) % len(offices[at.RESEARCH_LAB])
    ]
    advisor[grads] = rng.choice(faculty, len(grads))
    bases[grads, 0] = bases[advisor[grads], 1]
    bases[grads, 1] = np.where(
        rng.random(len(grads)) < 0.6,
        _share_out(offices[at.GRAD_OFFICE], len(grads), 3),
        bases[grads, 0],
    )
    bases[grads, 2] = rng.choice(offices[at.LIBRARY], len(grads))
    with_advisor = rng.random(len(grads)) < 0.35
    bases[grads, 3] = np.where(with_advisor, bases[advisor[grads], 0], bases[grads, 0])

    bases[staff, 0] = _share_out(offices[at.STAFF_OFFICE], len(staff), 2)
    bases[staff, 1] = places.kitchen[bases[staff, 0]]

    meeting_rooms = places.of_kind(at.MEETING, at.CONFERENCE)
    bases[visitors, 0] = rng.choice(meeting_rooms, len(visitors))
    bases[visitors, 1] = places.lobby[bases[visitors, 0]]
    advisor[visitors] = rng.choice(faculty, len(visitors))
    return bases, advisor


def _share_out(rooms: Ints, people: int, each: int) -> Ints:
    """Assign rooms to people, ``each`` to a room, starting again if there are too few rooms."""
    shared: Ints = rooms[(np.arange(people) // each) % len(rooms)]
    return shared


def _visits(kind: Ints, days: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """First and last day (from 0, both included) on which each person may come."""
    people = len(kind)
    stay = rng.choice([1, 2, 3, 5, 12], people, p=[0.55, 0.22, 0.13, 0.07, 0.03])
    first = np.where(kind == VISITOR, rng.integers(0, days, people), 0)
    return first, np.where(kind == VISITOR, first + stay - 1, days)


def _weekdays(kind: Ints, rng: np.random.Generator) -> Ints:
    """The weekdays of each person: part-time students and some faculty do not come on all days."""
    people = len(kind)
    weekdays = np.full(people, EVERY_DAY)
    part_time = (kind == GRAD) & (rng.random(people) < PART_TIME)
    weekdays[part_time] = TUE_THU
    away = 1 << rng.integers(0, 5, people)
    some_days = (kind == FACULTY) & (rng.random(people) < DAY_AWAY)
    weekdays[some_days] &= ~away[some_days]
    return weekdays


class _Timetable:
    """Collects recurring events and the people invited."""

    def __init__(
        self, kind: Ints, members: list[Ints], places: Places, rng: np.random.Generator
    ) -> None:
        self.kind, self.members, self.places, self.rng = kind, members, places, rng
        self.parts: list[tuple[Ints, Ints, Ints, Ints, Floats]] = []
        self.size = 0
        self.invited = np.full((len(kind), EVENTS), -1, np.int64)

    def build(self, bases: Ints, advisor: Ints) -> tuple[Ints, Events]:
        """Events of each person, (people, EVENTS) with -1 for none, and the events."""
        self._courses()
        self._advising(bases, advisor)
        self._group_meetings(advisor)
        self._staff_meetings()
        columns = [np.concatenate(part) for part in zip(*self.parts, strict=True)]
        return self.invited, Events(*columns)

    def _add(
        self, weekdays: Ints, start: Ints, seconds: Ints, room: Ints, attendance: float
    ) -> Ints:
        """Add events; returns their numbers."""
        count = len(start)
        self.parts.append((weekdays, start, seconds, room, np.full(count, attendance)))
        self.size += count
        return np.arange(self.size - count, self.size)

    def _courses(self) -> None:
        """Courses in all classroom slots; students choose without clashes."""
        rooms = self.rng.permutation(self.places.of_kind(at.CLASSROOM))
        slots = len(MWF_STARTS) + len(TUE_THU_STARTS)
        room, slot = np.repeat(rooms, slots), np.tile(np.arange(slots), len(rooms))
        on_mwf = slot < len(MWF_STARTS)
        courses = self._add(
            np.where(on_mwf, MWF, TUE_THU),
            np.concatenate([MWF_STARTS, TUE_THU_STARTS])[slot],
            np.where(on_mwf, 50, 80) * MINUTE,
            room,
            0.88,
        ).reshape(len(rooms), slots)
        undergrads, grads, faculty = self.members[:3]
        self._enrol(undergrads, courses[:, : len(MWF_STARTS)], [0, 1])
        self._enrol(undergrads, courses[:, len(MWF_STARTS) :], [2, 3])
        self._enrol(grads, courses[:, len(MWF_STARTS) :], [0])
        teachers = self.rng.permutation(faculty)[: courses.size]
        self.invited[teachers, 0] = self.rng.permutation(courses.ravel())[: len(teachers)]

    def _enrol(self, students: Ints, courses: Ints, columns: list[int]) -> None:
        """Enrol students in one course per column, in different slots."""
        slots = np.argsort(self.rng.random((len(students), courses.shape[1])), axis=1)
        for column in columns:
            room = self.rng.integers(0, len(courses), len(students))
            self.invited[students, column] = courses[room, slots[:, column]]

    def _advising(self, bases: Ints, advisor: Ints) -> None:
        """Two meetings a week of each graduate student in the advisor's office."""
        grads = self.members[GRAD]
        for column in (1, 2):
            self.invited[grads, column] = self._add(
                1 << self.rng.integers(0, 5, len(grads)),
                self._half_hours(len(grads), 10, 17),
                self.rng.integers(25, 60, len(grads)) * MINUTE,
                bases[advisor[grads], 0],
                0.85,
            )

    def _group_meetings(self, advisor: Ints) -> None:
        """A weekly meeting of every faculty member with all their graduate students."""
        faculty, grads = self.members[FACULTY], self.members[GRAD]
        meetings = self._meetings(len(faculty), 0.9)
        self.invited[faculty, 1] = meetings
        of_member = np.full(len(self.kind), -1, np.int64)
        of_member[faculty] = meetings
        self.invited[grads, 3] = of_member[advisor[grads]]
        self.invited[faculty, 2] = self.rng.choice(self._meetings(10, 0.7), len(faculty))

    def _staff_meetings(self) -> None:
        """Two weekly meetings of each unit of about eight."""
        staff = self.members[STAFF]
        for column in (0, 1):
            units = self._meetings(len(staff) // 8 + 1, 0.85)
            self.invited[staff, column] = units[np.arange(len(staff)) // 8]

    def _meetings(self, count: int, attendance: float) -> Ints:
        rooms = self.places.of_kind(at.MEETING, at.CONFERENCE)
        return self._add(
            1 << self.rng.integers(0, 5, count),
            self._half_hours(count, 9, 16),
            self.rng.choice([50, 60, 90], count) * MINUTE,
            self.rng.choice(rooms, count),
            attendance,
        )

    def _half_hours(self, count: int, low: int, high: int) -> Ints:
        return self.rng.integers(2 * low, 2 * high, count) * (HOUR // 2)


def _fixed_devices(places: Places, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Habit and room of every fixed device."""
    plan = [
        (ALWAYS_ON, places.of_kind(at.LOBBY, at.CLASSROOM), 1.0),
        (ALWAYS_ON, places.of_kind(at.HALLWAY), 0.9),
        (ALWAYS_ON, places.of_kind(at.OPEN_LAB, at.RESEARCH_LAB), 1.0),
        (ALWAYS_ON, places.of_kind(at.STAFF_OFFICE), 0.15),
        (OFFICE_DESKTOP, places.of_kind(at.STAFF_OFFICE, at.FACULTY_OFFICE), 0.12),
        (PRINTER, places.of_kind(at.HALLWAY, at.KITCHEN), 0.5),
        (PRINTER, places.of_kind(at.OPEN_LAB, at.LIBRARY), 0.8),
        (NIGHT_REPORTER, places.of_kind(at.JANITOR, at.TELECOM), 0.7),
    ]
    rooms = [room[rng.random(len(room)) < share] for _, room, share in plan]
    habits = np.repeat([habit for habit, _, _ in plan], [len(room) for room in rooms])
    return habits, np.concatenate(rooms)
