"""The WiFi log: sessions of devices, with the noise of real logs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from tippers_dagster.simulation import places as at
from tippers_dagster.simulation.calendar import DAY, Calendar, Ints
from tippers_dagster.simulation.days import Stays
from tippers_dagster.simulation.identities import Identities
from tippers_dagster.simulation.people import (
    ALWAYS_ON,
    HOUR,
    MINUTE,
    NIGHT_REPORTER,
    OFFICE_DESKTOP,
    PHONE,
    PRINTER,
    Devices,
    Floats,
)
from tippers_dagster.simulation.places import Places

NOTICED_AFTER = 3 * MINUTE
"""A phone that stays this long is missed with probability 1/e, in addition to its own share."""
NEXT_ACCESS_POINT = np.array([0.0, 0.02, 0.08])
LINGERS = 0.40
OPEN_ENDED = 0.002
ZERO_LENGTH = 0.004
OPEN_FIRST = 0.004
"""Share of the usable rows before which there is another one, from when the session was open."""
WRITTEN_TWICE = 0.002
UNUSABLE = 0.002
"""Unusable rows, as a share of the usable ones."""

LAPTOP_ROOMS = (
    at.FACULTY_OFFICE, at.STAFF_OFFICE, at.GRAD_OFFICE, at.RESEARCH_LAB, at.OPEN_LAB,
    at.CLASSROOM, at.LIBRARY, at.CONFERENCE, at.MEETING,
)  # fmt: skip
LAPTOP_DAYS = 0.88
LAPTOP_IN_CLASS = 0.30
LAPTOP_IN_MEETING = 0.25
LAPTOP_LEAST_STAY = 75 * MINUTE
LAPTOP_STAYS_BEHIND = 0.97
SHORT_ABSENCE = 20 * MINUTE
LONG_ABSENCE = 100 * MINUTE

# Why a row cannot be used, in the order in which reasons are assigned.
NO_DEVICE, UNKNOWN_SPACE, ENDS_BEFORE_START = range(3)
UNUSABLE_REASONS = ("no device", "unknown space", "end before start")
USABLE, REPEATED = -1, -2
NULL_DEVICE, BLANK_DEVICE = -1, -2
NO_SPACE = -1
OPEN = np.iinfo(np.int64).min
"""The end of an open session."""


@dataclass(frozen=True)
class Associations:
    """When devices are connected to an access point, and where they are then located; times are
    local (wall) seconds.
    """

    device: Ints
    access_point: Ints
    space: Ints
    start: Ints
    end: Ints

    def take(self, picks: Ints) -> Associations:
        """Those at these positions."""
        return Associations(*(getattr(self, field.name)[picks] for field in fields(self)))


@dataclass(frozen=True)
class Sessions:
    """One entry per row of the session table; times are local (wall) seconds.

    ``address`` and ``user`` are positions among those of ``Identities``. ``status`` is USABLE;
    REPEATED, if a usable row is of the same session; or why the row cannot be used: only such rows
    have NULL_DEVICE, BLANK_DEVICE or NO_SPACE.
    """

    address: Ints
    user: Ints
    access_point: Ints
    space: Ints
    start: Ints
    end: Ints
    status: Ints

    def take(self, picks: Ints) -> Sessions:
        """The rows at these positions."""
        return Sessions(*(getattr(self, field.name)[picks] for field in fields(self)))

    @property
    def unusable(self) -> dict[str, int]:
        """Numbers of unusable rows by reason."""
        reasons = self.status[self.status >= 0]
        counts = np.bincount(reasons, minlength=len(UNUSABLE_REASONS))
        return dict(zip(UNUSABLE_REASONS, counts.tolist(), strict=True))


@dataclass(frozen=True)
class _Links:
    """Periods in which a device that is really in a space is connected."""

    device: Ints
    space: Ints
    start: Ints
    end: Ints


def carried_associations(
    stays: Stays, block: range, devices: Devices, places: Places, rng: np.random.Generator
) -> Associations:
    """Those of the devices that people carry."""
    owned = devices.of_people(block)
    device, stay = _carried(stays, owned, devices.person)
    phones = devices.type[device] == PHONE
    links = [
        _phone_links(stays, device[phones], stay[phones], devices, rng),
        _laptop_links(stays, device[~phones], stay[~phones], devices, places, rng),
    ]
    device, space, start, end = (
        np.concatenate([getattr(link, field.name) for link in links]) for field in fields(_Links)
    )
    delay = np.minimum(rng.exponential(9, len(start)), (end - start) // 2).astype(np.int64)
    linger = rng.exponential(75, len(start)) * (rng.random(len(start)) < LINGERS)
    point, seen = _located(space, device, devices, places, rng)
    return Associations(device, point, seen, start + delay, end + linger.astype(np.int64))


def fixed_associations(
    devices: Devices,
    places: Places,
    calendar: Calendar,
    first_midnight: int,
    workdays: Ints,
    rng: np.random.Generator,
) -> Associations:
    """Those of the campus's own devices, which never move; at most one starts at a time.

    ``workdays`` has one entry per day from ``first_midnight``: 1 when people work.
    """
    fixed = np.arange(devices.fixed().start, devices.fixed().stop)
    day = np.arange(len(workdays))
    device, day = (a.ravel() for a in np.meshgrid(fixed, day, indexing="ij"))
    habit = devices.habit[device]
    runs = [
        _always_on(device[habit == ALWAYS_ON], day[habit == ALWAYS_ON], rng),
        _printing(device[habit == PRINTER], day[habit == PRINTER], workdays, rng),
        _switched_on(device[habit == OFFICE_DESKTOP], day[habit == OFFICE_DESKTOP], workdays, rng),
        _at_night(device[habit == NIGHT_REPORTER], day[habit == NIGHT_REPORTER], rng),
    ]
    device, start, end = (np.concatenate(column) for column in zip(*runs, strict=True))
    start = calendar.settle(first_midnight + start)
    # Two that start together would be one session in the log.
    _, first = np.unique(device << 32 | start, return_index=True)
    device, start, end = device[first], start[first], first_midnight + end[first]
    space = devices.room[device]
    return Associations(device, places.access_point[space], space, start, end)


def as_logged(
    seen: Associations,
    identities: Identities,
    calendar: Calendar,
    last_midnight: int,
    rng: np.random.Generator,
) -> Sessions:
    """Sessions as the log has them: ordered by start, with odd, unusable and repeated rows.

    No session starts at or lasts beyond ``last_midnight``, and no time is skipped by the clock.
    """
    seen = seen.take(np.flatnonzero(seen.start < last_midnight))
    start = calendar.settle(seen.start)
    end = calendar.settle(np.minimum(seen.end, last_midnight))
    odd = rng.random(len(start))
    end = np.where(odd < ZERO_LENGTH, start, np.maximum(end, start))
    end = np.where(odd >= 1 - OPEN_ENDED, OPEN, end)
    usable = Sessions(
        identities.address(seen.device, start // DAY - calendar.first_day),
        identities.user(seen.device, rng),
        seen.access_point,
        seen.space,
        start,
        end,
        np.full(len(start), USABLE),
    )
    parts = _repeated(usable, rng), usable, _unusable(usable, calendar, rng)
    logged = Sessions(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Sessions))
    )
    return logged.take(np.argsort(logged.start, kind="stable"))


def _carried(stays: Stays, owned: range, person: Ints) -> tuple[Ints, Ints]:
    """Every device of each stay's person, ordered by device and stay."""
    by_person = np.argsort(stays.person, kind="stable")
    sorted_person = stays.person[by_person]
    device = np.arange(owned.start, owned.stop)
    low = np.searchsorted(sorted_person, person[device], side="left")
    counts = np.searchsorted(sorted_person, person[device], side="right") - low
    within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return np.repeat(device, counts), by_person[np.repeat(low, counts) + within]


def _phone_links(
    stays: Stays, device: Ints, stay: Ints, devices: Devices, rng: np.random.Generator
) -> _Links:
    """Phones are seen in most stays, rarely on the way, and sleep from time to time."""
    noticed = 1 - np.exp((stays.start[stay] - stays.end[stay]) / NOTICED_AFTER)
    chance = np.where(stays.passing[stay], devices.chatter[device], noticed)
    chance = chance * devices.detection[device]
    seen = rng.random(len(device)) < chance
    device, stay = device[seen], stay[seen]
    mean = devices.piece_seconds[device]
    row, start, end = _in_pieces(stays.start[stay], stays.end[stay], mean, 9 * MINUTE, rng)
    return _Links(device[row], stays.space[stay][row], start, end)


def _laptop_links(
    stays: Stays,
    device: Ints,
    stay: Ints,
    devices: Devices,
    places: Places,
    rng: np.random.Generator,
) -> _Links:
    """Laptops are used where people sit, and stay on the desk during short absences."""
    sits = np.isin(places.kind, LAPTOP_ROOMS)[stays.space[stay]] & ~stays.passing[stay]
    sits &= stays.end[stay] - stays.start[stay] >= LAPTOP_LEAST_STAY
    device, stay = device[sits], stay[sits]
    # One draw per person's day: the laptop is brought along, or left at home.
    along = rng.random(int(stays.visit.max(initial=-1)) + 1) < LAPTOP_DAYS
    kind = places.kind[stays.space[stay]]
    meets = np.isin(kind, [at.CONFERENCE, at.MEETING])
    opened = np.select([kind == at.CLASSROOM, meets], [LAPTOP_IN_CLASS, LAPTOP_IN_MEETING], 1.0)
    chance = devices.detection[device] * opened
    used = along[stays.visit[stay]] & (rng.random(len(device)) < chance)
    device, stay = device[used], stay[used]
    device, space, start, end = _left_on_desk(stays, device, stay, rng)
    mean = devices.piece_seconds[device]
    row, start, end = _in_pieces(start, end, mean, 4 * MINUTE, rng, even=True)
    return _Links(device[row], space[row], start, end)


def _left_on_desk(
    stays: Stays, device: Ints, stay: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints, Ints]:
    """Join consecutive stays of a laptop in one room if the absence between them is short."""
    space, start, end = stays.space[stay], stays.start[stay], stays.end[stay]
    absence = start[1:] - end[:-1]
    chance = np.where(absence <= SHORT_ABSENCE, LAPTOP_STAYS_BEHIND, LAPTOP_STAYS_BEHIND * 0.8)
    joined = (
        (device[1:] == device[:-1])
        & (space[1:] == space[:-1])
        & (absence >= 0)
        & (absence <= LONG_ABSENCE)
        & (rng.random(len(absence)) < chance)
    )
    first = np.ones(len(device), bool)
    first[1:] = ~joined
    last = np.ones(len(device), bool)
    last[:-1] = ~joined
    return device[first], space[first], start[first], end[last]


def _in_pieces(
    start: Ints,
    end: Ints,
    mean: Floats,
    gap: float,
    rng: np.random.Generator,
    *,
    even: bool = False,
) -> tuple[Ints, Ints, Ints]:
    """Cut periods into pieces of about ``mean`` seconds with gaps of about ``gap`` after each.

    Phones fall asleep at any time; laptops (``even``) have to log in again from time to time.

    Returns
    -------
    (row, start, end)
        One entry per piece of at least a second; ``row`` is the period that it comes from.
    """
    expected = (end - start) / mean
    if even:
        pieces = np.maximum((expected + rng.random(len(start))).astype(np.int64), 1)
    else:
        pieces = 1 + rng.poisson(expected)
    row = np.repeat(np.arange(len(start)), pieces)
    weight = rng.standard_exponential(len(row)) + (3.0 if even else 0.15)
    total = weight.cumsum()
    first = pieces.cumsum() - pieces
    before = np.concatenate([np.zeros(1), total])
    base = before[first][row]
    scale = ((end - start) / (before[first + pieces] - before[first]))[row]
    begins = start[row] + ((before[:-1] - base) * scale).astype(np.int64)
    ends = np.empty_like(begins)
    ends[:-1] = begins[1:]
    last = first + pieces - 1
    sleep = np.minimum(rng.exponential(gap, len(row)), 0.7 * weight * scale).astype(np.int64)
    ends[last] = end
    sleep[last] = 0
    lasts = np.flatnonzero(ends > begins)
    return row[lasts], begins[lasts], np.maximum(ends - sleep, begins + 1)[lasts]


def _located(
    space: Ints, device: Ints, devices: Devices, places: Places, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """The access point that each device uses, and the space in which it is then located."""
    roams = rng.random(len(space)) < NEXT_ACCESS_POINT[devices.type[device]]
    point = np.where(roams, places.next_access_point[space], places.access_point[space])
    guess = places.candidates[point, rng.integers(0, at.CANDIDATES, len(space))]
    wrong = roams | (rng.random(len(space)) < devices.astray[device])
    return point, np.where(wrong, guess, space)


def _always_on(device: Ints, day: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """One session a day, from one reconnection to the next, at the device's own hour."""
    hour = (device * 7919 % 86399)[:, None] % DAY
    jitter = rng.integers(0, 90, (len(device), 2))
    start = day * DAY + hour[:, 0] + jitter[:, 0]
    return device, start, start + DAY - 120 + jitter[:, 1] - jitter[:, 0]


def _printing(
    device: Ints, day: Ints, workdays: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Short sessions round the clock, more of them on workdays."""
    count = rng.poisson(np.where(workdays[day] == 1, 6.0, 2.0))
    device, day = np.repeat(device, count), np.repeat(day, count)
    start = day * DAY + rng.integers(0, DAY, len(day))
    return device, start, start + rng.gamma(2.0, 20 * MINUTE, len(day)).astype(np.int64)


def _switched_on(
    device: Ints, day: Ints, workdays: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Desktops that are on while somebody works, so they look like laptops."""
    used = (workdays[day] == 1) & (rng.random(len(day)) < 0.9)
    device, day = device[used], day[used]
    start = day * DAY + rng.normal(9 * HOUR, 0.4 * HOUR, len(day)).astype(np.int64)
    return device, start, start + rng.normal(8.2 * HOUR, 0.7 * HOUR, len(day)).astype(np.int64)


def _at_night(device: Ints, day: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Meters and controllers that report at night."""
    count = rng.poisson(2.5, len(day))
    device, day = np.repeat(device, count), np.repeat(day, count)
    start = day * DAY + rng.integers(0, 4 * HOUR, len(day))
    return device, start, start + rng.integers(2 * MINUTE, 50 * MINUTE, len(day))


def _repeated(usable: Sessions, rng: np.random.Generator) -> Sessions:
    """Other rows of some sessions: from when they were open, or the same once more."""
    odd = rng.random(len(usable.start))
    picks = np.flatnonzero(odd < OPEN_FIRST + WRITTEN_TWICE)
    rows = usable.take(picks)
    return replace(
        rows,
        end=np.where(odd[picks] < OPEN_FIRST, OPEN, rows.end),
        status=np.full(len(picks), REPEATED),
    )


def _unusable(usable: Sessions, calendar: Calendar, rng: np.random.Generator) -> Sessions:
    """Copies of some rows without a device, with an unknown space, or ending before their start."""
    # Fractions of a row are drawn, so that the share is right even for small batches.
    rows = len(usable.address)
    count = int(rows * UNUSABLE + rng.random() * (rows > 0))
    copies = usable.take(rng.integers(0, max(rows, 1), count))
    reason = rng.integers(0, len(UNUSABLE_REASONS), count)
    nobody = rng.choice([NULL_DEVICE, BLANK_DEVICE], count)
    # Earlier by more than a clock change, or the session might become usable.
    early = calendar.settle(copies.start - 2 * HOUR - rng.integers(1, HOUR, count))
    return replace(
        copies,
        address=np.where(reason == NO_DEVICE, nobody, copies.address),
        space=np.where(reason == UNKNOWN_SPACE, NO_SPACE, copies.space),
        end=np.where(reason == ENDS_BEFORE_START, early, copies.end),
        status=reason,
    )
