"""Time zone and calendar: local times to UTC, days, time chunks and bins.

Pure functions. Instants are int64 seconds since 1970-01-01 UTC unless a name ends in ``_us``
(microseconds); a *local* time is the wall clock's, counted the same way from 1970-01-01 00:00.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.settings import ChunkSize

Int64 = NDArray[np.int64]
T = TypeVar("T")

PUBLISHED_WIDTHS = (900, 1800, 3600, 7200, 14400, 28800, 86400)

DAY = 86_400
HOUR = 3_600
MICRO = 1_000_000
_EPOCH = dt.date(1970, 1, 1)
# Zones are tabulated from one year to the other; beyond them the nearest offset applies.
_TABLE_YEARS = (1900, 2100)


class LocalClock:
    """The wall clock of one time zone, for arrays.

    Parameters
    ----------
    timezone
        IANA name, e.g. ``America/Los_Angeles``.
    """

    def __init__(self, timezone: str) -> None:
        self.timezone = timezone
        # offsets[i] applies from instants[i - 1] to instants[i].
        self._instants, self._offsets = _transitions(timezone)
        before, after = self._offsets[:-1], self._offsets[1:]
        # The local time from which the later offset applies (PEP 495), for fold 0 and 1.
        self._local_changes = (
            self._instants + np.maximum(before, after),
            self._instants + np.minimum(before, after),
        )

    def __repr__(self) -> str:
        return f"LocalClock({self.timezone!r})"

    # --- instants ---------------------------------------------------------------------------
    def to_utc(self, local_us: Int64, fold: int = 0) -> Int64:
        """UTC microseconds of local microseconds, as zoneinfo (PEP 495) interprets them.

        A repeated time is its first occurrence with ``fold=0`` and its second with ``fold=1``. A
        skipped time is read with the offset before the jump (``fold=0``) or after it (``fold=1``).
        """
        local_us = np.asarray(local_us, np.int64)
        return local_us - self._local_offset(local_us // MICRO, fold) * MICRO

    def abbreviations(self) -> list[str]:
        """The abbreviations that the zone ever used, in lower case."""
        return sorted({name.casefold() for name in _names(self.timezone)[2]})

    def named_to_utc(self, local_us: Int64, name: str) -> tuple[Int64, NDArray[np.bool_]]:
        """UTC microseconds of local microseconds written with an abbreviation of the zone.

        Exact also for repeated times: an abbreviation such as ``PDT`` says which one is meant.

        Returns
        -------
        (utc, known)
            Whether the clock shows that abbreviation (upper and lower case are equal) at that
            time; if not, ``utc`` means nothing.
        """
        local_us = np.asarray(local_us, np.int64)
        utc, known = local_us.copy(), np.zeros(len(local_us), bool)
        instants, offsets, names = _names(self.timezone)
        shown = np.array([each.casefold() == name.casefold() for each in names])
        for offset in np.unique(offsets[shown]).tolist():
            candidates = local_us - offset * MICRO
            now = np.searchsorted(instants, candidates // MICRO, side="right")
            fits = shown[now] & (offsets[now] == offset) & ~known
            utc[fits], known = candidates[fits], known | fits
        return utc, known

    def to_local(self, utc_us: Int64) -> Int64:
        """Local microseconds of UTC microseconds."""
        utc_us = np.asarray(utc_us, np.int64)
        return utc_us + self.utc_offset(utc_us // MICRO) * MICRO

    def utc_offset(self, utc: Int64) -> Int64:
        """Seconds by which the wall clock is ahead of UTC at each instant (seconds)."""
        return _look_up(self._instants, self._offsets, np.asarray(utc, np.int64))

    def session_bounds(self, start_local_us: Int64, end_local_us: Int64) -> tuple[Int64, Int64]:
        """Whole UTC seconds of sessions given by local microseconds.

        Repeated times are first occurrences, except that an end that would then lie before its
        start is the second. The start is rounded down and the end up, and an end is at least one
        second after its start, so a session of zero length lies in the bin that contains it. Bins
        begin on whole seconds, so no count depends on the rounding.

        Returns
        -------
        (start, end)
            ``end > start`` for every session, except for rows that end before they start: these
            have ``end == start``, and are to be rejected.
        """
        return whole_seconds(*self.session_instants(start_local_us, end_local_us))

    def session_instants(self, start_local_us: Int64, end_local_us: Int64) -> tuple[Int64, Int64]:
        """The same in microseconds, not rounded; nothing is rejected."""
        start = self.to_utc(start_local_us)
        end = self.to_utc(end_local_us)
        early = np.flatnonzero(end < start)
        if early.size:
            second = self.to_utc(np.asarray(end_local_us, np.int64)[early], fold=1)
            end[early] = np.maximum(end[early], second)
        return start, end

    # --- days and chunks --------------------------------------------------------------------
    def day_start(self, date: dt.date) -> int:
        """The first instant (UTC seconds) of a local date.

        This is the first midnight if the clock repeats it, or the jump if the clock skips it. A
        date that the zone skipped begins when the next one does.
        """
        return int(self.day_starts(np.array([_day_number(date)]))[0])

    def day_starts(self, days: Int64) -> Int64:
        """`day_start` of many dates, given as days since 1970-01-01."""
        midnight = np.asarray(days, np.int64) * DAY
        start = midnight - self._local_offset(midnight)
        jumped = start + self.utc_offset(start) != midnight
        if jumped.any():
            last_change = np.searchsorted(self._instants, start[jumped], side="right") - 1
            start[jumped] = self._instants[last_change]
        return start

    def chunk_seconds(self, key: str, size: ChunkSize) -> tuple[int, int]:
        """The chunk's half-open range in UTC seconds.

        Raises
        ------
        BadInput
            When ``key`` is not the first date of a chunk.
        """
        first, last = chunk_bounds(key, size)
        return self.day_start(first), self.day_start(last)

    def chunk_boundaries(self, keys: list[str], size: ChunkSize) -> Int64:
        """UTC seconds at which consecutive chunks begin, and the end of the last: n + 1."""
        starts = [self.chunk_seconds(key, size)[0] for key in keys]
        return np.array([*starts, self.chunk_seconds(keys[-1], size)[1]], np.int64)

    # --- bins -------------------------------------------------------------------------------
    def bin_edges(self, first: dt.date, last: dt.date, width: int) -> Int64:
        """Edges (UTC seconds, strictly increasing, n + 1 for n bins) of the days [first, last).

        Bins are cut from the first instant of each day: in steps of real time for widths up to an
        hour, by the wall clock for wider ones. If the width does not divide the day, the last bin
        is shorter.

        Raises
        ------
        BadInput
            When the width is not a multiple of 60 from 60 to 86400, or the range is empty.
        """
        check_width(width)
        if last <= first:
            raise BadInput(f"The range {first} to {last} is empty.", "The end is excluded.")
        days = np.arange(_day_number(first), _day_number(last) + 1)
        starts = self.day_starts(days)
        begin, end = starts[:-1, None], starts[1:, None]
        if width <= HOUR:
            edges = begin + np.arange(0, int((end - begin).max()), width)
            return np.append(edges[edges < end], starts[-1])
        local = days[:-1, None] * DAY + np.arange(0, DAY, width)
        edges = local - self._local_offset(local)
        # A day begins at its first instant, even if that is not midnight.
        edges[:, 0] = starts[:-1]
        inside = (edges >= begin) & (edges < end)
        # Edges that the clock skips may coincide.
        return np.unique(np.append(edges[inside], starts[-1]))

    def _local_offset(self, local: Int64, fold: int = 0) -> Int64:
        return _look_up(self._local_changes[fold], self._offsets, local)


# --- chunks: local calendar days, weeks and months ---------------------------------------------
def whole_seconds(start_us: Int64, end_us: Int64) -> tuple[Int64, Int64]:
    """Whole UTC seconds of sessions given by UTC microseconds; see `LocalClock.session_bounds`."""
    start = start_us // MICRO
    end = np.maximum(-(-end_us // MICRO), start + 1)
    return start, np.where(end_us < start_us, start, end)


def chunk_key(date: dt.date, size: ChunkSize) -> str:
    """The key of the chunk that contains a local date: the ISO date on which it begins."""
    return _chunk_first(date, size).isoformat()


def chunk_bounds(key: str, size: ChunkSize) -> tuple[dt.date, dt.date]:
    """The chunk's first local date, and the first date after it.

    Raises
    ------
    BadInput
        When ``key`` is not the first date of a chunk.
    """
    try:
        first = dt.date.fromisoformat(key)
    except ValueError:
        raise BadInput(
            f"{key!r} is not the key of a time chunk.", "A key is a date, such as 2025-01-06."
        ) from None
    expected = chunk_key(first, size)
    if key != expected:
        raise BadInput(
            f"No {size} begins on {key!r}.", f"The {size} with this date begins on {expected!r}."
        )
    return first, _next_chunk(first, size)


def chunk_keys(start: dt.date, end: dt.date, size: ChunkSize) -> list[str]:
    """Keys of all chunks that contain a date of [start, end), in order."""
    keys = []
    first = _chunk_first(start, size)
    while start < end and first < end:
        keys.append(first.isoformat())
        first = _next_chunk(first, size)
    return keys


def chunk_index(utc: Int64, boundaries: Int64) -> NDArray[np.intp]:
    """Index of the chunk that contains each instant.

    ``boundaries`` are those of `LocalClock.chunk_boundaries`. Instants before the first have index
    -1, instants from the last boundary on ``len(boundaries) - 1``.
    """
    return np.searchsorted(boundaries, utc, side="right") - 1


def check_width(width: int) -> None:
    """Raise `BadInput` unless ``width`` (seconds) is a valid width of bins."""
    if not 60 <= width <= DAY or width % 60:
        raise BadInput(
            f"Bins cannot be {width} seconds wide.",
            f"Use a multiple of 60 from 60 to {DAY}, such as 900.",
        )


def _chunk_first(date: dt.date, size: ChunkSize) -> dt.date:
    if size == "day":
        return date
    if size == "week":
        return date - dt.timedelta(days=date.weekday())
    return date.replace(day=1)


def _next_chunk(first: dt.date, size: ChunkSize) -> dt.date:
    if size == "month":
        return (first + dt.timedelta(days=31)).replace(day=1)
    return first + dt.timedelta(days=1 if size == "day" else 7)


def _day_number(date: dt.date) -> int:
    return (date - _EPOCH).days


# --- the zone's table --------------------------------------------------------------------------
def _look_up(changes: Int64, offsets: Int64, times: Int64) -> Int64:
    """The ``offsets`` that apply at ``times``; ``changes`` are the sorted times of changes."""
    if not times.size:
        return np.empty(0, np.int64)
    # Data rarely spans more than a few changes: searching only those is much faster.
    low, high = np.searchsorted(changes, [times.min(), times.max()], side="right")
    if low == high:
        return np.broadcast_to(offsets[low], times.shape)
    return offsets[low + np.searchsorted(changes[low:high], times, side="right")]


@lru_cache(maxsize=16)
def _transitions(timezone: str) -> tuple[Int64, Int64]:
    """Instants at which the zone's offset changes, and the offsets, one more than instants."""
    instants, offsets = _changes(timezone, _offset)
    return instants, np.array(offsets, np.int64)


@lru_cache(maxsize=16)
def _names(timezone: str) -> tuple[Int64, Int64, list[str]]:
    """The same for the zone's offset together with its abbreviation."""
    instants, found = _changes(timezone, lambda time: (_offset(time), time.tzname()))
    return (
        instants,
        np.array([offset for offset, _ in found], np.int64),
        [n or "" for _, n in found],
    )


def _offset(time: dt.datetime) -> int:
    delta = time.utcoffset()
    assert delta is not None
    return int(delta.total_seconds())


def _changes(timezone: str, of: Callable[[dt.datetime], T]) -> tuple[Int64, list[T]]:
    """Instants at which something about the zone's local time changes, and what it is between them.

    zoneinfo does not expose its table, so it is probed once a day (no zone has ever changed twice
    within a day) and each change is located by bisection.
    """
    zone = ZoneInfo(timezone)

    def at(second: int) -> T:
        return of(dt.datetime.fromtimestamp(second, zone))

    first, last = (_day_number(dt.date(year, 1, 1)) * DAY for year in _TABLE_YEARS)
    instants, values = [], [at(first)]
    for day in range(first + DAY, last, DAY):
        if (new := at(day)) != values[-1]:
            low, high = day - DAY, day
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if at(middle) == values[-1] else (low, middle)
            instants.append(high)
            values.append(new)
    return np.array(instants, np.int64), values
