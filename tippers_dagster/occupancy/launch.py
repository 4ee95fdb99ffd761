"""Materializes in this process: the same assets and runs as the daemon's, without a daemon."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import dagster as dg
import numpy as np

from tippers_dagster.automation.orphaned_runs import failure_reason, materialize_in_process
from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.spaces.tracking import Grid, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.assets import DEFINED
from tippers_dagster.occupancy.packing import Rectangle, pack
from tippers_dagster.occupancy.partitions import partition_key
from tippers_dagster.occupancy.runs import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    fail_dead_runs,
)
from tippers_dagster.occupancy.snapshot import Snapshot
from tippers_dagster.occupancy.source_checks import check_chunks
from tippers_dagster.occupancy.state import ASSETS, COUNTS, Level, State
from tippers_dagster.occupancy.work import progress
from tippers_dagster.settings import Settings, get_settings

POLL_SECONDS = 1.0

Progress = Callable[[str, int, int], None]
"""Called with the asset, the number of partitions finished, and their total."""


@dataclass(frozen=True)
class Stage:
    """The cost of materializing one asset."""

    asset: str
    partitions: int
    runs: int
    seconds: float


def materialize(
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    space: str | None = None,
    start: dt.date | None = None,
    end: dt.date | None = None,
    again: bool = False,
    on_progress: Progress = lambda asset, done, total: None,
) -> list[Stage]:
    """Compute missing and stale partitions of the tracked grid, or of a part of it, level by level.

    The source is checked first, as no observer may be running: rows that were added, changed or
    removed since a chunk was computed make it stale.

    Parameters
    ----------
    space
        Only this space and everything below it; sessions, days and encounters are computed for
        all spaces.
    start, end
        Only the chunks that contain a date of [start, end).
    again
        Also fresh partitions, in case files of the lake were lost or damaged.

    Partitions that another process is computing are waited for.

    Raises
    ------
    TippersError
        When a run failed; its partitions stay stale, the others are done.
    """
    part = _Part(settings, space, start, end, again)
    check_chunks(settings, part.chunks(wanted_grid(settings, load_tree(settings))))
    stages = []
    fail_dead_runs(settings, instance)
    for asset in ASSETS:
        began = time.monotonic()
        snapshot, wanted = _wait_until_free(instance, asset, part)
        ranges = _key_ranges(snapshot, snapshot.state.level(asset), wanted)
        total = int(wanted.sum())
        done = 0

        def advance(n: int, asset: str = asset, total: int = total) -> None:
            nonlocal done
            done += n
            on_progress(asset, min(done, total), total)

        on_progress(asset, 0, total)
        with progress(advance):
            failed = [
                reason for keys in ranges if (reason := _run(instance, asset, *keys, again=again))
            ]
        if failed:
            raise TippersError(
                f"{len(failed)} of {len(ranges)} runs of {asset} failed. First: {failed[0]}",
                "Dagster's UI (`tippers up`) has their logs. Partitions that succeeded are kept; "
                "run this again for the others.",
            )
        stages.append(Stage(asset, total, len(ranges), time.monotonic() - began))
    return stages


@dataclass(frozen=True)
class _Part:
    """The part of the grid to compute."""

    settings: Settings
    space: str | None
    start: dt.date | None
    end: dt.date | None
    again: bool

    def wanted(self, state: State, level: Level) -> np.ndarray:
        """bool [spaces, chunks]: the partitions to compute."""
        rows = np.ones(len(level.spaces), bool)
        if self.space is not None and level.asset in COUNTS:
            inside = set(state.grid.tree.subtree(self.space))
            rows = np.array([s in inside for s in level.spaces], bool)
        columns = np.array([self._in_range(chunk) for chunk in level.chunks], bool)
        return np.outer(rows, columns) & (level.stale | self.again) & ~level.sealed

    def chunks(self, grid: Grid) -> list[str]:
        """The tracked chunks of this part."""
        return [chunk for chunk in grid.chunks if self._in_range(chunk)]

    def _in_range(self, chunk: str) -> bool:
        first, end = chunk_bounds(chunk, self.settings.chunk)
        return (self.start is None or end > self.start) and (self.end is None or first < self.end)


def _wait_until_free(
    instance: dg.DagsterInstance, asset: str, part: _Part
) -> tuple[Snapshot, np.ndarray]:
    """The wanted partitions, once no other process is computing any of them.

    Queued runs are not waited for, as there may be no daemon to start them; if one does, they skip
    partitions that are fresh by then.
    """
    queued = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
    while True:
        snapshot = Snapshot.take(instance)
        level = snapshot.state.level(asset)
        wanted = part.wanted(snapshot.state, level)
        active = replace(snapshot, runs=[r for r in snapshot.runs if r.status not in queued])
        if not (wanted & active.being_computed(level)).any():
            return snapshot, wanted
        fail_dead_runs(part.settings, instance)
        time.sleep(POLL_SECONDS)


def _run(
    instance: dg.DagsterInstance, asset: str, first: str, last: str, *, again: bool
) -> str | None:
    """Materialize a range of partitions; returns why it failed, or None."""
    assets = [a for a in DEFINED if a.key.to_user_string() == asset]
    tags = {RANGE_START_TAG: first, RANGE_END_TAG: last}
    if not again:
        tags[STALE_ONLY_TAG] = "true"
    result = materialize_in_process(get_settings(), instance, assets, [dg.AssetKey(asset)], tags)
    return None if result.success else f"{result.run_id}: {failure_reason(result)}"


def _key_ranges(snapshot: Snapshot, level: Level, wanted: np.ndarray) -> list[tuple[str, str]]:
    """First and last keys of the ranges that cover the wanted partitions."""
    rows, columns = snapshot.keys[level.asset]
    row_at = {s: i for i, s in enumerate(level.spaces)}
    column_at = {c: i for i, c in enumerate(level.chunks)}
    order = np.ix_([row_at[s] for s in rows], [column_at[c] for c in columns])
    ordered = wanted[order]
    if not ordered.any():
        return []

    def corner(row: int, column: int) -> str:
        return partition_key(level.asset, rows[row], columns[column])

    def ends(r: Rectangle) -> tuple[str, str]:
        return corner(r.top, r.left), corner(r.bottom - 1, r.right - 1)

    # Ranges may also include fresh partitions, whose inputs exist. Those of sealed chunks do not.
    allowed = ordered | (level.fresh & ~level.sealed)[order]
    found = pack(ordered, allowed, largest=snapshot.settings.max_partitions_per_run)
    return [ends(rectangle) for rectangle in found]
