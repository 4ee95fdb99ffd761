"""Counts of a space per bin: figures, gaps, the points of a chart, and the typical week."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streamlit_app.services.occupancy.computed import Log
from streamlit_app.services.occupancy.local_time import from_seconds, local_seconds, to_seconds
from streamlit_app.services.occupancy.window import SCREEN_POINTS, Window
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.reading import Count, read_counts
from tippers_dagster.settings import Settings

KNOWN, OTHERS = "People known by user name", "Other devices"
"""What is counted where people are known."""


@dataclass(frozen=True)
class Figures:
    """The main numbers of a series. ``peak`` and ``mean`` are None when nothing is computed.

    ``peak_people`` and ``mean_people`` are the part of these that are people; None when devices are
    counted.
    """

    peak: int | None
    peak_at: dt.datetime | None
    mean: float | None
    bins: int
    missing_bins: int
    peak_people: int | None = None
    mean_people: float | None = None


@dataclass(frozen=True)
class Gap:
    """Local times [start, end) that are not computed."""

    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True)
class Points:
    """What a chart draws of a series: a row per bin, or per run of bins when there are too many.

    ``table``: ``time`` and ``until`` (milliseconds of the wall clock), ``mean``, ``low``, ``high``
    (null where not computed). ``bins_per_point``: the number of bins in a row.
    """

    table: pa.Table
    bins_per_point: int


@dataclass(frozen=True, eq=False)
class Series:
    """Distinct devices of one space per bin, or people where they are known and other devices.

    ``local``: the bins' edges in seconds of the wall clock, n + 1; ``counts``: int32;
    ``computed``: bool; ``people``: how many of the counts are people, int32; None when devices are
    counted.
    """

    space: str
    width: int
    local: np.ndarray
    counts: np.ndarray
    computed: np.ndarray
    missing: tuple[str, ...]
    people: np.ndarray | None = None

    @property
    def parts(self) -> dict[str, Series]:
        """People and other devices by themselves; nothing when devices are counted."""
        if self.people is None:
            return {}
        known = replace(self, counts=self.people, people=None)
        return {KNOWN: known, OTHERS: replace(known, counts=self.counts - self.people)}

    def within(self, window: Window) -> Series:
        """Only the bins that begin in a window."""
        begins = self.local[:-1]
        inside = (begins >= to_seconds(window.start)) & (begins < to_seconds(window.end))
        at = np.flatnonzero(inside)
        low, high = (int(at[0]), int(at[-1]) + 1) if at.size else (0, 0)
        return replace(
            self,
            local=self.local[low : high + 1],
            counts=self.counts[low:high],
            computed=self.computed[low:high],
            people=None if self.people is None else self.people[low:high],
        )

    @property
    def figures(self) -> Figures:
        """Peak and mean over the computed bins."""
        known = np.flatnonzero(self.computed)
        missing = len(self.counts) - len(known)
        if not known.size:
            return Figures(None, None, None, len(self.counts), missing)
        at = known[np.argmax(self.counts[known])]
        return Figures(
            peak=int(self.counts[at]),
            peak_at=from_seconds(self.local[at]),
            mean=float(self.counts[known].mean()),
            bins=len(self.counts),
            missing_bins=missing,
            peak_people=None if self.people is None else int(self.people[at]),
            mean_people=None if self.people is None else float(self.people[known].mean()),
        )

    @property
    def gaps(self) -> list[Gap]:
        """The stretches that are not computed."""
        absent = np.concatenate([[False], ~self.computed, [False]]).astype(np.int8)
        begins, ends = (np.flatnonzero(np.diff(absent) == step) for step in (1, -1))
        return [
            Gap(from_seconds(self.local[b]), from_seconds(self.local[e]))
            for b, e in zip(begins, ends, strict=True)
        ]

    def points(self, max_points: int = SCREEN_POINTS) -> Points:
        """Lowest, mean and highest count per point, with about ``max_points`` points at most."""
        n = len(self.counts)
        begins = self.local[:-1]
        size = _point_seconds(self.width, n, max_points)
        first = np.flatnonzero(np.diff(begins // size, prepend=-1)) if n else np.zeros(0, int)
        counts = np.where(self.computed, self.counts, 0).astype(np.float64)
        lengths = np.diff(np.append(first, n))
        mean, low, high, known = (
            op.reduceat(values, first) if n else values
            for op, values in (
                (np.add, counts),
                (np.minimum, counts),
                (np.maximum, counts),
                (np.add, self.computed.astype(np.int64)),
            )
        )
        # One missing bin makes a point unknown: the missing one could be the lowest.
        unknown = pa.array(known < lengths)
        table = pa.table(
            {
                "time": begins[first] * 1000.0,
                "until": self.local[np.append(first[1:], n)] * 1000.0 if n else np.zeros(0),
                "mean": _masked(mean / np.maximum(lengths, 1), unknown),
                "low": _masked(low, unknown),
                "high": _masked(high, unknown),
            }
        )
        return Points(table, size // self.width)


_POINT_SECONDS = (*PUBLISHED_WIDTHS, 2 * 86400, 7 * 86400, 28 * 86400)


def _point_seconds(width: int, bins: int, max_points: int) -> int:
    """How much time a point covers: one bin, or as many as make the points few enough.

    Parts of a day, or whole days, so that every point covers the same hours of the day.
    """
    if bins <= max_points:
        return width
    needed = width * bins / max_points
    fitting = (s for s in _POINT_SECONDS if s >= needed and s % width == 0)
    return next(fitting, width * -(-bins // max_points))


def _masked(values: np.ndarray, unknown: pa.Array) -> pa.Array:
    return pc.if_else(unknown, None, pa.array(values, pa.float64()))


def series(
    settings: Settings,
    spaces: Sequence[str],
    window: Window,
    width: int,
    log: Log | None = None,
    count: Count = "devices",
) -> list[Series]:
    """The counts of several spaces in a window.

    Parameters
    ----------
    log
        The span of the log: bins outside count as not computed.
    count
        Devices; or people where they are known, and other devices.

    Raises
    ------
    BadInput
        An unknown space, or a width that bins cannot have.
    """
    found = read_counts(
        list(spaces), window.start, window.end, width, settings=settings, count=count
    )
    local = local_seconds(settings, found.edges)
    known = found.computed
    if log is not None:
        known = known & log.covers(local)
    people = found.counts if count == "people" else [None] * len(spaces)
    return [
        Series(
            space,
            width,
            local,
            found.counts[i] + found.others[i],
            known[i],
            tuple(found.missing[i]),
            people[i],
        )
        for i, space in enumerate(spaces)
    ]


def are_people_known(settings: Settings, space: str, window: Window) -> bool:
    """Whether any person is known in a space on the days of a window."""
    day = dt.timedelta(1)
    end = window.end.date() + (day if window.end.time() != dt.time() else dt.timedelta())
    found = read_counts([space], window.start.date(), end, 86400, settings=settings, count="people")
    return bool((found.counts * found.computed).any())


def files_to_read(tree: SpaceTree, space: str, window: Window, width: int) -> int:
    """Roughly how many files a count has to read when its width is not a published one."""
    if width in PUBLISHED_WIDTHS:
        return 0
    return int(tree.size[tree.position(space)]) * (window.length.days // 7 + 1)


@dataclass(frozen=True, eq=False)
class Week:
    """Mean counts by weekday and hour.

    Attributes
    ----------
    table
        ``weekday`` (0 is Monday), ``hour``, ``mean`` (null where never computed), and ``hours``,
        the number of hours averaged; ``people`` and ``others``, the parts of the mean, unless
        devices are counted.
    busiest
        Weekday, hour and mean of the busiest hour; None when nothing is computed.
    people
        The people in the mean of the busiest hour; None when devices are counted.
    """

    table: pa.Table
    busiest: tuple[int, int, float] | None
    people: float | None = None


def week(hourly: Series) -> Week:
    """The typical week of a series whose bins are one hour wide."""
    at = hourly.local[:-1][hourly.computed]
    cell = ((at // 86400 + 3) % 7) * 24 + at % 86400 // 3600
    hours = np.bincount(cell, minlength=168)

    def means(counts: np.ndarray) -> np.ndarray:
        sums = np.bincount(cell, weights=counts[hourly.computed], minlength=168)
        return sums / np.maximum(hours, 1)

    mean = means(hourly.counts)
    table = pa.table(
        {
            "weekday": np.arange(168) // 24,
            "hour": np.arange(168) % 24,
            "mean": _masked(mean, pa.array(hours == 0)),
            "hours": hours,
        }
    )
    people = None if hourly.people is None else means(hourly.people)
    if people is not None:
        for name, part in (("people", people), ("others", mean - people)):
            table = table.append_column(name, _masked(part, pa.array(hours == 0)))
    if not hours.any():
        return Week(table, None)
    best = int(np.argmax(np.where(hours > 0, mean, -1)))
    busiest = best // 24, best % 24, float(mean[best])
    return Week(table, busiest, None if people is None else float(people[best]))
