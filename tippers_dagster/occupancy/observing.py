"""The observer: checks what has changed at once, recent chunks often and older ones in turn."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, replace

import dagster as dg
from pydantic import TypeAdapter

from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.source.changes import Changes, changes
from tippers_dagster.campus.source.observed import Observed
from tippers_dagster.campus.spaces.tracking import list_tracked, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.source_checks import computed_among, due, fingerprints, observe
from tippers_dagster.settings import Settings, get_settings

MAX_SHARE = 0.2
"""Observing takes at most this share of the time, however often rows change."""


@dataclass(frozen=True)
class Position:
    """Where the observer is, between two ticks. Times are Unix seconds.

    Attributes
    ----------
    source
        The source's answer to the last question for changes.
    polled_at
        When chunks were last checked in turn.
    not_before
        When the next tick may check chunks.
    """

    source: str | None = None
    polled_at: float = 0.0
    not_before: float = 0.0


_POSITION = TypeAdapter(Position)


def observer_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor that checks the source. A chunk that changed gets an observation event."""

    @dg.sensor(
        name="session_source_observer",
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Checks the chunks of the session log in which the source says that rows have "
        "changed, and all others in turn.",
        asset_selection=None,
    )
    def session_source_observer(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        settings = get_settings()
        if not list_tracked(settings):
            return dg.SensorResult(skip_reason="Nothing is tracked.")
        now = time.time()
        position = _position(context.cursor)
        if now < position.not_before:
            return dg.SensorResult(skip_reason="The last check took long.", cursor=context.cursor)
        poll = now - position.polled_at >= settings.observe_recent_seconds
        told = changes(settings, position.source)
        chunks = _chunks(settings, told, poll=poll)
        before = fingerprints(settings, chunks)
        changed = {
            chunk: seen
            for chunk, seen in observe(settings, chunks).items()
            if before.get(chunk) != seen.fingerprint
        }
        took = time.time() - now
        position = replace(
            position,
            source=None if told is None else told.cursor,
            polled_at=now if poll else position.polled_at,
            not_before=now + took / MAX_SHARE if chunks else 0.0,
        )
        return dg.SensorResult(
            asset_events=[_observation(chunk, seen) for chunk, seen in changed.items()],
            skip_reason=f"Chunks checked: {len(chunks)}; changed: {len(changed)}.",
            cursor=_POSITION.dump_json(position).decode(),
        )

    return session_source_observer


def _position(cursor: str | None) -> Position:
    return _POSITION.validate_json(cursor) if cursor else Position()


def _chunks(settings: Settings, told: Changes | None, *, poll: bool) -> list[str]:
    """The chunks to check now: those that changed as the source tells, and if it is time for it,
    those whose turn it is.
    """
    if not poll and (told is None or not told.changed):
        return []
    grid = wanted_grid(settings, load_tree(settings))
    now = dt.datetime.now(dt.UTC)
    chosen = set(due(settings, grid.chunks, now)) if poll else set()
    if told is not None and told.changed and told.days is None:
        chosen.update(due(settings, grid.chunks, now, older=0))
    elif told is not None and told.days:
        touched = [
            chunk
            for chunk in grid.chunks
            if any(_overlaps(chunk_bounds(chunk, settings.chunk), reach) for reach in told.days)
        ]
        chosen.update(computed_among(settings, touched))
    return sorted(chosen)


def _overlaps(bounds: tuple[dt.date, dt.date], reach: tuple[dt.date, dt.date]) -> bool:
    return bounds[0] <= reach[1] and reach[0] < bounds[1]


def _observation(chunk: str, seen: Observed) -> dg.AssetObservation:
    return dg.AssetObservation(
        "session_source",
        partition=chunk,
        metadata={"rows": seen.rows},
        tags={"dagster/data_version": f"{seen.fingerprint:016x}"},
    )
