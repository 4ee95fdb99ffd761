"""Where people really are: their true stays in one week, without any WiFi."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.simulation import places as at
from tippers_dagster.simulation.calendar import DAY, Calendar, Ints
from tippers_dagster.simulation.people import (
    BASES,
    FACULTY,
    GRAD,
    HOUR,
    MINUTE,
    STAFF,
    UNDERGRAD,
    VISITOR,
    People,
)
from tippers_dagster.simulation.places import Places

Mask = NDArray[np.bool_]

NEVER = 2 * DAY
OUTSIDE = -1

# By person type: undergraduate, graduate, faculty, staff, visitor.
WEEKDAY_RATE = np.array([0.95, 0.93, 0.88, 0.97, 0.95])
WEEKEND_RATE = np.array([0.07, 0.20, 0.06, 0.01, 0.05])
IDLE_DAY_RATE = 0.35
"""Factor on the chance that an undergraduate comes on a weekday without a class."""
ARRIVAL = np.array([10.5, 9.9, 9.5, 9.05, 10.5]) * HOUR
ARRIVAL_SPREAD = np.array([1.2, 0.75, 0.5, 0.12, 1.0]) * HOUR
DEPARTURE = np.array([15.0, 18.5, 18.2, 16.85, 14.5]) * HOUR
DEPARTURE_SPREAD = np.array([1.5, 1.3, 0.7, 0.12, 1.5]) * HOUR
EARLIEST, LATEST = 6 * HOUR + 30 * MINUTE, 23 * HOUR + 30 * MINUTE
LUNCH_RATE = np.array([0.60, 0.75, 0.85, 0.92, 0.50])
VISIT_RATES = np.array([[0.85, 0.75], [0.20, 0.08], [0.40, 0.20], [0.35, 0.20], [0.15, 0.05]])
"""Chances that each type of person visits somebody once, and once more."""
OFFICE_HOURS = 0.15
"""Share of undergraduates' visits that are to a faculty member's office."""
KITCHEN_RATE = 0.45
REST_RATES = (0.90, 0.70)
BASE_SHARES = np.array(
    [
        [0.30, 0.36, 0.08, 0.14, 0.12],
        [0.46, 0.45, 0.01, 0.06, 0.02],
        [0.96, 0.04, 0.00, 0.00, 0.00],
        [0.99, 0.01, 0.00, 0.00, 0.00],
        [0.88, 0.12, 0.00, 0.00, 0.00],
    ]
)
"""Shares of the ``BASES`` rooms in each type of person's time between events."""
RETURNS = np.array([0.6, 0.1, 0.6, 0.6, 0.6])
"""Chance that each type of person returns to the room they were in before an event."""


@dataclass(frozen=True)
class Stays:
    """One entry per stay of a person in a space, [start, end) in wall-clock seconds.

    Seconds count from the campus's first midnight until ``on_calendar`` converts them to local
    times. The stays of one person never overlap. ``passing`` marks stays on the way; the others
    come first, ordered by ``visit`` (a person's day) and time.
    """

    person: Ints
    visit: Ints
    space: Ints
    start: Ints
    end: Ints
    passing: Mask


@dataclass(frozen=True)
class _Visits:
    """Person-days on campus: seconds after midnight, and the day's events (or NEVER)."""

    person: Ints
    type: Ints
    midnight: Ints
    arrive: Ints
    depart: Ints
    event_start: Ints
    event_end: Ints
    event_room: Ints


def true_stays(
    people: People,
    places: Places,
    block: range,
    first_day: int,
    off_days: Ints,
    rng: np.random.Generator,
) -> Stays:
    """The stays of a block of people on some days.

    Parameters
    ----------
    people, places
        Those of the campus.
    block
        Positions of the people.
    first_day
        The first day, counted from the campus's first.
    off_days
        Shape (days, 2): weekday from Monday (0 to 6), and whether it is a day off.
    rng
        Random generator for this block and these days.
    """
    visits = _visits(people, block, first_day, off_days, rng)
    start, end, room = _interruptions(visits, people, places, rng)
    return _with_walks(*_fill(visits, start, end, room, people, rng), visits, places, rng)


def on_calendar(stays: Stays, calendar: Calendar) -> Stays:
    """Convert stays from seconds after the campus's first midnight to existing local times."""
    first_midnight = calendar.first_day * DAY
    return replace(
        stays,
        start=calendar.settle(stays.start + first_midnight),
        end=calendar.settle(stays.end + first_midnight),
    )


def _visits(
    people: People, block: range, first_day: int, off_days: Ints, rng: np.random.Generator
) -> _Visits:
    """Who comes on which day, their hours, and the events that they attend."""
    member = np.arange(block.start, block.stop)
    table = people.timetable
    invited = people.events[member]
    weekday, off = off_days[:, 0], off_days[:, 1].astype(bool)
    meets = (table.weekdays[invited][:, None, :] >> weekday[None, :, None]) & 1 == 1
    meets &= (invited >= 0)[:, None, :] & ~off[None, :, None]
    meets &= rng.random(meets.shape) < table.attendance[invited][:, None, :]

    kind = people.type[member][:, None]
    rate = np.where(off[None, :], WEEKEND_RATE[kind], WEEKDAY_RATE[kind])
    rate = rate * people.diligence[member][:, None] / people.diligence.mean()
    rate[(kind == UNDERGRAD) & ~off[None, :] & ~meets.any(axis=2)] *= IDLE_DAY_RATE
    day = first_day + np.arange(len(weekday))
    comes = (people.weekdays[member][:, None] >> weekday) & 1 == 1
    here = comes & (day >= people.first_day[member][:, None])
    here &= day <= people.last_day[member][:, None]
    row, column = np.nonzero(here & (rng.random(rate.shape) < rate))

    attends, events = meets[row, column], invited[row]
    start = np.where(attends, table.start[events], NEVER)
    end = np.where(attends, table.start[events] + table.seconds[events], NEVER)
    arrive, depart = _hours(people, member[row], start, np.where(attends, end, 0), rng)
    return _Visits(
        person=member[row],
        type=people.type[member[row]],
        midnight=day[column] * DAY,
        arrive=arrive,
        depart=depart,
        event_start=start,
        event_end=end,
        event_room=table.room[events],
    )


def _hours(
    people: People, person: Ints, start: Ints, end: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Arrival and departure times, which include the day's events."""
    kind, count = people.type[person], len(person)
    first, last = start.min(axis=1, initial=NEVER), end.max(axis=1, initial=0)
    arrive = rng.normal(ARRIVAL[kind], ARRIVAL_SPREAD[kind])
    depart = rng.normal(DEPARTURE[kind], DEPARTURE_SPREAD[kind])
    early = rng.uniform(4, 50, count) * MINUTE
    has_events = first < NEVER
    student = (kind == UNDERGRAD) & has_events
    arrive = np.where(student, first - early, np.minimum(arrive, first - early / 5))
    depart = np.where(student, last + rng.exponential(1.2 * HOUR, count), depart)
    evening_rate = np.select(
        [kind == UNDERGRAD, kind == GRAD], [people.evenings[person], 0.15], default=0.0
    )
    evening = rng.random(count) < evening_rate
    depart = np.where(evening, rng.uniform(20.4, 22.7, count) * HOUR, depart)
    arrive = np.clip(arrive, EARLIEST, LATEST - HOUR)
    depart = np.clip(np.maximum(depart, last), arrive + 40 * MINUTE, LATEST)
    return arrive.astype(np.int64), depart.astype(np.int64)


def _interruptions(
    visits: _Visits, people: People, places: Places, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Events, lunch, kitchen, rest rooms and visits to somebody: (visits, columns), unsorted.

    Those that do not happen, or would clash with an event, start and end NEVER.
    """
    count, kind = len(visits.person), visits.type
    home = people.bases[visits.person, 0]
    kitchen = places.kitchen[home]
    chance = rng.random((count, 6))
    moment = rng.uniform(visits.arrive + 10 * MINUTE, visits.depart - 5 * MINUTE, (5, count)).T
    outdoors = places.of_kind(at.OUTDOOR)
    lunch_place = np.select(
        [chance[:, 0] < 0.3, chance[:, 0] < 0.55],
        [rng.choice(outdoors, count), kitchen],
        default=OUTSIDE,
    )
    start = np.column_stack([rng.normal(12.2 * HOUR, 0.42 * HOUR, count), moment])
    seconds = rng.uniform(
        np.array([25, 3, 2, 2, 12, 8]) * MINUTE,
        np.array([55, 8, 5, 6, 40, 25]) * MINUTE,
        (count, 6),
    )
    room = np.column_stack(
        [
            lunch_place,
            kitchen,
            *places.rest_rooms[:, home],
            _visited_rooms(visits, places, rng),
            _visited_rooms(visits, places, rng),
        ]
    )
    rate = np.column_stack(
        [
            LUNCH_RATE[kind],
            np.full(count, KITCHEN_RATE),
            *(np.full(count, rate) for rate in REST_RATES),
            VISIT_RATES[kind] * people.sociability[visits.person][:, None],
        ]
    )
    start, end = start.astype(np.int64), (start + seconds).astype(np.int64)
    clash = (
        (start[:, :, None] < visits.event_end[:, None, :] + MINUTE)
        & (end[:, :, None] + MINUTE > visits.event_start[:, None, :])
    ).any(axis=2)
    happens = (rng.random((count, 6)) < rate) & ~clash
    return (
        np.hstack([visits.event_start, np.where(happens, start, NEVER)]),
        np.hstack([visits.event_end, np.where(happens, end, NEVER)]),
        np.hstack([visits.event_room, room]),
    )


def _visited_rooms(visits: _Visits, places: Places, rng: np.random.Generator) -> Ints:
    """A room that each person might visit: office hours, friends, meetings, other labs."""
    count, kind = len(visits.person), visits.type
    offices = rng.choice(places.of_kind(at.FACULTY_OFFICE), count)
    meetings = rng.choice(places.of_kind(at.MEETING, at.CONFERENCE), count)
    labs = rng.choice(places.of_kind(at.RESEARCH_LAB), count)
    friends = rng.choice(places.of_kind(at.CLASSROOM, at.OPEN_LAB, at.LIBRARY), count)
    friends = np.where(rng.random(count) < OFFICE_HOURS, offices, friends)
    return np.select(
        [kind == UNDERGRAD, kind == VISITOR, np.isin(kind, [FACULTY, STAFF])],
        [friends, offices, meetings],
        default=labs,
    )


def _fill(
    visits: _Visits,
    start: Ints,
    end: Ints,
    room: Ints,
    people: People,
    rng: np.random.Generator,
) -> tuple[Ints, Ints, Ints]:
    """Spaces, starts and ends of consecutive stays, (visits, 2 * columns + 1); some are empty.

    Odd columns are interruptions, even ones the time between them, spent in a base room.
    """
    count, columns = start.shape
    order = np.argsort(start, axis=1, kind="stable")
    start, end, room = (np.take_along_axis(a, order, axis=1) for a in (start, end, room))
    begins = np.empty((count, 2 * columns + 1), np.int64)
    ends = np.empty_like(begins)
    spaces = np.empty_like(begins)
    cursor = visits.arrive
    for column in range(columns):
        happens = (start[:, column] >= cursor) & (end[:, column] <= visits.depart)
        begins[:, 2 * column] = cursor
        ends[:, 2 * column] = np.where(happens, start[:, column], cursor)
        begins[:, 2 * column + 1] = ends[:, 2 * column]
        cursor = np.where(happens, end[:, column], cursor)
        ends[:, 2 * column + 1] = cursor
    begins[:, -1], ends[:, -1] = cursor, visits.depart
    spaces[:, 1::2] = room
    spaces[:, 0::2] = _base_rooms(visits, people, columns + 1, rng)
    return spaces, begins, ends


def _base_rooms(visits: _Visits, people: People, columns: int, rng: np.random.Generator) -> Ints:
    """The rooms of the times between interruptions, (visits, columns)."""
    thresholds = BASE_SHARES.cumsum(axis=1)[visits.type][:, None, : BASES - 1]
    shape = (len(visits.person), columns)
    choice = (rng.random(shape)[:, :, None] >= thresholds).sum(axis=2)
    settles = np.where(rng.random(shape) < RETURNS[visits.type][:, None], 0, np.arange(columns))
    choice = np.take_along_axis(choice, np.maximum.accumulate(settles, axis=1), axis=1)
    return np.take_along_axis(people.bases[visits.person], choice, axis=1)


def _with_walks(
    space: Ints, start: Ints, end: Ints, visits: _Visits, places: Places, rng: np.random.Generator
) -> Stays:
    """Stays on campus, each shortened by the walk to it through lobby, elevator and hallway."""
    visit, column = np.nonzero(end - start >= MINUTE)
    space, start, end = (a[visit, column] for a in (space, start, end))
    start, end = start + visits.midnight[visit], end + visits.midnight[visit]
    person = visits.person[visit]
    same_visit = visit[1:] == visit[:-1]
    came_from, goes_to = np.full((2, len(space)), OUTSIDE, np.int64)
    until = np.full(len(space), np.iinfo(np.int64).max)
    came_from[1:][same_visit] = space[:-1][same_visit]
    goes_to[:-1][same_visit] = space[1:][same_visit]
    until[:-1][same_visit] = end[1:][same_visit]

    moved = (came_from != space) & (space != OUTSIDE)
    steps = np.stack([places.lobby[space], places.elevator[space], places.hallway[space]])
    other_building = places.building[came_from] != places.building[space]
    other_floor = places.floor[came_from] != places.floor[space]
    rides = other_floor & (rng.random(len(space)) < 0.55)
    taken = np.stack([moved & other_building, moved & rides, moved]) & (steps >= 0)
    pace = rng.integers(25, 110, steps.shape) * taken
    budget = (end - start) * 2 // 5
    pace = pace * np.minimum(budget, pace.sum(axis=0)) // np.maximum(pace.sum(axis=0), 1)
    step_end = start + pace.cumsum(axis=0)
    arrived = step_end[-1]

    exit_ = places.lobby[space]
    leaves = (goes_to == OUTSIDE) & (space != OUTSIDE) & (exit_ >= 0)
    left = np.minimum(end + rng.integers(30, 100, len(space)), until)
    stays = space != OUTSIDE
    walked = pace > 0
    row = np.broadcast_to(np.arange(len(space)), steps.shape)[walked]
    picks = np.concatenate([np.flatnonzero(stays), row, np.flatnonzero(leaves)])
    return Stays(
        person=person[picks],
        visit=visit[picks],
        space=np.concatenate([space[stays], steps[walked], exit_[leaves]]),
        start=np.concatenate([arrived[stays], (step_end - pace)[walked], end[leaves]]),
        end=np.concatenate([end[stays], step_end[walked], left[leaves]]),
        passing=np.arange(len(picks)) >= int(stays.sum()),
    )
