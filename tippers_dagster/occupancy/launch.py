"""Materializing in this process: the same assets and runs as the daemon's, without it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
import numpy as np

from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.conditions import Snapshot
from tippers_dagster.occupancy.packing import Rectangle, pack
from tippers_dagster.occupancy.partitions import partition_key
from tippers_dagster.occupancy.runs import RANGE_END_TAG, RANGE_START_TAG, STALE_ONLY_TAG
from tippers_dagster.occupancy.state import ASSETS, Level, State
from tippers_dagster.occupancy.work import progress
from tippers_dagster.settings import Settings
from tippers_dagster.spaces.clock import chunk_keys

Progress = Callable[[str, int, int], None]
"""Called with the asset, the partitions finished, and those to do."""


@dataclass(frozen=True)
class Stage:
    """What materializing one asset took."""

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
    on_progress: Progress = lambda asset, done, total: None,
) -> list[Stage]:
    """Compute all that is missing or stale of the tracked grid, or of a part of it, level by level.

    Parameters
    ----------
    space
        Only this space: its subtree's sessions and presence, and itself with all below it.
    start, end
        Only the chunks that hold a date of [start, end).

    Raises
    ------
    TippersError
        When a run failed; its partitions stay stale, the others are done.
    """
    stages = []
    for asset in ASSETS:
        began = time.monotonic()
        snapshot = Snapshot.take(instance)
        level = snapshot.state.level(asset)
        wanted = level.stale & _part(settings, snapshot.state, level, space, start, end)
        wanted &= ~snapshot.being_computed(level)
        total = int(wanted.sum())
        rectangles = _in_dagsters_order(snapshot, level, wanted)
        done = 0

        def advance(n: int, asset: str = asset, total: int = total) -> None:
            nonlocal done
            done += n
            on_progress(asset, min(done, total), total)

        on_progress(asset, 0, total)
        for first, last in rectangles:
            with progress(advance):
                _run(instance, asset, first, last)
        stages.append(Stage(asset, total, len(rectangles), time.monotonic() - began))
    return stages


def _run(instance: dg.DagsterInstance, asset: str, first: str, last: str) -> None:
    from tippers_dagster.definitions import defs

    assets = [
        a for a in defs().resolve_asset_graph().assets_defs if a.key.to_user_string() == asset
    ]
    result = dg.materialize(
        assets,
        instance=instance,
        tags={RANGE_START_TAG: first, RANGE_END_TAG: last, STALE_ONLY_TAG: "true"},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    if not result.success:
        raise TippersError(
            f"The run {result.run_id} of {asset} failed: {_reason(result)}",
            "Its log is in Dagster's UI (`tippers up`). What succeeded is kept; run this again "
            "for the rest.",
        )


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                cause = failure.error.cause or failure.error
                return cause.message.strip()
    return "see its log"


def _part(
    settings: Settings,
    state: State,
    level: Level,
    space: str | None,
    start: dt.date | None,
    end: dt.date | None,
) -> np.ndarray:
    """bool [spaces, chunks] of what is asked for."""
    rows = np.ones(len(level.spaces), bool)
    if space is not None and level.spaces != [""]:
        inside = set(state.grid.tree.subtree(space))
        rows = np.array([s in inside for s in level.spaces], bool)
    if start is None and end is None:
        columns = np.ones(len(level.chunks), bool)
    else:
        low = start or dt.date.fromisoformat(level.chunks[0])
        high = end or dt.date.fromisoformat(level.chunks[-1]) + dt.timedelta(days=31)
        asked = set(chunk_keys(low, high, settings.chunk))
        columns = np.array([c in asked for c in level.chunks], bool)
    return np.outer(rows, columns)


def _in_dagsters_order(
    snapshot: Snapshot, level: Level, wanted: np.ndarray
) -> list[tuple[str, str]]:
    """First and last keys of the ranges that cover the wanted partitions."""
    rows, columns = snapshot.keys[level.asset]
    row_at = {s: i for i, s in enumerate(level.spaces)}
    column_at = {c: i for i, c in enumerate(level.chunks)}
    order = np.ix_([row_at[s] for s in rows], [column_at[c] for c in columns])
    ordered = wanted[order]
    allowed = ~snapshot.being_computed(level)[order]
    if not ordered.any():
        return []

    def corner(row: int, column: int) -> str:
        return partition_key(level.asset, rows[row], columns[column])

    def ends(r: Rectangle) -> tuple[str, str]:
        return corner(r.top, r.left), corner(r.bottom - 1, r.right - 1)

    found = pack(ordered, allowed, largest=snapshot.settings.max_partitions_per_run)
    return [ends(rectangle) for rectangle in found]
