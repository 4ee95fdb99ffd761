"""Tracked spaces and datasets: estimate, track, follow the progress, untrack."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.campus.local_time import chunk_keys
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import SESSIONS, source_tables
from tippers_dagster.campus.spaces.tracking import (
    LOG_ONLY,
    MAX_RANGE_DAYS,
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

LEVELS = {
    "sessions": "Sessions, read from the source",
    "source_occupancy": "Rooms: spaces with their own sessions",
    "derived_occupancy": "Floors, buildings, campus: distinct devices of all spaces inside",
    "days_and_encounters": "Days and encounters of devices, which rules read",
}
"""A description of each level."""

MAX_EXACT_CELLS = 4_000_000
"""For a larger grid, the estimate does not check which partitions are already computed."""


# --- estimate ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class LevelEstimate:
    """Partitions of one level: all in the new grid, those that are new, those to compute.

    ``seconds``: estimated from past runs; None without any.
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
        Spaces in the subtree, and chunks in the range.
    new_spaces, new_chunks
        Those that are not tracked yet.
    other_spaces
        Spaces already tracked that also get the new chunks: every tracked space has every tracked
        chunk.
    levels
        Upstream first.
    exact
        False: the grid is so large that computed partitions were not looked up.
    """

    spaces: int
    chunks: int
    new_spaces: int
    new_chunks: int
    other_spaces: int
    levels: list[LevelEstimate]
    exact: bool

    @property
    def to_compute(self) -> int:
        """Partitions to compute, over all levels."""
        return sum(level.to_compute for level in self.levels)

    @property
    def seconds(self) -> float | None:
        """Estimated time over all levels; None when a level with work has no past runs."""
        parts = [level.seconds for level in self.levels if level.to_compute]
        return None if None in parts else float(sum(p for p in parts if p is not None))


def estimate(app: App, tree: SpaceTree, space: str, start: dt.date, end: dt.date) -> Estimate:
    """Estimate what tracking a space over the local dates [start, end) would add.

    Raises
    ------
    BadInput
        The space is unknown, or the range is empty or far too long.
    """
    _check_range(start, end)
    at = tree.position(space)
    subtree = np.zeros(len(tree), bool)
    subtree[at : at + int(tree.size[at])] = True
    chunks = chunk_keys(start, end, app.settings.chunk)
    now = wanted_grid(app.settings, tree)
    then = Grid(tree, now.tracked | subtree, sorted({*now.chunks, *chunks}))
    new_chunks = set(chunks).difference(now.chunks)
    exact = int(then.tracked.sum()) * len(then.chunks) <= MAX_EXACT_CELLS
    levels = _exact_levels(app, now, then) if exact else _approximate_levels(app, now, then)
    return Estimate(
        spaces=int(subtree.sum()),
        chunks=len(chunks),
        new_spaces=int((subtree & ~now.tracked).sum()),
        new_chunks=len(new_chunks),
        other_spaces=int((now.tracked & ~subtree).sum()) if new_chunks else 0,
        levels=levels,
        exact=exact,
    )


def _check_range(start: dt.date, end: dt.date) -> None:
    if start >= end:
        raise BadInput("The range is empty.", "Choose a first and a last day.")
    if (end - start).days > MAX_RANGE_DAYS:
        raise BadInput("The range is longer than 20 years.", "Check the years for typing errors.")


def _exact_levels(app: App, now: Grid, then: Grid) -> list[LevelEstimate]:
    from tippers_dagster.occupancy.state import load_state

    before = load_state(app.settings, now)
    after = load_state(app.settings, then)
    pending = [int(level.stale.sum()) for level in before.levels]
    counts = [
        (level.asset, level.stale.size, int(level.stale.sum()), was.stale.size)
        for level, was in zip(after.levels, before.levels, strict=True)
    ]
    work = {asset: stale - old for (asset, _, stale, _), old in zip(counts, pending, strict=True)}
    seconds = expected_by_history(warehouse_engine(app.settings), work)
    return [
        LevelEstimate(asset, size, size - was, work[asset], seconds.get(asset))
        for asset, size, _, was in counts
    ]


def _approximate_levels(app: App, now: Grid, then: Grid) -> list[LevelEstimate]:
    def sizes(grid: Grid) -> dict[str, int]:
        chunks = len(grid.chunks)
        return {
            "sessions": chunks,
            "source_occupancy": len(grid.leaves) * chunks,
            "derived_occupancy": len(grid.parents) * chunks,
            "days_and_encounters": chunks,
        }

    before, after = sizes(now), sizes(then)
    work = {asset: after[asset] - before[asset] for asset in after}
    seconds = expected_by_history(warehouse_engine(app.settings), work)
    return [LevelEstimate(a, after[a], work[a], work[a], seconds.get(a)) for a in after]


# --- track ---------------------------------------------------------------------------------------
def track(app: App, space: str, start: dt.date, end: dt.date) -> None:
    """Track a space over the local dates [start, end); automation computes the rest.

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
    """Create a dataset, and track the partitions it needs. Raises NotAllowed or BadInput."""
    app.person.require(Role.ANALYST, "create datasets")
    _check_range(start, end)
    dataset = store.create(
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
    return dataset


def _sync(app: App) -> None:
    """Create Dagster's partitions now instead of at the daemon's next tick."""
    from tippers_dagster.occupancy.partitions import sync_partitions

    sync_partitions(app.settings, app.instance)


# --- progress ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Progress:
    """The progress of the tracked grid.

    Attributes
    ----------
    levels
        Every level, upstream first.
    seconds_by_asset
        Estimated time left per level, from past runs; without levels that have no past runs.
    is_running
        Whether a deployment runs that computes the pending partitions.
    """

    levels: list[LevelStatus]
    seconds_by_asset: dict[str, float]
    is_running: bool

    @property
    def wanted(self) -> int:
        """All partitions."""
        return sum(level.wanted for level in self.levels)

    @property
    def done(self) -> int:
        """Partitions that are up to date."""
        return sum(level.done for level in self.levels)

    @property
    def failed(self) -> int:
        """Partitions that failed and are not retried automatically."""
        return sum(level.failed for level in self.levels)

    @property
    def pending(self) -> int:
        """Partitions that automation will compute."""
        return sum(level.running + level.stale for level in self.levels)

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left; None when a level with pending partitions has no past runs."""
        needed = [lv.asset for lv in self.levels if lv.running or lv.stale]
        if any(asset not in self.seconds_by_asset for asset in needed):
            return None
        return sum(self.seconds_by_asset[asset] for asset in needed)


def progress(app: App) -> Progress:
    """Read the progress of the tracked grid."""
    from tippers_dagster.occupancy.status import look

    levels = look(app.settings, app.instance)
    pending = {level.asset: level.running + level.stale for level in levels}
    seconds = expected_by_history(warehouse_engine(app.settings), pending)
    return Progress(levels, seconds, is_running(app))


def is_running(app: App) -> bool:
    """Whether a known deployment runs, so that pending partitions are computed."""
    return web_address(app.settings) is not None


def retry_failed(app: App, asset: str | None = None) -> int:
    """Let partitions that used up their attempts run again; returns how many."""
    app.person.require(Role.ANALYST, "retry failed partitions")
    from tippers_dagster.occupancy.records import forget_attempts

    return forget_attempts(warehouse_engine(app.settings), asset)


def recompute(app: App, space: str, start: dt.date, end: dt.date, *, sessions: bool) -> int:
    """Mark a tracked space for recomputing over [start, end); returns how many partitions.

    ``sessions``: read its sessions from the source again as well.
    """
    app.person.require(Role.ANALYST, "recompute occupancy")
    _check_range(start, end)
    from tippers_dagster.occupancy.tracking import recompute as forget

    return forget(app.settings, space=space, start=start, end=end, sessions=sessions)


# --- tracked ranges ------------------------------------------------------------------------------
@dataclass(frozen=True)
class TrackedRange:
    """One tracked range of a space.

    Attributes
    ----------
    name
        Of the space; empty when the space no longer exists.
    datasets
        Datasets of the same space and range.
    frees
        Partitions that no other tracked range covers.
    """

    tracked: Tracked
    name: str
    spaces: int
    chunks: int
    datasets: tuple[str, ...]
    frees: int


def tracked_ranges(app: App, tree: SpaceTree) -> list[TrackedRange]:
    """All tracked ranges."""
    ranges = list_tracked(app.settings)
    datasets = store.list_datasets(app.settings)
    total = _cells(app, tree, ranges)
    return [
        TrackedRange(
            tracked=one,
            name=_range_name(tree, one),
            spaces=int(tree.size[tree.index[one.space]]) if one.space in tree else 0,
            chunks=len(chunk_keys(one.start, one.end, app.settings.chunk)),
            datasets=tuple(d.name for d in datasets if _same_range(d, one)),
            frees=total - _cells(app, tree, [r for r in ranges if r != one]),
        )
        for one in ranges
    ]


def _range_name(tree: SpaceTree, one: Tracked) -> str:
    """The name of the space; empty when it no longer exists."""
    if one.space == LOG_ONLY:
        return "The log only, for labels"
    return tree.names[tree.index[one.space]] if one.space in tree else ""


def _cells(app: App, tree: SpaceTree, ranges: Sequence[Tracked]) -> int:
    """The number of (space, chunk) cells that these ranges cover together."""
    mask = np.zeros(len(tree), bool)
    chunks: set[str] = set()
    for one in ranges:
        if one.space in tree:
            at = tree.index[one.space]
            mask[at : at + int(tree.size[at])] = True
        if one.space in tree or one.space == LOG_ONLY:
            chunks.update(chunk_keys(one.start, one.end, app.settings.chunk))
    return int(mask.sum()) * len(chunks)


def _same_range(dataset: Dataset, one: Tracked) -> bool:
    return (dataset.space, dataset.start, dataset.end) == (one.space, one.start, one.end)


def untrack(app: App, tracked: Tracked, *, purge: bool) -> int:
    """Stop tracking a range; partitions that other ranges cover stay tracked.

    ``purge``: also delete everything from the lake that is no longer tracked. Returns how many
    partitions were deleted.
    """
    app.person.require(Role.ANALYST, "untrack spaces")
    from tippers_dagster.occupancy.tracking import untrack_range

    return untrack_range(app.settings, tracked, purge=purge)[1]


# --- datasets ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class DatasetProgress:
    """A dataset, the name of its space (empty when it no longer exists), and its progress.

    ``tracked``: whether all of its partitions are tracked; ``shared``: other datasets that use some
    of the same partitions.
    """

    dataset: Dataset
    space_name: str
    wanted: int
    done: int
    tracked: bool
    shared: tuple[str, ...]


def datasets(app: App, tree: SpaceTree) -> list[DatasetProgress]:
    """All datasets with their progress."""
    found = store.list_datasets(app.settings)
    if not found:
        return []
    from tippers_dagster.occupancy.state import load_state

    state = load_state(app.settings, wanted_grid(app.settings, tree))
    return [_progress_of(app, tree, state, one, found) for one in found]


def _progress_of(
    app: App, tree: SpaceTree, state: State, one: Dataset, others: Sequence[Dataset]
) -> DatasetProgress:
    chunks = set(chunk_keys(one.start, one.end, app.settings.chunk))
    if one.space not in tree:
        return DatasetProgress(one, "", 0, 0, False, ())
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
    return DatasetProgress(one, name, wanted, done, tracked, tuple(shared))


def rename_dataset(app: App, name: str, to: str) -> Dataset:
    """Rename a dataset. Raises NotAllowed or BadInput."""
    app.person.require(Role.ANALYST, "rename datasets")
    return store.rename(app.settings, name, to.strip(), by=app.person.name)


def delete_dataset(app: App, name: str) -> Dataset:
    """Delete a dataset; its partitions stay tracked. Raises NotAllowed or BadInput."""
    app.person.require(Role.ANALYST, "delete datasets")
    return store.delete(app.settings, name, by=app.person.name)


def track_again(app: App, name: str) -> None:
    """Track a dataset's partitions again after they were untracked."""
    app.person.require(Role.ANALYST, "track spaces")
    one = store.get(app.settings, name)
    track(app, one.space, one.start, one.end)


def source_extent(app: App) -> tuple[dt.date, dt.date] | None:
    """The local dates [first, until) on which the source's sessions begin.

    None without sessions, and where they are read from a log source.

    Raises
    ------
    SourceError
        The source refuses the query.
    """
    if app.settings.log_source is not None:
        return None
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
    """Whether any range is tracked."""
    return bool(list_tracked(app.settings))
