"""Tracking spaces and naming datasets: what it adds, how far it is, and taking it back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.campus.local_time import chunk_keys
from tippers_dagster.campus.spaces.tracking import (
    LONGEST_RANGE_DAYS,
    Grid,
    Tracked,
    list_tracked,
    wanted_grid,
)
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy import datasets as store
from tippers_dagster.occupancy.datasets import Dataset
from tippers_dagster.occupancy.estimates import expected_by_history
from tippers_dagster.platform.dagster.addresses import web_address
from tippers_dagster.platform.warehouse.engine import warehouse_engine

if TYPE_CHECKING:
    from tippers_dagster.occupancy.state import State
    from tippers_dagster.occupancy.status import LevelStatus

WHAT = {
    "sessions": "Sessions: read from the source, one partition per chunk",
    "source_occupancy": "Rooms: counts of spaces with sessions of their own",
    "derived_occupancy": "Floors, buildings, campus: unions of what is below",
}
"""What each level is, in words."""

MOST_CELLS = 4_000_000
"""Of a larger grid it is not looked up what is there already."""


# --- before saying yes ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Adds:
    """Partitions of one level: in the grid that would be wanted, new in it, and to be computed
    because of it. ``seconds``: by history, None without one.
    """

    asset: str
    wanted: int
    new: int
    to_compute: int
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """What tracking a space over a range would add.

    Attributes
    ----------
    spaces, chunks
        Of the space's subtree over the range.
    new_spaces, new_chunks
        Those of them that nothing tracks yet.
    other_spaces
        Spaces tracked already that get the new chunks, too: every tracked space is kept in every
        tracked chunk.
    levels
        Upstream first.
    exact
        False: so many that it was not looked up what is computed already.
    """

    spaces: int
    chunks: int
    new_spaces: int
    new_chunks: int
    other_spaces: int
    levels: list[Adds]
    exact: bool

    @property
    def to_compute(self) -> int:
        """Partitions in all."""
        return sum(level.to_compute for level in self.levels)

    @property
    def seconds(self) -> float | None:
        """In all; None when a level that has work has no history."""
        parts = [level.seconds for level in self.levels if level.to_compute]
        return None if None in parts else float(sum(p for p in parts if p is not None))


def estimate(app: App, tree: SpaceTree, space: str, start: dt.date, end: dt.date) -> Estimate:
    """What it would add to track a space over the local dates [start, end).

    Raises
    ------
    BadInput
        An unknown space, or an empty or absurdly long range.
    """
    _check_range(start, end)
    at = tree.position(space)
    mine = np.zeros(len(tree), bool)
    mine[at : at + int(tree.size[at])] = True
    chunks = chunk_keys(start, end, app.settings.chunk)
    now = wanted_grid(app.settings, tree)
    then = Grid(tree, now.tracked | mine, sorted({*now.chunks, *chunks}))
    new_chunks = set(chunks).difference(now.chunks)
    exact = int(then.tracked.sum()) * len(then.chunks) <= MOST_CELLS
    levels = _looked_up(app, now, then) if exact else _counted(app, now, then)
    return Estimate(
        spaces=int(mine.sum()),
        chunks=len(chunks),
        new_spaces=int((mine & ~now.tracked).sum()),
        new_chunks=len(new_chunks),
        other_spaces=int((now.tracked & ~mine).sum()) if new_chunks else 0,
        levels=levels,
        exact=exact,
    )


def _check_range(start: dt.date, end: dt.date) -> None:
    if start >= end:
        raise BadInput("The range holds no day.", "Choose a first and a last day.")
    if (end - start).days > LONGEST_RANGE_DAYS:
        raise BadInput("The range is over 20 years long.", "Is a year mistyped?")


def _looked_up(app: App, now: Grid, then: Grid) -> list[Adds]:
    from tippers_dagster.occupancy.state import load_state

    before = load_state(app.settings, now)
    after = load_state(app.settings, then)
    lacking = [int(level.stale.sum()) for level in before.levels]
    counts = [
        (level.asset, level.stale.size, int(level.stale.sum()), was.stale.size)
        for level, was in zip(after.levels, before.levels, strict=True)
    ]
    work = {asset: stale - old for (asset, _, stale, _), old in zip(counts, lacking, strict=True)}
    seconds = expected_by_history(warehouse_engine(app.settings), work)
    return [
        Adds(asset, size, size - was, work[asset], seconds.get(asset))
        for asset, size, _, was in counts
    ]


def _counted(app: App, now: Grid, then: Grid) -> list[Adds]:
    def sizes(grid: Grid) -> dict[str, int]:
        chunks = len(grid.chunks)
        return {
            "sessions": chunks,
            "source_occupancy": len(grid.leaves) * chunks,
            "derived_occupancy": len(grid.parents) * chunks,
        }

    before, after = sizes(now), sizes(then)
    work = {asset: after[asset] - before[asset] for asset in after}
    seconds = expected_by_history(warehouse_engine(app.settings), work)
    return [Adds(a, after[a], work[a], work[a], seconds.get(a)) for a in after]


# --- saying yes ----------------------------------------------------------------------------------
def track(app: App, space: str, start: dt.date, end: dt.date) -> None:
    """Track a space over the local dates [start, end); what lacks is computed by itself.

    Raises
    ------
    NotAllowed, BadInput
    """
    app.person.require(Role.ANALYST, "track spaces")
    _check_range(start, end)
    from tippers_dagster.occupancy.tracking import track_space

    track_space(app.settings, space=space, start=start, end=end)


def create_dataset(
    app: App,
    name: str,
    *,
    space: str,
    start: dt.date,
    end: dt.date,
    interval_seconds: int,
    description: str = "",
) -> Dataset:
    """Name a selection, and track what it needs. Raises NotAllowed or BadInput."""
    app.person.require(Role.ANALYST, "make datasets")
    _check_range(start, end)
    made = store.create(
        app.settings,
        name.strip(),
        space=space,
        start=start,
        end=end,
        interval_seconds=interval_seconds,
        owner=app.person.name,
        description=description,
    )
    _sync(app)
    return made


def _sync(app: App) -> None:
    """Dagster's partitions are made at once, not at the next look of a daemon."""
    from tippers_dagster.occupancy.partitions import sync_partitions

    sync_partitions(app.settings, app.instance)


# --- how far it is -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Standing:
    """Every level of the tracked grid, and seconds that are left by history (None: unknown)."""

    levels: list[LevelStatus]
    left: dict[str, float]
    at_work: bool

    @property
    def wanted(self) -> int:
        """Partitions in all."""
        return sum(level.wanted for level in self.levels)

    @property
    def done(self) -> int:
        """Those up to date."""
        return sum(level.done for level in self.levels)

    @property
    def failed(self) -> int:
        """Those that are not tried again by themselves."""
        return sum(level.failed for level in self.levels)

    @property
    def lacking(self) -> int:
        """Those that will be computed by themselves."""
        return sum(level.running + level.stale for level in self.levels)

    @property
    def seconds_left(self) -> float | None:
        """In all; None when a level that lacks something has no history."""
        needed = [lv.asset for lv in self.levels if lv.running or lv.stale]
        if any(asset not in self.left for asset in needed):
            return None
        return sum(self.left[asset] for asset in needed)


def standing(app: App) -> Standing:
    """How far the tracked grid is; changes nothing."""
    from tippers_dagster.occupancy.status import look

    levels = look(app.settings, app.instance)
    lacking = {level.asset: level.running + level.stale for level in levels}
    left = expected_by_history(warehouse_engine(app.settings), lacking)
    return Standing(levels, left, at_work(app))


def at_work(app: App) -> bool:
    """Whether a deployment runs that we know of, and so computes what lacks."""
    return web_address(app.settings) is not None


def retry_failed(app: App, asset: str | None = None) -> int:
    """Have what failed as often as it may be tried again; of how many partitions that is."""
    app.person.require(Role.ANALYST, "retry what failed")
    from tippers_dagster.occupancy.records import forget_attempts

    return forget_attempts(warehouse_engine(app.settings), asset)


def recompute(app: App, space: str, start: dt.date, end: dt.date, *, sessions: bool) -> int:
    """Have a tracked space computed anew over [start, end); how many partitions that is."""
    app.person.require(Role.ANALYST, "recompute occupancy")
    _check_range(start, end)
    from tippers_dagster.occupancy.tracking import recompute as forget

    return forget(app.settings, space=space, start=start, end=end, sessions=sessions)


# --- what is tracked -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Kept:
    """One tracked range, the datasets that it serves, and what would stay without it.

    ``name``: of the space, empty when it is gone. ``frees``: partitions that nothing else keeps.
    """

    tracked: Tracked
    name: str
    spaces: int
    chunks: int
    datasets: tuple[str, ...]
    frees: int


def kept(app: App, tree: SpaceTree) -> list[Kept]:
    """Everything that is tracked."""
    ranges = list_tracked(app.settings)
    datasets = store.list_datasets(app.settings)
    whole = _cells(app, tree, ranges)
    return [
        Kept(
            tracked=one,
            name=tree.names[tree.index[one.space]] if one.space in tree else "",
            spaces=int(tree.size[tree.index[one.space]]) if one.space in tree else 0,
            chunks=len(chunk_keys(one.start, one.end, app.settings.chunk)),
            datasets=tuple(d.name for d in datasets if _is_of(d, one)),
            frees=whole - _cells(app, tree, [r for r in ranges if r != one]),
        )
        for one in ranges
    ]


def _cells(app: App, tree: SpaceTree, ranges: Sequence[Tracked]) -> int:
    """Partitions of spaces that these ranges add up to."""
    mask = np.zeros(len(tree), bool)
    chunks: set[str] = set()
    for one in ranges:
        if one.space in tree:
            at = tree.index[one.space]
            mask[at : at + int(tree.size[at])] = True
            chunks.update(chunk_keys(one.start, one.end, app.settings.chunk))
    return int(mask.sum()) * len(chunks)


def _is_of(dataset: Dataset, one: Tracked) -> bool:
    return (dataset.space, dataset.start, dataset.end) == (one.space, one.start, one.end)


def untrack(app: App, tracked: Tracked, *, purge: bool) -> int:
    """Stop keeping a range; what others cover stays.

    ``purge``: also delete from the lake what is no longer tracked. Returns how many partitions
    were deleted.
    """
    app.person.require(Role.ANALYST, "untrack spaces")
    from tippers_dagster.occupancy.tracking import untrack_range

    return untrack_range(app.settings, tracked, purge=purge)[1]


# --- datasets ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Shown:
    """A dataset, the name of its space, and how far it is.

    ``tracked``: whether all of it is kept up to date; ``shared``: other datasets that need some of
    its partitions, too.
    """

    dataset: Dataset
    space_name: str
    wanted: int
    done: int
    tracked: bool
    shared: tuple[str, ...]


def datasets(app: App, tree: SpaceTree) -> list[Shown]:
    """All datasets with their progress, from one look at the tracked grid."""
    found = store.list_datasets(app.settings)
    if not found:
        return []
    from tippers_dagster.occupancy.state import load_state

    state = load_state(app.settings, wanted_grid(app.settings, tree))
    return [_shown(app, tree, state, one, found) for one in found]


def _shown(
    app: App, tree: SpaceTree, state: State, one: Dataset, others: Sequence[Dataset]
) -> Shown:
    chunks = set(chunk_keys(one.start, one.end, app.settings.chunk))
    if one.space not in tree:
        return Shown(one, "", 0, 0, False, ())
    spaces = set(tree.subtree(one.space))
    wanted = done = 0
    for level in (state.source, state.derived):
        rows = np.array([s in spaces for s in level.spaces], bool)
        columns = np.array([c in chunks for c in level.chunks], bool)
        inside = np.ix_(rows, columns)
        wanted += int(rows.sum()) * len(chunks)
        done += int(level.fresh[inside].sum())
    tracked = spaces <= {*state.grid.leaves, *state.grid.parents} and chunks <= set(
        state.grid.chunks
    )
    shared = [
        other.name
        for other in others
        if other.name != one.name
        and chunks.intersection(chunk_keys(other.start, other.end, app.settings.chunk))
        and other.space in tree
        and (other.space in spaces or one.space in tree.subtree(other.space))
    ]
    name = tree.names[tree.index[one.space]]
    return Shown(one, name, wanted, done, tracked, tuple(shared))


def rename_dataset(app: App, name: str, to: str) -> Dataset:
    """Give a dataset another name. Raises NotAllowed or BadInput."""
    app.person.require(Role.ANALYST, "rename datasets")
    return store.rename(app.settings, name, to.strip(), by=app.person.name)


def delete_dataset(app: App, name: str) -> Dataset:
    """Forget a dataset's name; what it tracks stays. Raises NotAllowed or BadInput."""
    app.person.require(Role.ANALYST, "delete datasets")
    return store.delete(app.settings, name, by=app.person.name)


def track_again(app: App, name: str) -> None:
    """Track what a dataset needs, after it was untracked."""
    app.person.require(Role.ANALYST, "track spaces")
    one = store.get(app.settings, name)
    track(app, one.space, one.start, one.end)


def source_extent(app: App) -> tuple[dt.date, dt.date] | None:
    """The local dates [first, until) that the source's sessions begin in; None without any.

    Raises
    ------
    SourceError
        When the source refuses the query.
    """
    from tippers_dagster.campus.source.load import read_source
    from tippers_dagster.campus.source.schema import SESSIONS, source_tables

    table = source_tables(app.settings)[SESSIONS]
    start = table.column("start_time")
    earliest = app.settings.earliest_time
    row = read_source(
        app.settings,
        f"SELECT min({start})::date AS first, max({start})::date AS last FROM {table.sql} WHERE "
        f"{start} >= timestamp '{earliest}' AND {start} < now()::timestamp + interval '1 day'",
    ).to_pylist()[0]
    if row["first"] is None:
        return None
    return row["first"], row["last"] + dt.timedelta(1)


def is_anything_tracked(app: App) -> bool:
    """Whether there is a grid at all."""
    return bool(list_tracked(app.settings))
