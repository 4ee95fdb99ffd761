"""How logs say that a session has not ended: all spellings in one place.

As an end, they mean an open session. As a start, they are no time.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import DAY, MICRO

Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

WORDS = frozenset(
    {
        # What CSV writers make of a missing value: databases, Python, pandas, spreadsheets.
        *("null", "none", "nil", "nan", "nat", "na", "n/a", "#n/a", "<na>", r"\n", "undefined"),
        # PostgreSQL's largest and smallest time (manual, "Special Values").
        *("infinity", "+infinity", "-infinity", "inf", "+inf", "-inf"),
        # Aruba Central writes "--" for what it does not know (sample of its API, 2025); the others
        # are usual in exports of controllers.
        *("-", "--", "---", "?", "unknown", "not available"),
        # States in the place of an end, as pages of controllers and portals show them.
        *("online", "still online", "active", "still active", "connected", "still connected"),
        *("open", "ongoing", "in progress", "current", "present", "now", "running", "never"),
        *("not ended", "not yet", "associated"),
    }
)
"""Texts in lower case, without the blanks and brackets around them."""

_FIRST_YEAR = dt.date(1, 1, 1)
_EPOCH = dt.date(1970, 1, 1)

_EARLY = np.array(
    [
        (date - _EPOCH).days
        for date in (
            _FIRST_YEAR,  # DateTime.MinValue of .NET, the zero time of Go
            dt.date(1601, 1, 1),  # zero of Windows file times
            dt.date(1899, 12, 30),  # zero of spreadsheets and OLE
            dt.date(1900, 1, 1),  # zero of SQL Server's datetime
            dt.date(1969, 12, 31),  # epoch 0, in a zone west of Greenwich; epoch -1
            dt.date(1970, 1, 1),  # epoch 0
        )
    ],
    np.int64,
)
"""Local dates as days since 1970-01-01. All before the first year are too: MySQL's zero date
(0000-00-00), PostgreSQL's -infinity."""

_EPOCHS = (0, -MICRO)
"""Epochs in microseconds: 0, and -1 of seconds, as numbers. Other small numbers are wrong, not
open: a column of durations must not pass as one of open sessions."""

_LATE = np.array(
    [
        2**31 - 1,  # the largest 32-bit epoch, 2038-01-19 03:14:07: also MySQL's last TIMESTAMP
        2**32 - 1,  # the same, unsigned
        (dt.date(2100, 1, 1) - _EPOCH).days * DAY,  # a public five-minute dump of a controller
    ],
    np.int64,
)
"""Seconds, as instants or as local times."""

EARLIEST_LATE = (2**31 - 1) * MICRO - DAY * MICRO
"""No instant before this (UTC microseconds) is one of these, in whatever zone it is written."""

_LAST_YEAR = (dt.date(9999, 1, 1) - _EPOCH).days * DAY * MICRO
"""Year 9999: the last of SQL Server, Oracle, .NET and Python."""

YEAR_US = 366 * DAY * MICRO
"""Cisco Prime's open sessions end more than a year ahead."""


def not_ended(wall: Int64, utc: Int64, numbers: Mask, latest: int) -> Mask:
    """Which times say that a session has not ended.

    Parameters
    ----------
    wall
        Times as they are written, in microseconds since 1970-01-01 00:00; [n].
    utc
        The same as instants, in UTC microseconds.
    numbers
        Which are written as epochs.
    latest
        The end of the plausible times, UTC microseconds.
    """
    found = utc > latest + YEAR_US
    if len(wall) and max(wall.max(), utc.max()) >= EARLIEST_LATE:
        found |= np.isin(wall // MICRO, _LATE) | np.isin(utc // MICRO, _LATE) | (wall >= _LAST_YEAR)
    if len(wall) and wall.min() < DAY * MICRO:
        days = wall // (DAY * MICRO)
        early = np.isin(days, _EARLY) | (days < _EARLY[0])
        found |= np.where(numbers, np.isin(wall, _EPOCHS), early)
    return found
