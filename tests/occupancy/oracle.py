"""Occupancy counted as plainly as possible: the engine must equal it in every bin.

Pure Python, one session, one bin and one device at a time; the wall clock is asked of zoneinfo
for every single time. Nothing here is shared with the product.
"""

from __future__ import annotations

import bisect
import datetime as dt
import functools
import itertools
from collections.abc import Iterable, Mapping
from fractions import Fraction
from zoneinfo import ZoneInfo

UTC = dt.UTC


def instant(local: dt.datetime, zone: ZoneInfo, fold: int = 0) -> dt.datetime:
    """The UTC time of a wall clock time."""
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def session(
    start: dt.datetime, end: dt.datetime | None, zone: ZoneInfo, open_seconds: int
) -> tuple[Fraction, Fraction] | None:
    """Exact UTC seconds of a session given by local times, or None when it ends before it starts.

    An end that happens twice is its first occurrence, unless that lies before the start.
    """
    begin = instant(start, zone)
    if end is None:
        stop = begin + dt.timedelta(seconds=open_seconds)
    else:
        stop = instant(end, zone)
        if stop < begin:
            stop = max(stop, instant(end, zone, fold=1))
    return None if stop < begin else (seconds(begin), seconds(stop))


def seconds(moment: dt.datetime) -> Fraction:
    """Exact seconds since 1970."""
    delta = moment - dt.datetime(1970, 1, 1, tzinfo=UTC)
    return Fraction(delta // dt.timedelta(microseconds=1), 1_000_000)


@functools.cache
def first_instant(date: dt.date, zone: ZoneInfo) -> int:
    """The first second of a local date: found by walking back from its noon, minute by minute.

    A date that the zone skipped has the first second of the next one.
    """
    noon = instant(dt.datetime(date.year, date.month, date.day, 12), zone)
    if noon.astimezone(zone).date() > date:
        return first_instant(date + dt.timedelta(days=1), zone)
    first = noon
    for minutes in range(60 * 16):
        moment = noon - dt.timedelta(minutes=minutes)
        if moment.astimezone(zone).date() == date:
            first = moment
    return int(first.timestamp())


def edges(first: dt.date, last: dt.date, width: int, zone: ZoneInfo) -> list[int]:
    """Edges of the bins of the days [first, last)."""
    found: set[int] = set()
    date = first
    while date < last:
        begin = first_instant(date, zone)
        end = first_instant(date + dt.timedelta(days=1), zone)
        if begin < end:
            found.add(begin)
        if width <= 3600:
            found.update(range(begin, end, width))
        else:
            midnight = dt.datetime(date.year, date.month, date.day)
            for wall in range(width, 86400, width):
                edge = instant(midnight + dt.timedelta(seconds=wall), zone).timestamp()
                if begin <= edge < end:
                    found.add(int(edge))
        date += dt.timedelta(days=1)
    return [*sorted(found), first_instant(last, zone)]


def descendants(space: int, parents: Mapping[int, int | None]) -> set[int]:
    """The space and everything below it."""
    below = {space}
    for child, parent in parents.items():
        if parent == space:
            below |= descendants(child, parents)
    return below


def occupancy(
    sessions: Iterable[tuple[int, int, Fraction | int, Fraction | int]],
    spaces: set[int],
    bins: list[int],
) -> list[int]:
    """Distinct devices in a set of spaces, per bin; sessions are (space, device, start, end).

    A session of zero length is in the bin that contains it.
    """
    kept = [row for row in sessions if row[0] in spaces]
    counts = []
    for begin, end in itertools.pairwise(bins):
        devices = set()
        for _, device, start, stop in kept:
            if (start < end and stop > begin) or (start == stop and begin <= start < end):
                devices.add(device)
        counts.append(len(devices))
    return counts


def sparse(
    sessions: Iterable[tuple[int, int, Fraction | int, Fraction | int]],
    spaces: set[int],
    bins: list[int],
) -> dict[int, int]:
    """The non-empty bins of `occupancy` by their start, for months of narrow bins.

    Walks from the bin that contains a session's start to its end.
    """
    devices: dict[int, set[int]] = {}
    for space, device, start, stop in sessions:
        if space not in spaces or not (start < bins[-1] and (stop > bins[0] or start >= bins[0])):
            continue
        at = max(bisect.bisect_right(bins, start) - 1, 0)
        while at < len(bins) - 1 and (bins[at] < stop or bins[at] <= start == stop):
            devices.setdefault(bins[at], set()).add(device)
            at += 1
    return {begin: len(found) for begin, found in sorted(devices.items())}
