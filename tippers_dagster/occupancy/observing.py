"""The observer: checks recent chunks often, older ones rarely, never the whole session table."""

from __future__ import annotations

import datetime as dt

import dagster as dg

from tippers_dagster.campus.source.observed import Observed
from tippers_dagster.campus.spaces.tracking import list_tracked, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.source_checks import due, fingerprints, observe
from tippers_dagster.settings import Settings, get_settings


def observer_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor that checks the source. A chunk that changed gets an observation event."""

    @dg.sensor(
        name="session_source_observer",
        minimum_interval_seconds=settings.observe_recent_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Checks recent chunks of the session log for changes in every round, and older "
        "ones in turn.",
        asset_selection=None,
    )
    def session_source_observer(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        settings = get_settings()
        if not list_tracked(settings):
            return dg.SensorResult(skip_reason="Nothing is tracked.")
        grid = wanted_grid(settings, load_tree(settings))
        chunks = due(settings, grid.chunks, dt.datetime.now(dt.UTC))
        before = fingerprints(settings, chunks)
        changed = {
            chunk: now
            for chunk, now in observe(settings, chunks).items()
            if before.get(chunk) != now.fingerprint
        }
        return dg.SensorResult(
            asset_events=[_observation(chunk, seen) for chunk, seen in changed.items()],
            skip_reason=f"Chunks checked: {len(chunks)}; changed: {len(changed)}.",
        )

    return session_source_observer


def _observation(chunk: str, seen: Observed) -> dg.AssetObservation:
    return dg.AssetObservation(
        "session_source",
        partition=chunk,
        metadata={"rows": seen.rows},
        tags={"dagster/data_version": f"{seen.fingerprint:016x}"},
    )
