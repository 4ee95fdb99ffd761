"""Times as logs write them, value by value, to instants.

Every value of a column is read by its own shape: a column may mix all forms. A zone or an offset is
exact; so are epochs, whose unit follows from their magnitude. Other times are those of a wall
clock. Abbreviations of zones count only if the clock uses them at that time, since others mean
different zones in different places.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import DAY, HOUR, MICRO, LocalClock
from tippers_dagster.campus.log.checks import Mask
from tippers_dagster.campus.log.not_ended import EARLIEST_LATE, not_ended
from tippers_dagster.campus.log.shapes import Group, groups
from tippers_dagster.campus.log.texts import is_text
from tippers_dagster.campus.log.time_forms import BLANK, EXACT, NEVER, NUMBER, TimeForm, time_form
from tippers_dagster.errors import BadInput

Int64 = NDArray[np.int64]
Int8 = NDArray[np.int8]

Order = Literal["day first", "month first"]
DAY_FIRST: Order = "day first"
MONTH_FIRST: Order = "month first"
ORDERS = (DAY_FIRST, MONTH_FIRST)

GIVEN, MISSING, NOT_ENDED, UNREADABLE, IMPLAUSIBLE, AMBIGUOUS_ORDER, OTHER_ZONE = range(7)
STATES = (
    *("given", "missing", "not ended", "not a time", "implausible", "day or month first?"),
    "zone of another place",
)
"""How a value was understood, by code."""

MAX_OFFSET = 18 * HOUR
"""Larger offsets from UTC are errors; the largest in use is 14 hours."""

_FAR = 9_200_000_000_000_000_000
"""Times further away than this (in microseconds) are taken as this; offsets can be added to it."""

_FLOATS_ARE_EXACT = 2**53
_SINGLES_ARE_EXACT = 2**24
"""Below this, floats hold all whole numbers."""

_YEAR_10000 = 253_402_300_800
_UNITS = ((_YEAR_10000, MICRO), (_YEAR_10000 * 1000, 1000), (_YEAR_10000 * MICRO, 1))
"""Epochs below the first number are in units of so many microseconds; others in nanoseconds.

Seconds reach to the end of the year 9999; milliseconds, microseconds and nanoseconds begin in 1978.
"""


@dataclass(frozen=True)
class Times:
    """The instants of a column.

    ``us`` int64 [n]: UTC microseconds, 0 unless ``GIVEN``. ``state`` int8 [n]: how each value was
    understood, by code in ``STATES``. ``local`` bool [n]: read with the wall clock; such times may
    exist twice (``us`` is the first then), or not at all (``us`` is as if the clock had not jumped
    yet).
    """

    us: Int64
    state: Int8
    local: Mask

    @property
    def given(self) -> Mask:
        """The rows that have a time."""
        return self.state == GIVEN


@dataclass(frozen=True)
class OrderEvidence:
    """What a column says about the order of day and month, in dates of numbers.

    Counts of values that can only have the day first, only the month first, or either; those in
    which it makes no difference are not counted. Evidence of parts of a column can be added.
    """

    day_first: int = 0
    month_first: int = 0
    open: int = 0
    example: str | None = None
    """The first value that leaves it open."""

    def __add__(self, other: OrderEvidence) -> OrderEvidence:
        return OrderEvidence(
            self.day_first + other.day_first,
            self.month_first + other.month_first,
            self.open + other.open,
            other.example if self.example is None else self.example,
        )

    def order(self, name: str) -> Order | None:
        """The order of the column ``name``; None if no value leaves it open.

        Raises
        ------
        BadInput
            When values leave it open, and no others, or contradictory ones, decide it.
        """
        if not self.open:
            return None
        if bool(self.day_first) == bool(self.month_first):
            raise open_order(name, self.example or "")
        return DAY_FIRST if self.day_first else MONTH_FIRST


class OpenOrder(BadInput):
    """A column does not show whether its dates begin with the day or the month."""


def open_order(name: str, example: str) -> OpenOrder:
    """The error of a column whose order of day and month is not known."""
    return OpenOrder(
        f"Column {name} does not show whether its dates begin with the day or the month: "
        f"{example!r} can be read both ways.",
        "Say which it is with --day-first or --month-first.",
    )


def order_evidence(column: pa.ChunkedArray | pa.Array) -> OrderEvidence:
    """What the texts of a column, or of a part of it, say about the order of day and month."""
    return sum((_evidence(texts) for texts in _text_chunks(column)), OrderEvidence())


def instants(
    column: pa.ChunkedArray | pa.Array,
    clock: LocalClock,
    order: Order | None,
    name: str,
    plausible: tuple[dt.datetime, dt.datetime],
) -> Times:
    """The instants of a column of times in any written form.

    Parameters
    ----------
    column
        Text, timestamps of any unit with or without a zone, dates, or epochs as whole numbers,
        floats or decimals; may be dictionary-encoded. Numbers of 8 and 14 digits are dates
        (20250107, 20250107090000) in all of these: as epochs they would be of 1970, or far ahead.
    clock
        The wall clock of times without a zone.
    order
        Of day and month in dates of numbers such as 01/07/2025. None: only those that can be read
        in one way are read.
    name
        The column's name, for errors.
    plausible
        Local times of the clock outside [first, second) are ``IMPLAUSIBLE``, or ``NOT_ENDED`` if
        they are among the spellings of that.

    Raises
    ------
    BadInput
        When the type of the column is none of these.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    limits = plausible_us(clock, plausible)
    parts = [_chunk(chunk, clock, order, name, limits) for chunk in column.chunks]
    if len(parts) == 1:
        return parts[0]
    empty = Times(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, bool))
    us, state, local = zip(*((t.us, t.state, t.local) for t in [empty, *parts]), strict=True)
    return Times(np.concatenate(us), np.concatenate(state), np.concatenate(local))


def plausible_us(clock: LocalClock, plausible: tuple[dt.datetime, dt.datetime]) -> tuple[int, int]:
    """Plausible local times as UTC microseconds."""
    first, last = clock.to_utc(np.array([_micros(time) for time in plausible], np.int64)).tolist()
    return first, last


def second_occurrence(clock: LocalClock, times: Times, rows: NDArray[np.intp]) -> Int64:
    """The instants of some rows if their local times are the second of two, UTC microseconds.

    All others are as they are in ``times``.
    """
    us = times.us[rows]
    second = clock.to_utc(clock.to_local(us), fold=1)
    return np.where(times.local[rows], second, us)


# --- columns --------------------------------------------------------------------------------
@dataclass
class _Reading:
    """Times as they are written: int64 microseconds ``wall``, and what to do with each."""

    wall: Int64
    ahead: Int64
    """Seconds by which the written time is ahead of UTC, where it is exact."""
    zone: NDArray[np.int32]
    """``_FOREIGN``, ``_NUMBER``, ``_EXACT``, ``_LOCAL``, or the place of an abbreviation among
    those of the clock, plus 1."""
    state: Int8

    @classmethod
    def of(cls, rows: int) -> _Reading:
        """Of so many rows, none of which can be read yet."""
        return cls(
            np.zeros(rows, np.int64),
            np.zeros(rows, np.int64),
            np.full(rows, _EXACT, np.int32),
            np.full(rows, UNREADABLE, np.int8),
        )


_FOREIGN, _NUMBER, _EXACT, _LOCAL = -3, -2, -1, 0


def _chunk(
    chunk: pa.Array, clock: LocalClock, order: Order | None, name: str, limits: tuple[int, int]
) -> Times:
    kind = chunk.type
    if pa.types.is_dictionary(kind):
        values = _chunk(chunk.dictionary, clock, order, name, limits)
        rows = chunk.indices.fill_null(len(chunk.dictionary)).to_numpy()
        return Times(
            np.append(values.us, 0)[rows],
            np.append(values.state, np.int8(MISSING))[rows],
            np.append(values.local, False)[rows],
        )
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        reading = _of_timestamps(chunk)
    elif pa.types.is_floating(kind):
        reading = _of_floats(chunk, clock, order)
    else:
        texts = _as_text(chunk)
        if texts is None:
            raise BadInput(f"Column {name} is of type {kind}; times or text are expected.")
        reading = _of_texts(texts, clock, order)
    reading.state[np.asarray(chunk.is_null())] = MISSING
    return _finished(reading, clock, limits)


def _text_chunks(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    """The texts of a column in pieces; distinct ones if it is dictionary-encoded."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    values = [c.dictionary if pa.types.is_dictionary(c.type) else c for c in chunks]
    texts = [_as_text(piece) for piece in values]
    return [piece for piece in texts if piece is not None]


def _as_text(chunk: pa.Array) -> pa.Array | None:
    """Text, whole numbers and decimals as text; None for other types."""
    kind = chunk.type
    if pa.types.is_decimal(kind):
        # Without an exponent.
        chunk = chunk.cast(pa.decimal256(76, max(kind.scale, 0)))
    elif not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return None
    return chunk.cast(pa.string())


def _of_timestamps(chunk: pa.Array) -> _Reading:
    reading = _Reading.of(len(chunk))
    kind = pa.timestamp("ms") if pa.types.is_date64(chunk.type) else chunk.type
    if pa.types.is_date32(kind):
        ticks, per_tick = chunk.cast(pa.int32()), DAY * MICRO
    else:
        ticks = chunk.cast(pa.int64())
        per_tick = {"s": MICRO, "ms": 1000, "us": 1, "ns": 0}[kind.unit]
    values = ticks.fill_null(0).to_numpy().astype(np.int64)
    if per_tick:
        limit = _FAR // per_tick
        reading.wall = np.clip(values, -limit, limit) * per_tick
    else:
        reading.wall = values // 1000
    local = pa.types.is_date32(kind) or kind.tz is None
    reading.zone[:] = _LOCAL if local else _EXACT
    reading.state[:] = GIVEN
    return reading


def _of_floats(chunk: pa.Array, clock: LocalClock, order: Order | None) -> _Reading:
    """Whole numbers as others; epochs with fractions rounded to the nearest microsecond.

    Floats are whole numbers, too, where a column of these has missing values; NaN is missing.
    """
    values = chunk.cast(pa.float64()).fill_null(np.nan).to_numpy()
    if chunk.type != pa.float64() and (np.abs(values) > _SINGLES_ARE_EXACT).any():
        raise BadInput(
            f"Times are numbers of the type {chunk.type}, which has no seconds of today.",
            "Write them as whole numbers, or as floating numbers of 64 bits.",
        )
    whole = (np.abs(values) < _FLOATS_ARE_EXACT) & (np.rint(values) == values)
    numbers = pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole)
    reading = _of_texts(numbers.cast(pa.string()), clock, order)
    reading.state[np.isnan(values)] = MISSING
    rows = np.flatnonzero(~whole & ~np.isnan(values))
    below = [np.abs(values[rows]) < limit for limit, _ in _UNITS]
    units = np.select(below, [float(unit) for _, unit in _UNITS], default=0.001)
    micros = np.rint(np.clip(values[rows] * units, -_FAR, _FAR))
    reading.wall[rows], reading.zone[rows], reading.state[rows] = micros, _NUMBER, GIVEN
    return reading


def _of_texts(texts: pa.Array, clock: LocalClock, order: Order | None) -> _Reading:
    reading = _Reading.of(len(texts))
    for group in groups(texts, time_form, _places):
        kind = group.forms[0].kind
        if kind in (NEVER, BLANK):
            reading.state[group.rows] = NOT_ENDED if kind == NEVER else MISSING
        elif kind == NUMBER:
            _read_epochs(reading, group)
        else:
            _read_written(reading, group, clock, order)
    return reading


def _finished(reading: _Reading, clock: LocalClock, limits: tuple[int, int]) -> Times:
    """The instants of what was read, and which of them are not plausible."""
    wall, zone, state = reading.wall, reading.zone, reading.state
    local = (zone == _LOCAL) & (state == GIVEN)
    if local.all():
        us = clock.to_utc(np.clip(wall, -_FAR, _FAR))
    else:
        us = wall - reading.ahead * MICRO
        rows = np.flatnonzero(local)
        us[rows] = clock.to_utc(np.clip(wall[rows], -_FAR, _FAR))
    named = np.flatnonzero((zone > _LOCAL) & (state == GIVEN))
    for number in np.unique(zone[named]).tolist():
        rows = named[zone[named] == number]
        us[rows], known = clock.named_to_utc(wall[rows], clock.abbreviations()[number - 1])
        state[rows[~known]] = OTHER_ZONE
    late = min(limits[1], EARLIEST_LATE)
    outside = np.flatnonzero((us < limits[0]) | (us >= late) | (wall < DAY * MICRO))
    outside = outside[state[outside] == GIVEN]
    if outside.size:
        _judge(outside, reading, us, limits)
    us[state != GIVEN] = 0
    return Times(us, state, local & (state == GIVEN))


def _judge(rows: NDArray[np.intp], reading: _Reading, us: Int64, limits: tuple[int, int]) -> None:
    """Mark rows that may be implausible, or say that the session has not ended."""
    numbers = reading.zone[rows] == _NUMBER
    never = not_ended(reading.wall[rows], us[rows], numbers, limits[1])
    implausible = (us[rows] < limits[0]) | (us[rows] >= limits[1])
    reading.state[rows[implausible]] = IMPLAUSIBLE
    reading.state[rows[never]] = NOT_ENDED


# --- texts of one layout --------------------------------------------------------------------
def _places(form: TimeForm) -> tuple[object, ...]:
    return (form.spans, form.kind)


def _read_epochs(reading: _Reading, group: Group[TimeForm]) -> None:
    spans = dict(group.forms[0].spans)
    whole = group.number(spans["whole"])
    fraction = _padded(group, spans)
    below = [whole < limit for limit, _ in _UNITS]
    # The fraction, in trillionths of a unit, as whole microseconds.
    micros = np.select(
        below,
        [
            np.minimum(whole, _FAR // unit) * unit + fraction // (10**12 // unit)
            for _, unit in _UNITS
        ],
        default=whole // 1000,
    )
    reading.wall[group.rows] = micros * group.each(lambda form: form.sign)
    reading.zone[group.rows] = _NUMBER
    reading.state[group.rows] = GIVEN


def _padded(group: Group[TimeForm], spans: dict[str, tuple[int, int]]) -> Int64 | int:
    """The fraction of an epoch in trillionths; further digits are cut off."""
    if "fraction" not in spans:
        return 0
    first, stop = spans["fraction"]
    stop = min(stop, first + 12)
    return group.number((first, stop)) * 10 ** (12 - (stop - first))


def _read_written(
    reading: _Reading, group: Group[TimeForm], clock: LocalClock, order: Order | None
) -> None:
    spans = dict(group.forms[0].spans)

    def number(name: str) -> Int64:
        return group.number(spans[name]) if name in spans else np.zeros(1, np.int64)

    day, month, is_open = _day_and_month(group, spans, order)
    year = group.number(spans["year"])
    if spans["year"][1] - spans["year"][0] == 2:
        year += np.where(year < 69, 2000, 1900)  # as POSIX reads them
    days, exists = _days(year, month, day)
    hour, hour_exists = _hours(group, number("hour"))
    minute, seconds = number("minute"), number("seconds")
    midnight_after = (hour == 24) & (minute == 0) & (seconds == 0)
    exists &= hour_exists & ((hour < 24) | midnight_after) & (minute < 60) & (seconds < 60)
    if "zone_hours" in spans:
        zone_minutes = number("zone_minutes")
        ahead = number("zone_hours") * HOUR + zone_minutes * 60
        exists &= (ahead <= MAX_OFFSET) & (zone_minutes < 60)
        reading.ahead[group.rows] = ahead * group.each(lambda form: form.sign)
    wall = ((days * 24 + hour) * 60 + minute) * 60 + seconds
    zone = _zones(group, clock)
    reading.wall[group.rows] = wall * MICRO + group.fraction(spans.get("fraction"))
    reading.zone[group.rows] = zone
    state = np.where(exists, np.int8(GIVEN), np.int8(UNREADABLE))
    state[exists & (zone == _FOREIGN)] = OTHER_ZONE
    state[exists & is_open] = AMBIGUOUS_ORDER
    # A zero date exists in no calendar.
    state[(year == 0) & ((month == 0) | exists)] = NOT_ENDED
    reading.state[group.rows] = state


def _day_and_month(
    group: Group[TimeForm], spans: dict[str, tuple[int, int]], order: Order | None
) -> tuple[Int64, Int64, Mask | bool]:
    """Day, month, and whether they could be the other way round."""
    if "month" in spans:
        return group.number(spans["day"]), group.number(spans["month"]), False
    if "day" in spans:
        return group.number(spans["day"]), group.each(lambda form: form.month), False
    first, other = group.number(spans["first"]), group.number(spans["other"])
    if order is None:
        day_first = first > 12
        is_open = (first <= 12) & (other <= 12) & (first != other)
    else:
        day_first, is_open = np.full(len(first), order == DAY_FIRST), np.zeros(len(first), bool)
    return np.where(day_first, first, other), np.where(day_first, other, first), is_open


def _evidence(texts: pa.Array) -> OrderEvidence:
    day_first, month_first = 0, 0
    is_open = np.zeros(len(texts), bool)
    for group in groups(texts, time_form, _places):
        spans = dict(group.forms[0].spans)
        if "first" in spans:
            first, other = group.number(spans["first"]), group.number(spans["other"])
            day_first += int(((first > 12) & (other <= 12)).sum())
            month_first += int(((first <= 12) & (other > 12)).sum())
            is_open[group.rows] = (first != other) & (first <= 12) & (other <= 12)
    rows = np.flatnonzero(is_open)
    example = texts[int(rows[0])].as_py().strip() if rows.size else None
    return OrderEvidence(day_first, month_first, len(rows), example)


def _hours(group: Group[TimeForm], hour: Int64) -> tuple[Int64, Mask]:
    """Hours of 24, and whether they exist."""
    half = group.each(lambda form: form.half)
    if (half < 0).all():
        return hour, hour <= 24
    exists = (half < 0) | ((hour >= 1) & (hour <= 12))
    return np.where(half < 0, hour, hour % 12 + 12 * half), exists


def _zones(group: Group[TimeForm], clock: LocalClock) -> Int64:
    names: list[str] = []
    if any(form.zone for form in group.forms):
        names = clock.abbreviations()

    def code(form: TimeForm) -> int:
        if not form.zone:
            return _EXACT if form.kind == EXACT else _LOCAL
        if form.zone == clock.timezone.casefold():
            return _LOCAL
        return names.index(form.zone) + 1 if form.zone in names else _FOREIGN

    return group.each(code)


_MONTHS = (
    np.arange(np.datetime64("0000-01"), np.datetime64("10000-02"), dtype="datetime64[M]")
    .astype("datetime64[D]")
    .astype(np.int64)
)
"""The day (since 1970-01-01) on which each month begins, from January of the year 0."""


def _days(year: Int64, month: Int64, day: Int64) -> tuple[Int64, Mask]:
    """Days since 1970-01-01, and whether there is such a day in the calendar."""
    at = year * 12 + np.clip(month, 1, 12) - 1
    first = _MONTHS[at]
    exists = (month >= 1) & (month <= 12) & (day >= 1) & (first + day <= _MONTHS[at + 1])
    return first + day - 1, exists


def _micros(time: dt.datetime) -> int:
    return (time - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
