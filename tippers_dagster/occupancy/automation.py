"""The sensor that requests runs.

Dagster evaluates the assets' conditions as usual. The runs and backfills of a few partitions each
that it would then start are packed into few runs of many partitions.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import sqlalchemy as sa

from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.automation.ticks import SnapshotSensor
from tippers_dagster.campus.spaces.tracking import list_tracked
from tippers_dagster.occupancy.packing import Rectangle, by_column, pack
from tippers_dagster.occupancy.partitions import dagster_keys, partition_key, split_key
from tippers_dagster.occupancy.records import expected_seconds, record_attempts
from tippers_dagster.occupancy.runs import (
    ONE_KEY_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    active_runs,
)
from tippers_dagster.occupancy.snapshot import Snapshot
from tippers_dagster.occupancy.state import ASSETS, Level
from tippers_dagster.platform.dagster.internals import skipped_tick, tick_result
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import SensorExecutionData

RUNS_PER_TICK = 12
"""The rest is requested on the next ticks."""

UP_TO_DATE = "All tracked partitions are up to date, running or waiting for a retry."

PATIENCE_SECONDS = 4.0
"""While a run is active, a tick waits this long for it to end: the daemon's own loop would check
again only five seconds later, for every level."""

FULL_EVALUATION_SECONDS = 60
"""Changes that no table of ours shows, such as materializations wiped in the UI, are noticed after
at most this long."""


class PackedSensor(SnapshotSensor):
    """Packs the requested partitions into rectangles, each of which is one run.

    Dagster itself would start one run per key of the smaller of two dimensions.
    """

    def reason_to_skip(self, settings: Settings) -> str | None:
        """Nothing to do until a space is tracked."""
        return None if list_tracked(settings) else "Nothing is tracked."

    def decide(
        self, settings: Settings, context: dg.SensorEvaluationContext
    ) -> SensorExecutionData:
        """Evaluate the conditions on one snapshot, and pack the partitions that they request."""
        seen = _idle.wait_for_change(settings, context.instance)
        if seen is None:
            return skipped_tick(context, "Nothing changed.")
        snapshot = Snapshot.take(context.instance)
        data = self.evaluated(context, snapshot)
        if dagster_keys(context.instance) != snapshot.keys:
            # Requested partitions may be missing from the snapshot. The conditions are levels:
            # nothing is lost, the next tick requests them again.
            return skipped_tick(context, "The tracked partitions changed during this tick.")
        requests = pack_requests(snapshot, data.run_requests or [])
        _idle.remember(seen, quiet=not requests and not _retries_due(snapshot))
        return tick_result(
            run_requests=requests,
            skip_message=None if requests else UP_TO_DATE,
            cursor=data.cursor,
            log_key=data.log_key,
            automation_condition_evaluations=data.automation_condition_evaluations,
        )


def occupancy_sensor(settings: Settings) -> PackedSensor:
    """The sensor that keeps occupancy up to date. It is on by default."""
    return PackedSensor(
        settings,
        "occupancy_automation",
        [dg.AssetKey(asset) for asset in ASSETS],
        "Computes tracked occupancy that is missing or stale, in as few runs as possible.",
    )


def pack_requests(snapshot: Snapshot, requests: Sequence[dg.RunRequest]) -> list[dg.RunRequest]:
    """The same partitions in few runs; each run counts as an attempt at its partitions."""
    packed: list[dg.RunRequest] = []
    engine = warehouse_engine(snapshot.settings)
    by_asset = _by_asset(requests)
    for asset in sorted(by_asset, key=ASSETS.index):  # counts before what rules read
        given = by_asset[asset]
        level = snapshot.state.level(asset)
        rows, columns = snapshot.keys[asset]
        grid = _Ordered(level, rows, columns)
        wanted = _requested(grid, given)
        rectangles = _rectangles(snapshot, level, grid, wanted)
        taken = rectangles[: RUNS_PER_TICK - len(packed)]
        requested = np.zeros_like(wanted)
        for rectangle in taken:
            requested[rectangle.cells] = True
            packed.append(_request(snapshot.settings, engine, grid, rectangle, given[0]))
        mask = np.zeros(level.stale.shape, bool)
        mask[np.ix_(grid.row_of_level, grid.column_of_level)] = requested & wanted
        if mask.any():
            record_attempts(engine, level, mask)
    return packed


class _Ordered:
    """A level in the order of Dagster's keys, which its ranges follow."""

    def __init__(self, level: Level, rows: list[str], columns: list[str]) -> None:
        self.level, self.rows, self.columns = level, rows, columns
        row_at = {space: i for i, space in enumerate(level.spaces)}
        column_at = {chunk: i for i, chunk in enumerate(level.chunks)}
        self.row_of_level = np.array([row_at[space] for space in rows], np.int64)
        self.column_of_level = np.array([column_at[chunk] for chunk in columns], np.int64)

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        return mask[np.ix_(self.row_of_level, self.column_of_level)]


def _rectangles(
    snapshot: Snapshot, level: Level, grid: _Ordered, wanted: np.ndarray
) -> list[Rectangle]:
    busy = snapshot.being_computed(level)
    held = level.stale & ((level.tries > 0) | (level.held_until > 0))
    allowed = grid(level.ready & ~busy & ~held) | wanted
    retried = wanted & grid(level.tries > 0)
    first = pack(
        wanted & ~retried, allowed & ~retried, largest=snapshot.settings.max_partitions_per_run
    )
    return [*first, *by_column(retried, allowed)]


def _request(
    settings: Settings, engine: sa.Engine, grid: _Ordered, r: Rectangle, like: dg.RunRequest
) -> dg.RunRequest:
    asset = grid.level.asset
    first = partition_key(asset, grid.rows[r.top], grid.columns[r.left])
    last = partition_key(asset, grid.rows[r.bottom - 1], grid.columns[r.right - 1])
    history = expected_seconds(engine, asset, r.size)
    deadline = max(settings.deadline_floor_seconds, (history or 0) * settings.deadline_factor)
    tags = {k: v for k, v in like.tags.items() if k not in (ONE_KEY_TAG, *_DIMENSION_TAGS)}
    return dg.RunRequest(
        asset_selection=like.asset_selection,
        asset_check_keys=like.asset_check_keys,
        tags={
            **tags,
            RANGE_START_TAG: first,
            RANGE_END_TAG: last,
            STALE_ONLY_TAG: "true",
            "dagster/max_runtime": str(int(deadline)),
        },
    )


_DIMENSION_TAGS = ("dagster/partition/space", "dagster/partition/time_chunk")


def _by_asset(requests: Sequence[dg.RunRequest]) -> dict[str, list[dg.RunRequest]]:
    grouped: dict[str, list[dg.RunRequest]] = defaultdict(list)
    for request in requests:
        for key in request.asset_selection or ():
            grouped[key.to_user_string()].append(request)
    return grouped


def _requested(grid: _Ordered, requests: list[dg.RunRequest]) -> np.ndarray:
    """bool [rows, columns]: the partitions that Dagster's requests cover."""
    asset = grid.level.asset
    row = {space: i for i, space in enumerate(grid.rows)}
    column = {chunk: i for i, chunk in enumerate(grid.columns)}
    wanted = np.zeros((len(row), len(column)), bool)
    for request in requests:
        first = (
            request.tags.get(RANGE_START_TAG) or request.partition_key or request.tags[ONE_KEY_TAG]
        )
        last = request.tags.get(RANGE_END_TAG) or first
        (top, left), (bottom, right) = split_key(asset, first), split_key(asset, last)
        wanted[row[top] : row[bottom] + 1, column[left] : column[right] + 1] = True
    return wanted


# --- idle ticks --------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Seen:
    """A value that changes whenever a tick could decide differently."""

    tables: tuple[object, ...]
    runs: frozenset[tuple[str, dg.DagsterRunStatus]]


class _Idle:
    """Remembers the state at the last evaluation that requested nothing, so that an idle tick
    costs two queries.
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None
        self._until = 0.0

    def wait_for_change(self, settings: Settings, instance: dg.DagsterInstance) -> _Seen | None:
        """The state to decide on; None if it is the one that last led to no requests."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            seen = _current(settings, instance)
            if seen != self._seen or time.monotonic() > self._until:
                return seen
            if not seen.runs or time.monotonic() > patience:
                return None
            time.sleep(0.25)

    def remember(self, seen: _Seen, *, quiet: bool) -> None:
        self._seen = seen if quiet else None
        self._until = time.monotonic() + FULL_EVALUATION_SECONDS


_idle = _Idle()


def _current(settings: Settings, instance: dg.DagsterInstance) -> _Seen:
    changes = sa.text(
        "SELECT (SELECT count(*) || ' ' || max(computed_at) FROM tippers.partition_figures), "
        "(SELECT sum(fingerprint) || ' ' || count(*) FROM tippers.source_chunk), "
        "(SELECT string_agg(tracking::text, ' ' ORDER BY 1) FROM tippers.tracking), "
        "(SELECT count(*) || ' ' || max(requested_at) FROM tippers.attempt), "
        "(SELECT count(*) || ' ' || max(since) FROM tippers.replacing)"
    )
    with warehouse_engine(settings).connect() as connection:
        tables = tuple(connection.execute(changes).one())
    runs = frozenset((run.run_id, run.status) for run in active_runs(instance))
    return _Seen(tables, runs)


def _retries_due(snapshot: Snapshot) -> bool:
    """Whether a retry becomes due merely by waiting."""
    settings = snapshot.settings
    return any(
        bool((level.waiting(settings) & (level.tries < settings.max_tries)).any())
        for level in snapshot.state.levels
    )
