"""Reads Dagster's queue of runs, its ticks and heartbeats, and the last success of retention."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy as sa

from tippers_dagster.automation.failures import failure_reason
from tippers_dagster.occupancy.runs import UNFINISHED
from tippers_dagster.occupancy.state import ASSETS
from tippers_dagster.occupancy.tables import sealed_chunk
from tippers_dagster.platform.dagster.internals import heartbeat_ages
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.retention.assets import KEY as RETENTION
from tippers_dagster.retention.assets import NOTHING_HELD
from tippers_dagster.settings import Settings
from tippers_dagster.watching.figures import Queue, Retention

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("occupancy", "others")
"""Kinds of runs: of the occupancy assets alone, and all others."""

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)

MAX_FAILED = 20
"""Among so many of the newest failed runs one of occupancy is looked for."""

_WAITING = dg.DagsterRunStatus.QUEUED
_BEFORE = (dg.DagsterRunStatus.NOT_STARTED, _WAITING)


def read_queue(settings: Settings, instance: dg.DagsterInstance) -> Queue:
    """Runs by their state, and the ages of ticks and heartbeats."""
    now = dt.datetime.now(dt.UTC)
    records = instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
    waits = [_age(now, r.create_timestamp) for r in records if r.dagster_run.status is _WAITING]
    running = [r for r in records if r.dagster_run.status not in _BEFORE]
    kinds = Counter(kind_of(record.dagster_run) for record in running)
    return Queue(
        queued=len(waits),
        oldest_wait=max(waits, default=0.0),
        running={kind: kinds[kind] for kind in KINDS},
        longest_run=max((_age(now, _start(record)) for record in running), default=0.0),
        failed_hour=instance.get_runs_count(_failed_since(now - HOUR)),
        failed_day=instance.get_runs_count(_failed_since(now - DAY)),
        ticks=_ticks(instance, now),
        heartbeats={k: max(0.0, v) for k, v in heartbeat_ages(databases(settings).dagster).items()},
    )


def read_retention(settings: Settings, instance: dg.DagsterInstance) -> Retention:
    """When retention last succeeded, and what is sealed."""
    event = instance.get_latest_materialization_event(RETENTION)
    now = dt.datetime.now(dt.UTC).timestamp()
    c = sealed_chunk.c
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.late_rows), 0))
    with warehouse_engine(settings).connect() as connection:
        sealed, late = connection.execute(query.select_from(sealed_chunk)).one()
    return Retention(
        on=settings.presence_days is not None,
        success_age=None if event is None else max(0.0, now - event.timestamp),
        held_back=_held_back(instance),
        sealed=sealed,
        late_rows=int(late),
    )


def _held_back(instance: dg.DagsterInstance) -> int:
    """By the check of the last time; 0 if there was none."""
    check = instance.get_latest_asset_check_evaluation_record(
        dg.AssetCheckKey(RETENTION, NOTHING_HELD)
    )
    event = None if check is None or check.event is None else check.event.dagster_event
    if event is None or event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return 0
    held = event.asset_check_evaluation_data.metadata["held_back"].value
    return len(held) if isinstance(held, dict) else 0


def last_failure(settings: Settings, instance: dg.DagsterInstance) -> str:
    """Why the newest failed run of occupancy failed; empty if that is not known."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    for record in instance.get_run_records(failed, limit=MAX_FAILED):
        if kind_of(record.dagster_run) == "occupancy":
            return failure_reason(settings, instance, record.dagster_run.run_id)
    return ""


def kind_of(run: dg.DagsterRun) -> str:
    """One of ``KINDS``."""
    chosen = {key.to_user_string() for key in run.asset_selection or ()}
    return "occupancy" if chosen and chosen.issubset(ASSETS) else "others"


def _ticks(instance: dg.DagsterInstance, now: dt.datetime) -> Mapping[str, float]:
    """By sensor; a schedule has no tick until its time has come."""
    found = {}
    for state in instance.all_instigator_state():
        last = getattr(state.instigator_data, "last_tick_timestamp", None)
        if last is not None and state.is_running:
            found[state.instigator_name] = max(0.0, now.timestamp() - last)
    return found


def _start(record: dg.RunRecord) -> dt.datetime:
    started = record.start_time
    return (
        record.create_timestamp if started is None else dt.datetime.fromtimestamp(started, dt.UTC)
    )


def _failed_since(time: dt.datetime) -> dg.RunsFilter:
    return dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=time)


def _age(now: dt.datetime, time: dt.datetime) -> float:
    return max(0.0, (now - time).total_seconds())
