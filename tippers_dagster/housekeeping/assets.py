"""The housekeeping asset, and its schedule."""

import datetime as dt
from dataclasses import asdict
from typing import Any

import dagster as dg

from tippers_dagster.housekeeping.work import clean_up
from tippers_dagster.platform.locks.locks import advisory_locks, hold_run_lock
from tippers_dagster.settings import Settings, get_settings

NAME = "housekeeping"
KEY = dg.AssetKey(NAME)


@dg.asset(
    key=KEY,
    group_name="operations",
    owners=["team:platform"],
    kinds={"python", "postgres"},
    description="What runs leave behind, deleted after TIPPERS_KEEP_EVENTS_HOURS and "
    "TIPPERS_KEEP_RUNS_DAYS: events of partitions that have later ones, runs and their folders, "
    "ticks, and MLflow runs. The latest of every asset and partition stays.",
)
def housekeeping(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    """Delete what is older than the settings keep it."""
    settings = get_settings()
    hold_run_lock(settings, context.run.run_id)
    with advisory_locks(settings, [NAME], context.log):
        deleted = clean_up(settings, dt.datetime.now(dt.UTC))
    return dg.MaterializeResult(
        metadata={f"{name}_deleted": number for name, number in asdict(deleted).items()}
    )


def housekeeping_definitions(settings: Settings) -> dg.Definitions:
    """The asset, and its hourly schedule, which is on from the start."""
    schedule = dg.ScheduleDefinition(
        name=NAME,
        target=dg.AssetSelection.assets(KEY),
        cron_schedule="20 * * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Deletes old events, runs, ticks and MLflow runs every hour.",
    )
    return dg.Definitions(assets=[housekeeping], schedules=[schedule])
