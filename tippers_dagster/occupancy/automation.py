"""The sensor that requests runs.

Dagster evaluates the assets' conditions as usual. In place of the runs and backfills of a few
partitions each that it would then start, few runs compute everything that is stale in their chunks.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np
import sqlalchemy as sa

from tippers_dagster.automation.ticks import SnapshotSensor
from tippers_dagster.campus.local_time import chunk_key
from tippers_dagster.campus.spaces.tracking import list_tracked
from tippers_dagster.occupancy.packing import ranges
from tippers_dagster.occupancy.partitions import dagster_keys, partition_key, split_key
from tippers_dagster.occupancy.records import expected_seconds, record_attempts
from tippers_dagster.occupancy.reporting import report_missing
from tippers_dagster.occupancy.runs import (
    ONE_KEY_TAG,
    ONWARD_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    active_runs,
)
from tippers_dagster.occupancy.snapshot import Snapshot
from tippers_dagster.occupancy.state import ASSETS, SESSIONS, Level
from tippers_dagster.platform.dagster.internals import skipped_tick, tick_result
from tippers_dagster.platform.dagster.run_queue import LIVE_TAGS
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
    """Requests one run for all that a change makes stale.

    Dagster itself would start one run per asset and key of the smaller of two dimensions.
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
        missing = report_missing(settings, context.instance)
        if missing:
            context.log.info(f"Materializations reported that Dagster lacked: {missing}.")
        snapshot = Snapshot.take(context.instance)
        data = self.evaluated(context, snapshot)
        if dagster_keys(context.instance) != snapshot.keys:
            # Requested partitions may be missing from the snapshot. The conditions are levels:
            # nothing is lost, the next tick requests them again.
            return skipped_tick(context, "The tracked partitions changed during this tick.")
        requests = pack_requests(snapshot, data.run_requests or [])
        _idle.remember(seen, quiet=not (requests or missing or _retries_due(snapshot)))
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
    """The same partitions in few runs, each of which goes on to what follows from them.

    A chunk is the work of one run: it begins with the first asset of which partitions are
    requested. The live chunks go first, in a run of their own, then the others from the newest on.
    Each run counts as an attempt at all partitions that are due in its chunks.
    """
    given = _by_asset(requests)
    wanted = {asset: _requested(snapshot.keys[asset], asset, given[asset]) for asset in given}
    if not wanted:
        return []
    chunks = _Chunks.of(snapshot, wanted)
    found = ranges(
        chunks.kinds,
        chunks.sizes,
        chunks.passable,
        largest=snapshot.settings.max_partitions_per_run,
    )
    found.sort(key=lambda r: (chunks.live[r[0]], max(chunks.keys[slice(*r)])), reverse=True)
    now = dt.datetime.now(dt.UTC)
    taken = found[:RUNS_PER_TICK]
    attempted = np.zeros(len(chunks.keys), bool)
    for first, end in taken:
        attempted[first:end] = True
    engine = warehouse_engine(snapshot.settings)
    for asset in wanted:
        # All that are due, as not all of many are named: a run that dies was an attempt at each.
        level = snapshot.state.level(asset)
        chosen = np.isin(level.chunks, [chunks.keys[j] for j in np.flatnonzero(attempted)])
        record_attempts(engine, level, snapshot.due(level) & chosen, now)
    return [_request(snapshot, chunks, wanted, slice(*r), given, now) for r in taken]


@dataclass(frozen=True, eq=False)
class _Chunks:
    """The tracked chunks in the order of Dagster's keys.

    Attributes
    ----------
    starts
        The first asset of which partitions are requested, by its place in ``ASSETS``; or -1.
    kinds
        What tells chunks that one run may take together; None where nothing is requested.
    sizes
        How many partitions a run of the chunk may compute.
    passable
        A run may cover the chunk although nothing of it is requested.
    live
        Sessions are still arriving.
    """

    keys: list[str]
    starts: np.ndarray
    kinds: Sequence[Hashable | None]
    sizes: list[int]
    passable: list[bool]
    live: list[bool]

    @classmethod
    def of(cls, snapshot: Snapshot, wanted: dict[str, np.ndarray]) -> Self:
        keys = snapshot.keys[SESSIONS][1]
        starts = np.full(len(keys), -1)
        sizes, retried, busy = np.zeros(len(keys), np.int64), starts > 0, starts > 0
        for i in reversed(range(len(ASSETS))):
            level = snapshot.state.level(ASSETS[i])
            order = _order(snapshot, level)
            busy |= snapshot.being_computed(level)[order].any(axis=0)
            sizes += level.stale[order].sum(axis=0)
            if (mask := wanted.get(level.asset)) is not None:
                starts[mask.any(axis=0)] = i
                retried |= (snapshot.due(level) & (level.tries > 0))[order].any(axis=0)
        everything = sum(level.stale.shape[0] for level in snapshot.state.levels)
        # What new sessions make stale is not known before they are read.
        sizes[starts == ASSETS.index(SESSIONS)] = everything
        now_live = _live_chunks(snapshot.settings)
        live = [chunk in now_live for chunk in keys]
        # A chunk that has failed must not fail its neighbours.
        kinds = [
            None if start < 0 else ("retried", i) if again else (start, now)
            for i, (start, again, now) in enumerate(
                zip(starts.tolist(), retried, live, strict=True)
            )
        ]
        passable = [not (one or now) for one, now in zip(busy, live, strict=True)]
        return cls(keys, starts, kinds, sizes.tolist(), passable, live)


def _live_chunks(settings: Settings) -> set[str]:
    """Today's chunk and yesterday's, whose last sessions may arrive late."""
    today = dt.datetime.now(ZoneInfo(settings.timezone)).date()
    return {chunk_key(today - dt.timedelta(days=n), settings.chunk) for n in (0, 1)}


def _request(
    snapshot: Snapshot,
    chunks: _Chunks,
    wanted: dict[str, np.ndarray],
    covered: slice,
    given: dict[str, list[dg.RunRequest]],
    now: dt.datetime,
) -> dg.RunRequest:
    settings = snapshot.settings
    following = ASSETS[chunks.starts[covered].max() :]
    asset = following[0]
    rows = np.flatnonzero(wanted[asset][:, covered].any(axis=1))
    spaces = snapshot.keys[asset][0]
    corners = ((spaces[rows[0]], covered.start), (spaces[rows[-1]], covered.stop - 1))
    first, last = (partition_key(asset, space, chunks.keys[i]) for space, i in corners)
    engine = warehouse_engine(settings)
    columns = covered.stop - covered.start
    history = sum(
        expected_seconds(engine, one, len(snapshot.keys[one][0]) * columns) or 0
        for one in following
    )
    deadline = max(settings.deadline_floor_seconds, history * settings.deadline_factor)
    like = given[asset][0]
    tags = {k: v for k, v in like.tags.items() if k not in (ONE_KEY_TAG, *_DIMENSION_TAGS)}
    return dg.RunRequest(
        asset_selection=like.asset_selection,
        asset_check_keys=like.asset_check_keys,
        tags={
            **tags,
            RANGE_START_TAG: first,
            RANGE_END_TAG: last,
            ONWARD_TAG: repr(now.timestamp()),
            **(LIVE_TAGS if chunks.live[covered.start] else {}),
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


def _requested(
    keys: tuple[list[str], list[str]], asset: str, requests: list[dg.RunRequest]
) -> np.ndarray:
    """bool [spaces, chunks] in the order of Dagster's keys: what Dagster's requests cover."""
    row = {space: i for i, space in enumerate(keys[0])}
    column = {chunk: i for i, chunk in enumerate(keys[1])}
    wanted = np.zeros((len(row), len(column)), bool)
    for request in requests:
        first = (
            request.tags.get(RANGE_START_TAG) or request.partition_key or request.tags[ONE_KEY_TAG]
        )
        last = request.tags.get(RANGE_END_TAG) or first
        (top, left), (bottom, right) = split_key(asset, first), split_key(asset, last)
        wanted[row[top] : row[bottom] + 1, column[left] : column[right] + 1] = True
    return wanted


def _order(snapshot: Snapshot, level: Level) -> tuple[np.ndarray, ...]:
    """Index that brings an array of a level into the order of Dagster's keys."""
    rows, columns = snapshot.keys[level.asset]
    row_at = {space: i for i, space in enumerate(level.spaces)}
    column_at = {chunk: i for i, chunk in enumerate(level.chunks)}
    return np.ix_(
        np.array([row_at[space] for space in rows], np.int64),
        np.array([column_at[chunk] for chunk in columns], np.int64),
    )


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
