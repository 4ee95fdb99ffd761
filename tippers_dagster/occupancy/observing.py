"""Looking at the source again: recent chunks often, older ones seldom, never the whole table."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import sqlalchemy as sa

from tippers_dagster.occupancy.records import record_observed
from tippers_dagster.occupancy.sessions import consecutive
from tippers_dagster.occupancy.tables import partition_figures, sealed_chunk, source_chunk
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.source.read import Observed, source_snapshot
from tippers_dagster.spaces.clock import chunk_bounds
from tippers_dagster.spaces.tracking import list_tracked, wanted_grid
from tippers_dagster.spaces.tree import load_tree
from tippers_dagster.warehouse.engine import warehouse_engine


def observe(settings: Settings, chunks: list[str]) -> dict[str, Observed]:
    """Fingerprint chunks in the source, one index range scan per run of neighbours; record them."""
    observed: dict[str, Observed] = {}
    for run in consecutive(sorted(chunks), settings):
        span = chunk_bounds(run[0], settings.chunk)[0], chunk_bounds(run[-1], settings.chunk)[1]
        with source_snapshot(settings) as source:
            observed |= source.observe(span, run)
    with warehouse_engine(settings).begin() as connection:
        record_observed(connection, observed)
    return observed


def due(settings: Settings, chunks: list[str], now: dt.datetime) -> list[str]:
    """Which tracked chunks to look at in this round.

    Those computed but not observed since they were tracked again, the newest few, and of the
    older ones the few whose last observation is longest ago. A chunk that was never computed
    needs none: its run reads the fingerprint together with the rows; nor does a sealed one.
    """
    with warehouse_engine(settings).connect() as connection:
        seen = dict(
            connection.execute(sa.select(source_chunk.c.chunk, source_chunk.c.observed_at)).all()
        )
        computed = set(
            connection.scalars(
                sa.select(partition_figures.c.chunk).where(partition_figures.c.asset == "sessions")
            )
        ).difference(connection.scalars(sa.select(sealed_chunk.c.chunk)))
    began = [chunk for chunk in chunks if chunk <= now.date().isoformat() and chunk in computed]
    recent = began[len(began) - settings.observe_recent_chunks :]
    unseen = [chunk for chunk in began if chunk not in seen]
    older = sorted((c for c in began if c in seen and c not in recent), key=lambda c: seen[c])
    return sorted({*recent, *unseen, *older[: settings.observe_older_chunks]})


def observer_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor that looks at the source. A chunk that changed gets an observation event."""

    @dg.sensor(
        name="session_source_observer",
        minimum_interval_seconds=settings.observe_recent_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fingerprints recent chunks of the source every round, older ones in turn.",
        asset_selection=None,
    )
    def session_source_observer(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        settings = get_settings()
        if not list_tracked(settings):
            return dg.SensorResult(skip_reason="Nothing is tracked.")
        grid = wanted_grid(settings, load_tree(settings))
        chunks = due(settings, grid.chunks, dt.datetime.now(dt.UTC))
        before = _fingerprints(settings, chunks)
        changed = {
            chunk: now
            for chunk, now in observe(settings, chunks).items()
            if before.get(chunk) != now.fingerprint
        }
        return dg.SensorResult(
            asset_events=[_observation(chunk, seen) for chunk, seen in changed.items()],
            skip_reason=f"{len(chunks)} chunks observed, {len(changed)} changed.",
        )

    return session_source_observer


def _fingerprints(settings: Settings, chunks: list[str]) -> dict[str, int]:
    query = sa.select(source_chunk.c.chunk, source_chunk.c.fingerprint)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query.where(source_chunk.c.chunk.in_(chunks))).all()
    return {chunk: fingerprint % 2**64 for chunk, fingerprint in rows}


def _observation(chunk: str, seen: Observed) -> dg.AssetObservation:
    return dg.AssetObservation(
        "session_source",
        partition=chunk,
        metadata={"rows": seen.rows},
        tags={"dagster/data_version": f"{seen.fingerprint:016x}"},
    )
