"""Reads the occupancy of spaces from the lake as regular series, into a ``Panel``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from tippers_dagster.calendar.days import AcademicCalendar
from tippers_dagster.calendar.store import load_calendar
from tippers_dagster.campus.local_time import Int64, LocalClock, chunk_bounds, chunk_keys
from tippers_dagster.campus.spaces.facts import load_facts
from tippers_dagster.campus.spaces.tracking import list_tracked, wanted_grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.catalog.kinds import Forecaster
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting.panel import (
    DAY,
    FLAGS,
    Floats,
    HolidayPeriods,
    Panel,
)
from tippers_dagster.occupancy.reading import SpaceCounts, read_counts
from tippers_dagster.occupancy.records import read_consistently
from tippers_dagster.occupancy.state import SESSIONS
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

SPACES_AT_ONCE = 200
"""Spaces read together: their counts of a year temporarily take some hundred MB."""

EVENING_SECONDS = 6 * 3600
"""A past day counts as complete if a device was seen within this time before its end."""

_EPOCH = dt.date(1970, 1, 1)
_ONE_DAY = dt.timedelta(days=1)


class NoHistory(BadInput):
    """There is no history of these spaces."""


@dataclass(frozen=True, eq=False)
class History:
    """The data that a forecaster learns from.

    Attributes
    ----------
    panel
        The spaces with a history.
    capacity
        Capacity of each space in people; NaN where unknown.
    without
        Spaces without history, which are not in the panel.
    """

    panel: Panel
    capacity: NDArray[np.float64]
    without: tuple[str, ...]


def chosen_spaces(tree: SpaceTree, tracked: NDArray[np.bool_], body: Forecaster) -> list[str]:
    """The spaces of a forecaster, in the order of the tree.

    These are the spaces that it names, and with ``below`` all tracked spaces below them. If it
    names none: the tracked spaces without a parent, and their children (with ``below``: all tracked
    spaces).

    Raises
    ------
    BadInput
        When a space is unknown or not tracked.
    """
    wanted = np.zeros(len(tree), bool)
    named = body.spaces or tree.roots
    for space in named:
        at = tree.position(space)
        if body.spaces and not tracked[at]:
            raise BadInput(
                f"Space {space!r} is not tracked, so it has no history.",
                f"To track it: `tippers track --space {space} --start DATE --end DATE`.",
            )
        wanted[at] = True
        if body.below:
            wanted[at : at + int(tree.size[at])] = True
        elif not body.spaces:
            wanted |= tree.parent == at
    return [tree.ids[i] for i in np.flatnonzero(wanted & tracked)]


def load_history(settings: Settings, body: Forecaster) -> History:
    """The history of a forecaster's spaces, in whole days up to the last known one.

    Raises
    ------
    NoHistory
        When there is none.
    BadInput
        When a space is unknown or not tracked.
    Overtaken
        When counts are constantly being replaced.
    """
    tree = load_tree(settings)
    spaces = chosen_spaces(tree, wanted_grid(settings, tree).tracked, body)
    if not spaces:
        raise NoHistory(
            "No space of this forecaster is tracked.",
            "`tippers track` tracks a space and everything below it.",
        )
    first, end = history_days(settings, body)

    def read() -> Floats:
        parts = [
            spaces[low : low + SPACES_AT_ONCE] for low in range(0, len(spaces), SPACES_AT_ONCE)
        ]
        return np.concatenate([_values(settings, body, some, first, end) for some in parts])

    values = read_consistently(settings, chunk_keys(first, end, settings.chunk), read)
    known = np.isfinite(values)
    if not known.any():
        raise NoHistory(
            f"The occupancy of these spaces from {first} to {end} is not computed yet.",
            "`tippers occupancy status` shows the progress.",
        )
    unknown_days = int(known.any(axis=(0, 2)).argmax())
    first, values = first + unknown_days * _ONE_DAY, values[:, unknown_days:]
    has_history = np.asarray(known.any(axis=(1, 2)))
    kept = [space for space, has in zip(spaces, has_history, strict=True) if has]
    panel = _panel(settings, kept, first, values[has_history], body.horizon_days)
    return History(
        panel,
        _capacity(settings, kept),
        tuple(space for space, has in zip(spaces, has_history, strict=True) if not has),
    )


# --- which days ---------------------------------------------------------------------------------
def history_days(settings: Settings, body: Forecaster) -> tuple[dt.date, dt.date]:
    """The local days [first, end) to learn from.

    They end with the last day on which any device was seen; if that day is not over, or no device
    was seen in its last hours, with the day before. They begin ``history_days`` earlier, but not
    before the first chunk with sessions.

    Raises
    ------
    NoHistory
        When there are no sessions.
    """
    c = partition_figures.c
    bounds = sa.select(sa.func.min(c.chunk), sa.func.max(c.chunk))
    with warehouse_engine(settings).connect() as connection:
        low, high = connection.execute(bounds.where(c.asset == SESSIONS, c.rows > 0)).one()
    if low is None:
        raise NoHistory(
            "No sessions have been computed yet, so there is no history.",
            "Track a space over days that have sessions: `tippers track`.",
        )
    clock = LocalClock(settings.timezone)
    end = _end_of_data(settings, clock, *chunk_bounds(high, settings.chunk))
    first = max(chunk_bounds(low, settings.chunk)[0], end - body.history_days * _ONE_DAY)
    if first >= end:
        raise NoHistory("There is no complete day with sessions yet.", "Try again tomorrow.")
    return first, end


def _end_of_data(settings: Settings, clock: LocalClock, first: dt.date, end: dt.date) -> dt.date:
    """The day after the last complete day, searched in the last chunk with sessions."""
    known = load_tree(settings).index
    roots = sorted({tracked.space for tracked in list_tracked(settings)}.intersection(known))
    found = read_counts(roots, first, end, 3600, settings=settings)
    anybody = ((found.counts > 0) & found.computed).any(axis=0)
    if not anybody.any():
        return first
    last = int(found.edges[np.flatnonzero(anybody)[-1] + 1])
    day = _local_day(clock, last - 1)
    over = clock.day_start(day + _ONE_DAY)
    complete = over <= dt.datetime.now(dt.UTC).timestamp() and last >= over - EVENING_SECONDS
    return day + _ONE_DAY if complete else day


def _local_day(clock: LocalClock, utc: int) -> dt.date:
    local = utc + int(clock.utc_offset(np.array([utc]))[0])
    return _EPOCH + dt.timedelta(days=local // DAY)


# --- the array ----------------------------------------------------------------------------------
def _values(
    settings: Settings, body: Forecaster, spaces: Sequence[str], first: dt.date, end: dt.date
) -> Floats:
    width = body.interval_seconds
    found = read_counts(list(spaces), first, end, width, settings=settings, count=body.counts)
    found = replace(found, counts=found.counts + found.others)
    return regular(found, LocalClock(settings.timezone), first, (end - first).days, width)


def regular(found: SpaceCounts, clock: LocalClock, first: dt.date, days: int, width: int) -> Floats:
    """Counts by wall-clock time, float32 [spaces, days, slots]; NaN where not computed.

    When the clock repeats an hour, the larger count is used; an hour that it skips is NaN.
    """
    day, slot = places(clock, found.edges[:-1], first, width)
    values = np.full((len(found.spaces), days, DAY // width), np.nan, np.float32)
    counts = np.where(found.computed, found.counts, np.nan).astype(np.float32)
    # Bins of a repeated hour share a slot with the first, so they are entered in a second step.
    _, once = np.unique(day * (DAY // width) + slot, return_index=True)
    repeated = np.setdiff1d(np.arange(len(day)), once)
    for some in (once, repeated):
        at = (slice(None), day[some], slot[some])
        values[at] = np.fmax(values[at], counts[:, some])
    return values


def places(
    clock: LocalClock, begins: Int64, first: dt.date, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Day (from ``first``) and wall-clock slot of bins that begin at these UTC seconds."""
    local = begins + clock.utc_offset(begins) - (first - _EPOCH).days * DAY
    return local // DAY, local % DAY // width


def bin_begins(clock: LocalClock, first: dt.date, days: int, width: int) -> Int64:
    """UTC seconds at which the bins of ``days`` days from ``first`` begin."""
    return clock.bin_edges(first, first + days * _ONE_DAY, width)[:-1]


def _panel(
    settings: Settings, spaces: Sequence[str], first: dt.date, values: Floats, horizon: int
) -> Panel:
    calendar = load_calendar(settings)
    days = np.datetime64(first, "D") + np.arange(values.shape[1] + horizon)
    flags, holidays = _calendar_of(calendar, list(spaces), days)
    return Panel(tuple(spaces), first, values, flags, holidays)


def _calendar_of(
    calendar: AcademicCalendar, spaces: list[str], days: NDArray[np.datetime64]
) -> tuple[Floats, tuple[HolidayPeriods, ...]]:
    """The calendar of each space, evaluated only once for all spaces without their own events."""
    with_events = {period.space for period in calendar.periods if period.space}
    with_events = with_events.union(*(calendar.near or {}).values())
    everywhere = _flags(calendar, days, None), _holidays(calendar, None)
    found = [
        (_flags(calendar, days, s), _holidays(calendar, s)) if s in with_events else everywhere
        for s in spaces
    ]
    return np.stack([flags for flags, _ in found]), tuple(periods for _, periods in found)


def _flags(calendar: AcademicCalendar, days: NDArray[np.datetime64], space: str | None) -> Floats:
    table = calendar.flags(days, space).drop_columns("day")
    columns = [column.to_numpy().astype(np.float32) for column in table.columns]
    assert len(columns) == FLAGS
    return np.stack(columns, axis=-1)


def _holidays(calendar: AcademicCalendar, space: str | None) -> HolidayPeriods:
    frame = calendar.holidays_frame(space)
    return HolidayPeriods(tuple(frame["holiday"]), tuple(day.date() for day in frame["ds"]))


def _capacity(settings: Settings, spaces: Sequence[str]) -> NDArray[np.float64]:
    facts = load_facts(settings)
    found = [facts[space].capacity if space in facts else None for space in spaces]
    return np.array([np.nan if capacity is None else capacity for capacity in found])
