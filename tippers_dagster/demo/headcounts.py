"""Compares estimated with true numbers of people, on a simulated campus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import DAY, LocalClock
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import TRUTH_HEADCOUNT, source_tables
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.demo.data import extent
from tippers_dagster.errors import TippersError
from tippers_dagster.people.counts.calibration import (
    Calibration,
    Errors,
    calibrate,
    covered,
    errors,
)
from tippers_dagster.people.counts.devices import chosen_devices
from tippers_dagster.people.counts.head_counts import SCHEMA
from tippers_dagster.people.counts.reading import People, PeopleCounter
from tippers_dagster.people.counts.work import observe
from tippers_dagster.settings import Settings

PHONES = PeopleCount(by="device.device_type", labels=("PHONE",))
"""Like the people count that comes with the project."""

WIDTH = 900
"""Seconds per bin."""

COUNTED_SHARE = 0.15
"""Share of the rooms, floors and buildings that have head counts."""

COUNTED_DAYS = 2
"""People are counted on one of this many days; the other days are held out."""

LEVELS = ("rooms", "floors", "buildings")
WAYS = ("all devices", "all devices, calibrated", "phones", "phones, calibrated")


class NoTruth(TippersError):
    """The true number of people is unknown."""


@dataclass(frozen=True)
class PeopleResult:
    """Errors of one way of counting on the spaces of one level, on held-out days.

    Attributes
    ----------
    level, way
        One of ``LEVELS`` and of ``WAYS``.
    spaces, bins
        Number of evaluated spaces and bins.
    people
        Mean true number of people.
    errors
        In people; ``relative`` is over occupied bins.
    coverage
        Share of bins whose true number is within the interval; None for a way without intervals.
    occupied_coverage
        The same over occupied bins.
    """

    level: str
    way: str
    spaces: int
    bins: int
    people: float
    errors: Errors
    coverage: float | None
    occupied_coverage: float | None


def evaluate_people(settings: Settings) -> list[PeopleResult]:
    """Compare counts of devices and of phones, calibrated and not, with the simulated truth.

    Head counts are the truth of some spaces on every other day. The evaluation uses the other days
    of all spaces, with and without head counts.

    Raises
    ------
    NoTruth
        When the campus is not simulated.
    NotLabelled
        When devices have no types yet.
    TooFew
        When the campus is too small for calibration.
    """
    tree = load_tree(settings)
    truth = Truth(settings, tree)
    counted = _head_counts(tree, truth)
    counters = [
        PeopleCounter(settings, body, calibration)
        for body in (PeopleCount(), PHONES)
        for calibration in (None, _calibration(settings, body, counted))
    ]
    return [
        _evaluate(level, way, truth, counter, spaces)
        for level, spaces in _by_level(tree).items()
        if spaces
        for way, counter in zip(WAYS, counters, strict=True)
    ]


def _calibration(settings: Settings, body: PeopleCount, counted: pa.Table) -> Calibration:
    chosen = chosen_devices(settings, body, probabilities=False)
    _, observed = observe(settings, chosen, counted)
    return calibrate(observed, body.ratio, body.confidence)[0]


def head_counts(settings: Settings) -> pa.Table:
    """Realistic head counts: all day, in some spaces, on every other day; with ``counts.SCHEMA``.

    Includes empty bins. The demo imports them, like ``tippers calibrate import``, to calibrate its
    people count.

    Raises
    ------
    NoTruth
        When the campus is not simulated.
    """
    tree = load_tree(settings)
    return _head_counts(tree, Truth(settings, tree))


def _head_counts(tree: SpaceTree, truth: Truth) -> pa.Table:
    sample = [s for spaces in _by_level(tree).values() for s in _sample(spaces)]
    counted = ~truth.held_out
    begins = pa.array(truth.begins[counted]).cast(pa.timestamp("s", "UTC"))
    parts = [
        pa.table(
            {
                "space_id": pa.repeat(space, len(begins)),
                "time": begins,
                "interval_seconds": pa.repeat(WIDTH, len(begins)),
                "people": truth.every(space)[counted],
            }
        ).cast(SCHEMA)
        for space in sample
    ]
    return pa.concat_tables(parts)


# --- spaces -------------------------------------------------------------------------------------
def _by_level(tree: SpaceTree) -> dict[str, list[str]]:
    """Spaces by level: rooms are leaves, buildings are below the campus, floors below buildings."""
    rooms = tree.is_leaf & (tree.depth > 0)
    masks = (rooms, ~tree.is_leaf & (tree.depth == 2), ~tree.is_leaf & (tree.depth == 1))
    return {
        level: [tree.ids[at] for at in np.flatnonzero(mask)]
        for level, mask in zip(LEVELS, masks, strict=True)
    }


def _sample(spaces: list[str]) -> list[str]:
    """``COUNTED_SHARE`` of the spaces, evenly spread, at least one."""
    step = round(1 / COUNTED_SHARE)
    return spaces[step // 2 :: step] or spaces[:1]


# --- the truth ----------------------------------------------------------------------------------
class Truth:
    """The true number of people per space and bin of the computed days.

    Attributes
    ----------
    span
        The days.
    begins
        Starts of the bins of ``WIDTH``, UTC seconds [n].
    held_out
        bool [n]: the bin lies on a day without head counts.

    Raises
    ------
    NoTruth
        When the campus is not simulated.
    """

    def __init__(self, settings: Settings, tree: SpaceTree) -> None:
        self._settings = settings
        self.span = extent(settings)
        empty = PeopleCounter(settings, PeopleCount(), None)
        found = empty.read(tree.roots[0], self.span.first, self.span.last, WIDTH)
        self.begins = found.devices.edges[:-1]
        day = np.searchsorted(self._midnights(), self.begins, side="right") - 1
        self.held_out = (day % COUNTED_DAYS).astype(bool)
        rows = _true_people(settings)
        if not rows.num_rows:
            raise NoTruth(
                "The true number of people is unknown.",
                "It is known only for a simulated campus: `tippers simulate`.",
            )
        self._rows = {
            space: rows.slice(first, length)
            for space, first, length in _runs(rows["space_id"].combine_chunks())
        }
        self._none = rows.slice(0, 0)

    def every(self, space: str) -> NDArray[np.int64]:
        """The true number of people in all bins."""
        rows = self._rows.get(space, self._none)
        begin = rows["begin"].to_numpy()
        inside = (begin >= self.begins[0]) & (begin <= self.begins[-1])
        people = np.zeros(len(self.begins), np.int64)
        people[np.searchsorted(self.begins, begin[inside])] = rows["people"].to_numpy()[inside]
        return people

    def estimates(self, counter: PeopleCounter, spaces: list[str]) -> Iterator[People]:
        """The estimates of each space for all bins."""
        return counter.read_many(spaces, self.span.first, self.span.last, WIDTH)

    def _midnights(self) -> NDArray[np.int64]:
        clock = LocalClock(self._settings.timezone)
        return clock.bin_edges(self.span.first, self.span.last, DAY)


def _true_people(settings: Settings) -> pa.Table:
    """space_id, begin (UTC seconds) and people, by space."""
    table = source_tables(settings)[TRUTH_HEADCOUNT]
    space, begin = table.column("space_id"), table.column("interval_begin_time")
    return read_source(
        settings,
        f"SELECT {space} AS space_id, extract(epoch FROM {begin})::bigint AS begin, "
        f"{table.column('people')} AS people FROM {table.sql} "
        f"WHERE {table.column('interval_seconds')} = {WIDTH} ORDER BY 1, 2",
    ).cast(pa.schema({"space_id": pa.string(), "begin": pa.int64(), "people": pa.int32()}))


def _runs(column: pa.Array) -> Iterable[tuple[str, int, int]]:
    """Each value of a sorted column, with the start and length of its run."""
    runs = pc.run_end_encode(column)
    ends = np.asarray(runs.run_ends)
    starts = np.append(0, ends[:-1])
    return zip(runs.values.to_pylist(), starts.tolist(), (ends - starts).tolist(), strict=True)


def _evaluate(
    level: str, way: str, truth: Truth, counter: PeopleCounter, spaces: list[str]
) -> PeopleResult:
    """The result over all spaces of a level."""
    found = list(truth.estimates(counter, spaces))
    held_out = truth.held_out
    people = np.concatenate([truth.every(space)[held_out] for space in spaces]).astype(np.float64)
    estimate, low, high = (
        np.concatenate([getattr(one, name)[held_out] for one in found])
        for name in ("people", "low", "high")
    )
    occupied = (people > 0) & ~np.isnan(low)

    return PeopleResult(
        level=level,
        way=way,
        spaces=len(spaces),
        bins=len(people),
        people=float(people.mean()),
        errors=errors(estimate, people),
        coverage=None if np.isnan(low).any() else covered(low, high, people),
        occupied_coverage=(
            covered(low[occupied], high[occupied], people[occupied]) if occupied.any() else None
        ),
    )
