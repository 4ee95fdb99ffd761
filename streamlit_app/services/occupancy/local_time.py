"""Conversions between UTC seconds, seconds of the local wall clock, and local datetimes."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import numpy as np

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.settings import Settings

_EPOCH = dt.datetime(1970, 1, 1)


@lru_cache(maxsize=4)
def clock(timezone: str) -> LocalClock:
    """The clock of a time zone."""
    return LocalClock(timezone)


def local_seconds(settings: Settings, utc: np.ndarray) -> np.ndarray:
    """Convert UTC seconds to seconds of the wall clock."""
    return utc + clock(settings.timezone).utc_offset(utc)


def local_time(settings: Settings, utc: int) -> dt.datetime:
    """Convert UTC seconds to a local time without zone."""
    return from_seconds(int(local_seconds(settings, np.array([utc]))[0]))


def now(settings: Settings) -> dt.datetime:
    """The current local time, without zone."""
    return local_time(settings, int(dt.datetime.now(dt.UTC).timestamp()))


def midnight(day: dt.date) -> dt.datetime:
    """The local time at which a day begins."""
    return dt.datetime.combine(day, dt.time())


def to_seconds(local: dt.datetime) -> int:
    """Convert a local time to seconds of the wall clock."""
    return int((local - _EPOCH).total_seconds())


def from_seconds(local: int | np.integer) -> dt.datetime:
    """Convert seconds of the wall clock to a local time."""
    return _EPOCH + dt.timedelta(seconds=int(local))
