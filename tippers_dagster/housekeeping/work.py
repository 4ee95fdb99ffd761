"""What is deleted of the past, and when."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tippers_dagster.housekeeping.mlflow_runs import delete_old_runs
from tippers_dagster.occupancy.reporting import mark_lost
from tippers_dagster.occupancy.runs import ONWARD_TAG
from tippers_dagster.occupancy.state import ASSETS
from tippers_dagster.occupancy.tables import run_duration
from tippers_dagster.platform.dagster.environment import dagster_environment, dagster_instance
from tippers_dagster.platform.dagster.past import Past
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

KEPT_DURATIONS = 50
"""Of each asset; deadlines are judged by as many."""


@dataclass(frozen=True)
class Deleted:
    """Numbers of what was deleted."""

    events: int
    runs: int
    folders: int
    ticks: int
    evaluations: int
    backfills: int
    snapshots: int
    durations: int
    mlflow_runs: int


def clean_up(settings: Settings, now: dt.datetime) -> Deleted:
    """Delete what is older than the settings keep it.

    Events of partitions that have later ones, runs of occupancy's automation that succeeded, ticks
    that requested nothing and evaluations are kept for hours: a live campus makes hundreds of
    megabytes of them a day. Everything else of the past is kept for days.

    Partitions whose materializations Dagster has lost meanwhile are reported on the next tick.
    """
    hours = now - dt.timedelta(hours=settings.keep_events_hours)
    days = now - dt.timedelta(days=settings.keep_runs_days)
    past = Past(databases(settings).dagster)
    with dagster_instance(settings) as instance:
        mark_lost(settings, instance)
    runs = past.delete_runs(hours, succeeded_with_tag=ONWARD_TAG) + past.delete_runs(days)
    storage = Path(dagster_environment(settings)["DAGSTER_HOME"]) / "storage"
    return Deleted(
        events=past.delete_superseded_events(hours, ASSETS),
        runs=runs,
        folders=past.delete_folders(storage, hours),
        ticks=past.delete_ticks(hours, ["SKIPPED"])
        + past.delete_ticks(days, ["SUCCESS", "FAILURE", "SKIPPED"]),
        evaluations=past.delete_evaluations(hours),
        backfills=past.delete_backfills(days),
        snapshots=past.delete_snapshots(),
        durations=_delete_durations(settings, days),
        mlflow_runs=delete_old_runs(settings, days),
    )


def _delete_durations(settings: Settings, before: dt.datetime) -> int:
    d = run_duration.c
    rank = sa.func.row_number().over(partition_by=d.asset, order_by=d.finished_at.desc())
    ranked = sa.select(d.run_id, d.asset, d.finished_at, rank.label("rank")).subquery()
    old = sa.select(ranked.c.run_id, ranked.c.asset).where(
        ranked.c.rank > KEPT_DURATIONS, ranked.c.finished_at < before
    )
    query = sa.delete(run_duration).where(sa.tuple_(d.run_id, d.asset).in_(old))
    with warehouse_engine(settings).begin() as connection:
        return connection.execute(query).rowcount
