"""Why a run failed, from Dagster's events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, EventLogEntry


def failure_reason(settings: Settings, instance: DagsterInstance, run_id: str) -> str:
    """The messages of a run's failed steps, else of the run itself; empty if there are none."""
    from dagster import DagsterEventType

    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    found = instance.get_records_for_run(run_id, of_type=kinds, limit=20)
    entries = [record.event_log_entry for record in found.records]
    steps = [e for e in entries if e.get_dagster_event().is_step_failure]
    return "\n".join(_failure(settings, entry) for entry in (steps or entries)[:3])


def _failure(settings: Settings, entry: EventLogEntry) -> str:
    event = entry.get_dagster_event()
    message = entry.user_message or entry.message
    if event.is_step_failure:
        data = event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        cause = data.error
        while cause is not None and cause.cause is not None:
            cause = cause.cause
        reason = described or (cause.message if cause is not None else message)
        message = f"{entry.step_key}: {reason.strip()}"
    return redact(message, settings)
