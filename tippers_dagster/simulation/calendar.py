"""Local times, absolute times and bins, for the simulator's truth.

Deliberately independent of the product's clock, as the truth is used to verify the product.
Wall times are whole seconds since 1970-01-01 00:00 *local*; instants are Unix seconds.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY = 86400
EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Calendar:
    """The clock changes of one zone around some days, as arrays."""

    first_day: int
    midnights: Ints
    gap_starts: Ints
    gap_ends: Ints
    breaks: Ints
    offsets: Ints

    @classmethod
    def of(cls, timezone: str, first: dt.date, days: int) -> Calendar:
        """The calendar of ``days`` local days from ``first``."""
        first_day = (first - EPOCH).days
        instants, offsets = _changes(timezone, first_day - 2, days + 4)
        before, after = offsets[:-1], offsets[1:]
        forward = after > before
        breaks = instants + np.maximum(before, after)
        walls = (first_day + np.arange(days + 1, dtype=np.int64)) * DAY
        return cls(
            first_day=first_day,
            midnights=walls - offsets[np.searchsorted(breaks, walls, side="right")],
            gap_starts=(instants + before)[forward],
            gap_ends=(instants + after)[forward],
            breaks=breaks,
            offsets=offsets,
        )

    def settle(self, wall: Ints) -> Ints:
        """Move skipped local times to the end of their gap, keeping the order."""
        for start, end in zip(self.gap_starts, self.gap_ends, strict=True):
            wall = np.where((wall >= start) & (wall < end), end, wall)
        return wall

    def instants(self, wall: Ints) -> Ints:
        """Unix seconds of existing local times; the first occurrence of repeated ones."""
        return wall - self.offsets[np.searchsorted(self.breaks, wall, side="right")]


@dataclass(frozen=True)
class Bins:
    """Bins of one width (at most an hour), cut from each local midnight in real time."""

    width: int
    midnights: Ints
    firsts: Ints

    @classmethod
    def of(cls, calendar: Calendar, width: int) -> Bins:
        """The bins of all days of the calendar."""
        per_day = -(-np.diff(calendar.midnights) // width)
        firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(per_day)])
        return cls(width, calendar.midnights, firsts)

    def index(self, instants: Ints) -> Ints:
        """The bin that contains each instant, counted from the calendar's first midnight."""
        day = np.searchsorted(self.midnights, instants, side="right") - 1
        return self.firsts[day] + (instants - self.midnights[day]) // self.width

    def begins(self, bins: Ints) -> Ints:
        """Unix seconds at which bins begin."""
        day = np.searchsorted(self.firsts, bins, side="right") - 1
        return self.midnights[day] + (bins - self.firsts[day]) * self.width


def holidays(first: dt.date, days: int) -> NDArray[np.bool_]:
    """Which of the days are holidays of a United States university, shape (days,)."""
    dates = [first + dt.timedelta(days=i) for i in range(days)]
    return np.array([_is_holiday(date) for date in dates], dtype=bool)


def _is_holiday(date: dt.date) -> bool:
    fixed = {(1, 1), (6, 19), (7, 4), (11, 11)} | {(12, day) for day in range(24, 32)}
    nth_weekday = {(1, 0, 3), (2, 0, 3), (9, 0, 1), (11, 3, 4)}
    nth = (date.month, date.weekday(), (date.day - 1) // 7 + 1)
    last_monday_of_may = date.month == 5 and date.weekday() == 0 and date.day > 24
    return (date.month, date.day) in fixed or nth in nth_weekday or last_monday_of_may


def _changes(timezone: str, first_day: int, days: int) -> tuple[Ints, Ints]:
    """Instants at which the zone's offset changes, and the offsets before, between and after."""
    zone = ZoneInfo(timezone)

    def offset(instant: int) -> int:
        delta = dt.datetime.fromtimestamp(instant, zone).utcoffset()
        assert delta is not None
        return int(delta.total_seconds())

    instants: list[int] = []
    offsets = [offset(first_day * DAY)]
    for day in range(first_day, first_day + days):
        low, high = day * DAY, (day + 1) * DAY
        if offset(high) == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        instants.append(high)
        offsets.append(offset(high))
    return np.array(instants, np.int64), np.array(offsets, np.int64)
