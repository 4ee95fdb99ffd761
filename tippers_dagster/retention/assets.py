"""The retention asset, which deletes old presence once a day."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tippers_dagster.automation.specs import check_result, check_specs
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.platform.locks.locks import hold_run_lock
from tippers_dagster.retention.work import delete_due, last_day
from tippers_dagster.settings import Settings, get_settings

NAME = "presence_retention"
KEY = dg.AssetKey(NAME)
NOTHING_HELD = "nothing_held_back"
NO_LATE = "no_late_sessions"
CHECKS = {
    NOTHING_HELD: "No chunk keeps its presence for longer than TIPPERS_PRESENCE_DAYS because its "
    "counts are not up to date.",
    NO_LATE: "The source has no rows in sealed chunks that were not counted.",
}


@dg.multi_asset(
    name=NAME,
    specs=[
        dg.AssetSpec(
            KEY,
            deps=[SOURCE, DERIVED],
            group_name="occupancy",
            owners=["team:platform"],
            kinds={"python", "postgres"},
            description="One row per sealed time chunk, of which only counts are kept: its "
            "sessions and presence are deleted TIPPERS_PRESENCE_DAYS after it ended, once all "
            "counts made from them are up to date.",
        )
    ],
    check_specs=check_specs(KEY, CHECKS),
)
def presence_retention(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """One row per sealed time chunk, of which only counts are kept."""
    settings = get_settings()
    hold_run_lock(settings, context.run.run_id)
    outcome = delete_due(settings, context.log)
    until = last_day(settings)
    yield check_result(KEY, NOTHING_HELD, not outcome.held, {"held_back": outcome.held})
    yield check_result(KEY, NO_LATE, not outcome.late, {"rows_not_counted": outcome.late})
    yield dg.MaterializeResult(
        asset_key=KEY,
        metadata={
            "presence_days": settings.presence_days or "not set: nothing is deleted",
            "ended_by": str(until or ""),
            "chunks_sealed": outcome.sealed,
            "files_deleted": outcome.files,
            "mac_addresses_blanked": outcome.blanked,
            "addresses_forgotten": outcome.forgotten,
        },
    )


def retention_definitions(settings: Settings) -> dg.Definitions:
    """The asset, and its daily schedule, which is on if a retention time is set."""
    status = dg.DefaultScheduleStatus
    schedule = dg.ScheduleDefinition(
        name=NAME,
        target=dg.AssetSelection.assets(KEY),
        cron_schedule="30 3 * * *",
        execution_timezone=settings.timezone,
        default_status=status.STOPPED if settings.presence_days is None else status.RUNNING,
        description="Deletes sessions and presence older than TIPPERS_PRESENCE_DAYS.",
    )
    return dg.Definitions(assets=[presence_retention], schedules=[schedule])
