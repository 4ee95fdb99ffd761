"""The history of many spaces as one array, and what is known of the days around it. Pure."""

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
"""The quantiles that every model gives: the ends of the 95 % and 80 % intervals, the median."""

MEDIAN = LEVELS.index(0.5)

IN_SESSION, WEEK_OF_QUARTER, FINALS, BREAK, HOLIDAY, EVENT = range(6)
FLAGS = 6
"""What is known of a day, in the order of the last axis of ``Panel.flags``."""


@dataclass(frozen=True)
class HolidayPeriods:
    """Days out of the ordinary as Prophet takes them: a name and a day for each."""

    names: tuple[str, ...] = ()
    days: tuple[dt.date, ...] = ()


NO_HOLIDAYS = HolidayPeriods()


@dataclass(frozen=True, eq=False)
class Panel:
    """Occupancy of some spaces in whole local days, day after day.

    Parameters
    ----------
    spaces
        Ids.
    first
        The first day.
    values
        float32 [spaces, days, slots]: devices in each bin, cut by the wall clock; NaN where it is
        not computed, and where the clock has no such time. The forecast begins after the last day.
    flags
        float32 [spaces, days + days to come, FLAGS]: of the history and at least the horizon; 1 or
        0, and the week of the quarter.
    holidays
        Of each space, for the same days and others.
    """

    spaces: tuple[str, ...]
    first: dt.date
    values: Floats
    flags: Floats
    holidays: tuple[HolidayPeriods, ...] = ()

    @property
    def days(self) -> int:
        """Days of history."""
        return self.values.shape[1]

    @property
    def slots(self) -> int:
        """Bins of a day."""
        return self.values.shape[2]

    @property
    def width(self) -> int:
        """Seconds of a bin."""
        return DAY // self.slots

    @property
    def origin(self) -> dt.date:
        """The first day to forecast."""
        return self.first + dt.timedelta(days=self.days)

    @cached_property
    def weekdays(self) -> NDArray[np.int64]:
        """Of all days that ``flags`` has, 0 for Monday."""
        return (self.first.weekday() + np.arange(self.flags.shape[1])) % WEEK_DAYS

    @cached_property
    def largest(self) -> NDArray[np.float32]:
        """The largest known value of each space, 0 where nothing is known."""
        return np.fmax.reduce(self.values, axis=(1, 2), initial=0.0)

    def until(self, days: int, horizon: int) -> Panel:
        """The panel as it was after so many days: nothing later is in it but what is planned.

        Parameters
        ----------
        horizon
            The calendar of so many days after them stays.
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
        """With the last so many days of history only."""
        gone = max(0, self.days - days)
        return replace(
            self,
            first=self.first + dt.timedelta(days=gone),
            values=self.values[:, gone:],
            flags=self.flags[:, gone:],
        )


def limits(panel: Panel, capacity: NDArray[np.float64], margin: float = 0.2) -> Floats:
    """The most that may be forecast for each space.

    Where the capacity is known: it, or the largest count ever seen where that is more. Else the
    largest count ever seen, and ``margin`` of it.

    Parameters
    ----------
    capacity
        Of each space, people; NaN where unknown.
    """
    known = np.isfinite(capacity)
    roomy = np.fmax(panel.largest, np.where(known, capacity, 0))
    return np.where(known, roomy, panel.largest * (1 + margin)).astype(np.float32)


def within(quantiles: Floats, most: Floats) -> Floats:
    """Quantiles in order, none below 0 or above what is possible, in whole devices.

    Counts are whole, and so are their quantiles: a lower end of 0.2 devices would leave out the
    nights in which nobody is there.

    Parameters
    ----------
    quantiles
        float32 [spaces, days, slots, levels].
    most
        Of each space.
    """
    ordered = np.round(np.sort(quantiles, axis=-1))
    return np.clip(ordered, 0, np.floor(most)[:, None, None, None])
