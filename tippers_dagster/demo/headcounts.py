"""How far estimated people are from those really there, on a campus whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable
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
"""As the project's own people count."""

WIDTH = 900
"""Seconds of the bins that are judged."""

COUNTED_SHARE = 0.15
"""Of the rooms, and of the floors and buildings, that somebody counts people in."""

COUNTED_DAYS = 2
"""Of every so many days there is one on which people are counted; the others are judged."""

LEVELS = ("rooms", "floors", "buildings")
WAYS = ("all devices", "all devices, calibrated", "phones", "phones, calibrated")


class NoTruth(TippersError):
    """Nothing is known of how many people there really were."""


@dataclass(frozen=True)
class PeopleResult:
    """How one way of counting does on the spaces of one kind, on the days held out.

    Attributes
    ----------
    level, way
        One of ``LEVELS`` and of ``WAYS``.
    spaces, bins
        That are judged.
    people
        Really there, on average.
    errors
        In people; ``relative`` of the bins with people in them.
    coverage
        Share of the bins whose people are in the interval; None for a way without one.
    occupied_coverage
        The same, of the bins with people in them.
    """

    level: str
    way: str
    spaces: int
    bins: int
    people: float
    errors: Errors
    coverage: float | None
    occupied_coverage: float | None


def judge_people(settings: Settings) -> list[PeopleResult]:
    """Judge devices and phones, as they are and calibrated, by the simulation's truth.

    Head counts are the truth of some spaces on every other day; what is judged are the other days
    of all spaces, calibrated ones or not.

    Raises
    ------
    NoTruth
        When the campus is no simulated one.
    NotLabelled
        When devices have no types yet.
    TooFew
        When the campus is so small that its head counts do not suffice.
    """
    tree = load_tree(settings)
    truth = _Truth(settings, tree)
    counted = head_counts(settings)
    counters = [
        PeopleCounter(settings, body, calibration)
        for body in (PeopleCount(), PHONES)
        for calibration in (None, _calibration(settings, body, counted))
    ]
    return [
        _judged(level, way, truth, counter, spaces)
        for level, spaces in _by_level(tree).items()
        if spaces
        for way, counter in zip(WAYS, counters, strict=True)
    ]


def _calibration(settings: Settings, body: PeopleCount, counted: pa.Table) -> Calibration:
    chosen = chosen_devices(settings, body, probabilities=False)
    _, observed = observe(settings, chosen, counted)
    return calibrate(observed, body.ratio, body.confidence)[0]


def head_counts(settings: Settings) -> pa.Table:
    """Head counts as somebody might take them: all day, in some spaces, on every other day.

    Of ``counts.SCHEMA``; a bin in which nobody was is counted, too. ``tippers calibrate import``
    takes them from a file, and so calibrates the demonstration's own people count.

    Raises
    ------
    NoTruth
        When the campus is no simulated one.
    """
    tree = load_tree(settings)
    truth = _Truth(settings, tree)
    sample = [s for spaces in _by_level(tree).values() for s in _some(spaces)]
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


# --- which spaces -------------------------------------------------------------------------------
def _by_level(tree: SpaceTree) -> dict[str, list[str]]:
    """Rooms are the leaves; buildings stand below the campus, and floors below buildings."""
    rooms = tree.is_leaf & (tree.depth > 0)
    masks = (rooms, ~tree.is_leaf & (tree.depth == 2), ~tree.is_leaf & (tree.depth == 1))
    return {
        level: [tree.ids[at] for at in np.flatnonzero(mask)]
        for level, mask in zip(LEVELS, masks, strict=True)
    }


def _some(spaces: list[str]) -> list[str]:
    """Every so manieth of them, at least one."""
    step = round(1 / COUNTED_SHARE)
    return spaces[step // 2 :: step] or spaces[:1]


# --- the truth ----------------------------------------------------------------------------------
class _Truth:
    """The people of every space and bin of the computed days."""

    def __init__(self, settings: Settings, tree: SpaceTree) -> None:
        self._settings = settings
        self._span = extent(settings)
        empty = PeopleCounter(settings, PeopleCount(), None)
        found = empty.read(tree.roots[0], self._span.first, self._span.last, WIDTH)
        self.begins = found.devices.edges[:-1]
        day = np.searchsorted(self._midnights(), self.begins, side="right") - 1
        self.held_out = (day % COUNTED_DAYS).astype(bool)
        rows = _true_people(settings)
        if not rows.num_rows:
            raise NoTruth(
                "How many people there really were is not known.",
                "Only a simulated campus tells: `tippers simulate`.",
            )
        self._rows = {
            space: rows.slice(first, length)
            for space, first, length in _runs(rows["space_id"].combine_chunks())
        }
        self._none = rows.slice(0, 0)

    def every(self, space: str) -> NDArray[np.int64]:
        """People of all bins."""
        rows = self._rows.get(space, self._none)
        begin = rows["begin"].to_numpy()
        inside = (begin >= self.begins[0]) & (begin <= self.begins[-1])
        people = np.zeros(len(self.begins), np.int64)
        people[np.searchsorted(self.begins, begin[inside])] = rows["people"].to_numpy()[inside]
        return people

    def estimate(self, counter: PeopleCounter, space: str) -> People:
        """What a way of counting says of all bins."""
        return counter.read(space, self._span.first, self._span.last, WIDTH)

    def _midnights(self) -> NDArray[np.int64]:
        clock = LocalClock(self._settings.timezone)
        return clock.bin_edges(self._span.first, self._span.last, DAY)


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
    """Each value of a sorted column, with the place and length of its run."""
    runs = pc.run_end_encode(column)
    ends = np.asarray(runs.run_ends)
    starts = np.append(0, ends[:-1])
    return zip(runs.values.to_pylist(), starts.tolist(), (ends - starts).tolist(), strict=True)


def _judged(
    level: str, way: str, truth: _Truth, counter: PeopleCounter, spaces: list[str]
) -> PeopleResult:
    """All spaces of a level in one."""
    found = [truth.estimate(counter, space) for space in spaces]
    held_out = truth.held_out
    people = np.concatenate([truth.every(space)[held_out] for space in spaces]).astype(np.float64)
    estimate, low, high = (
        np.concatenate([getattr(one, name)[held_out] for one in found])
        for name in ("people", "low", "high")
    )
    some = (people > 0) & ~np.isnan(low)
    return PeopleResult(
        level=level,
        way=way,
        spaces=len(spaces),
        bins=len(people),
        people=float(people.mean()),
        errors=errors(estimate, people),
        coverage=None if np.isnan(low).any() else covered(low, high, people),
        occupied_coverage=covered(low[some], high[some], people[some]) if some.any() else None,
    )
