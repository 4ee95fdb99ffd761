"""The history of many spaces as one array, with the calendar of its days. Pure functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Days = NDArray[np.datetime64]

DAY = 86_400
WEEK_DAYS = 7
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
"""The quantiles that every model gives: ends of the 95 % and 80 % intervals, and the median."""

MEDIAN = LEVELS.index(0.5)

IN_SESSION, WEEK_OF_QUARTER, FINALS, BREAK, HOLIDAY, EVENT = range(6)
FLAGS = 6
"""Calendar flags of a day, in the order of the last axis of ``Panel.flags``."""


@dataclass(frozen=True)
class HolidayPeriods:
    """Special days in Prophet's form: a name and a date for each."""

    names: tuple[str, ...] = ()
    days: tuple[dt.date, ...] = ()


NO_HOLIDAYS = HolidayPeriods()


@dataclass(frozen=True, eq=False)
class Panel:
    """Occupancy of some spaces over consecutive whole local days.

    Parameters
    ----------
    spaces
        Ids.
    first
        The first day.
    values
        float32 [spaces, days, slots]: devices per bin of wall-clock time; NaN where not computed,
        and where the clock skips the time. The forecast begins after the last day.
    flags
        float32 [spaces, days + future days, FLAGS]: for the history and at least the horizon; 0 or
        1, except for the week of the quarter.
    holidays
        Of each space, for at least the same days.
    """

    spaces: tuple[str, ...]
    first: dt.date
    values: Floats
    flags: Floats
    holidays: tuple[HolidayPeriods, ...] = ()

    @property
    def days(self) -> int:
        """Number of days of history."""
        return self.values.shape[1]

    @property
    def slots(self) -> int:
        """Bins per day."""
        return self.values.shape[2]

    @property
    def width(self) -> int:
        """Width of a bin in seconds."""
        return DAY // self.slots

    @property
    def origin(self) -> dt.date:
        """The first day to forecast."""
        return self.first + dt.timedelta(days=self.days)

    @cached_property
    def weekdays(self) -> NDArray[np.int64]:
        """Weekdays of all days in ``flags``; 0 is Monday."""
        return (self.first.weekday() + np.arange(self.flags.shape[1])) % WEEK_DAYS

    @cached_property
    def largest(self) -> NDArray[np.float32]:
        """The largest known value of each space; 0 if nothing is known."""
        return np.fmax.reduce(self.values, axis=(1, 2), initial=0.0)

    def until(self, days: int, horizon: int) -> Panel:
        """The panel as known after this many days: no later values, only the calendar.

        Parameters
        ----------
        horizon
            Number of later days whose calendar is kept.
        """
        return replace(self, values=self.values[:, :days], flags=self.flags[:, : days + horizon])

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> Panel:
        """Some of the spaces, in this order."""
        at = np.asarray(positions, np.int64)
        return replace(
            self,
            spaces=tuple(self.spaces[i] for i in at),
            values=self.values[at],
            flags=self.flags[at],
            holidays=tuple(self.holidays[i] for i in at) if self.holidays else (),
        )

    def last(self, days: int) -> Panel:
        """The panel with only this many last days of history."""
        dropped = max(0, self.days - days)
        return replace(
            self,
            first=self.first + dt.timedelta(days=dropped),
            values=self.values[:, dropped:],
            flags=self.flags[:, dropped:],
        )


def limits(panel: Panel, capacity: NDArray[np.float64], margin: float = 0.2) -> Floats:
    """The maximum that may be forecast for each space.

    If the capacity is known, this is the larger of the capacity and the largest count seen; else
    the largest count seen plus ``margin`` of it.

    Parameters
    ----------
    capacity
        Capacity of each space in people; NaN where unknown.
    """
    known = np.isfinite(capacity)
    known_limit = np.fmax(panel.largest, np.where(known, capacity, 0))
    return np.where(known, known_limit, panel.largest * (1 + margin)).astype(np.float32)


def within(quantiles: Floats, maximum: Floats) -> Floats:
    """Quantiles sorted, clipped to [0, maximum], and rounded to whole devices.

    Counts are whole numbers, and so are their quantiles: a lower end of 0.2 devices would exclude
    empty nights.

    Parameters
    ----------
    quantiles
        float32 [spaces, days, slots, levels].
    maximum
        Maximum of each space.
    """
    ordered = np.round(np.sort(quantiles, axis=-1))
    return np.clip(ordered, 0, np.floor(maximum)[:, None, None, None])
