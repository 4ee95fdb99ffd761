"""The calendar of a simulated campus, which is in session on all days except its holidays."""

from __future__ import annotations

import datetime as dt

import numpy as np

from tippers_dagster.calendar.periods import Period, PeriodKind
from tippers_dagster.calendar.store import Outcome, list_periods, put
from tippers_dagster.settings import Settings
from tippers_dagster.simulation.calendar import holidays

AHEAD_DAYS = 92
"""Forecasts reach at most this far beyond the simulated days."""
HOLIDAY = "Campus closed"
SEASONS = ("Winter", "Spring", "Summer", "Fall")
BY = "simulate"
_DAY = dt.timedelta(days=1)


def simulated_periods(first: dt.date, days: int) -> list[Period]:
    """The simulator's calendar: quarters without gaps between them, and holidays.

    Parameters
    ----------
    first, days
        The simulated days. All quarters that contain any of them, or of the ``AHEAD_DAYS`` after
        them, are complete, and have their holidays.
    """
    until = first + (days + AHEAD_DAYS) * _DAY
    start = _quarter(first)
    quarters = []
    at = start
    while at < until:
        after = _quarter(at + 93 * _DAY)
        name = f"{SEASONS[(at.month - 1) // 3]} {at.year}"
        quarters.append(Period(at, after, PeriodKind.QUARTER, name))
        at = after
    return sorted([*quarters, *_closed(start, (at - start).days)])


def keep_simulated(settings: Settings, first: dt.date, days: int) -> Outcome | None:
    """Replace the calendar with that of the simulated campus.

    Returns
    -------
    Outcome or None
        None if people have entered or changed periods; then nothing is changed.
    """
    if any(kept.updated_by != BY for kept in list_periods(settings)):
        return None
    return put(settings, simulated_periods(first, days), by=BY, replace=True)


def _quarter(day: dt.date) -> dt.date:
    """The first day of a calendar quarter."""
    return dt.date(day.year, (day.month - 1) // 3 * 3 + 1, 1)


def _closed(first: dt.date, days: int) -> list[Period]:
    """The holidays, with consecutive ones joined."""
    closed = np.concatenate([[False], holidays(first, days), [False]])
    begins, ends = (np.flatnonzero(np.diff(closed.astype(np.int8)) == way) for way in (1, -1))
    return [
        Period(first + int(b) * _DAY, first + int(e) * _DAY, PeriodKind.HOLIDAY, HOLIDAY)
        for b, e in zip(begins, ends, strict=True)
    ]
