"""Checks the source for changes: which chunks' rows differ from those that were counted.

Under the daemon the observer does this regularly. Commands do it too, as no daemon may be running:
an ingest checks the chunks that it affected, a computation all its chunks, and a status as many as
can be checked quickly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa

from tippers_dagster.campus.local_time import chunk_bounds, chunk_key
from tippers_dagster.campus.source.observed import Observed
from tippers_dagster.campus.source.read import source_snapshot
from tippers_dagster.campus.spaces.tracking import list_tracked, wanted_grid
from tippers_dagster.campus.spaces.tree import NoSpaces, load_tree
from tippers_dagster.occupancy.records import record_observed
from tippers_dagster.occupancy.sessions import consecutive
from tippers_dagster.occupancy.tables import (
    partition_figures,
    replacing,
    sealed_chunk,
    source_chunk,
)
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

QUICK_ROWS = 2_000_000
"""Checking this many rows takes about two seconds."""


def observe(settings: Settings, chunks: list[str]) -> dict[str, Observed]:
    """Fingerprint chunks in the source, with one index range scan per run of adjacent chunks, and
    record the fingerprints.
    """
    observed: dict[str, Observed] = {}
    since = dt.datetime.now(dt.UTC)
    for run in consecutive(sorted(chunks), settings):
        span = chunk_bounds(run[0], settings.chunk)[0], chunk_bounds(run[-1], settings.chunk)[1]
        with source_snapshot(settings) as source:
            observed |= source.observe(span, run)
    with warehouse_engine(settings).begin() as connection:
        record_observed(connection, observed, since)
    return observed


@dataclass(frozen=True)
class SourceCheck:
    """The result of checking the source.

    ``looked_at`` are the chunks whose rows were checked, ``changed`` those of them whose rows have
    changed; ``skipped`` are computed chunks that are left to a later check.
    """

    looked_at: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def check_dates(settings: Settings, dates: Iterable[dt.date]) -> SourceCheck:
    """Check the tracked and computed chunks that contain any of these local dates."""
    touched = {chunk_key(date, settings.chunk) for date in dates}
    if not touched:
        return SourceCheck()
    return _check(settings, sorted(touched.intersection(_computed(settings))))


def check_chunks(settings: Settings, chunks: Iterable[str]) -> SourceCheck:
    """Check the chunks that are tracked and computed, and ignore the others."""
    return _check(settings, sorted(set(chunks).intersection(_computed(settings))))


def check_quickly(settings: Settings, now: dt.datetime) -> SourceCheck:
    """Check tracked and computed chunks that have not just been checked, within a budget.

    The newest chunks come first, then those not checked for the longest time, until their last
    known numbers of rows add up to ``QUICK_ROWS``.
    """
    computed = _computed(settings)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(sa.select(source_chunk)).all()
    seen = {row.chunk: row for row in rows}
    just_now = now - dt.timedelta(seconds=settings.observe_recent_seconds)
    waiting = [c for c in computed if c not in seen or seen[c].observed_at < just_now]
    recent = waiting[max(0, len(waiting) - settings.observe_recent_chunks) :]
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    older = sorted(
        waiting[: len(waiting) - len(recent)],
        key=lambda c: seen[c].observed_at if c in seen else never,
    )
    chosen: list[str] = []
    total = 0
    for chunk in (*recent, *older):
        total += seen[chunk].rows if chunk in seen else 0
        if total > QUICK_ROWS and chosen:
            break
        chosen.append(chunk)
    found = _check(settings, sorted(chosen))
    return SourceCheck(found.looked_at, found.changed, sorted(set(waiting).difference(chosen)))


def last_checked(settings: Settings) -> tuple[dt.datetime, dt.datetime] | None:
    """The earliest and the latest time at which a computed chunk was last checked."""
    computed = _computed(settings)
    query = sa.select(
        sa.func.min(source_chunk.c.observed_at), sa.func.max(source_chunk.c.observed_at)
    )
    with warehouse_engine(settings).connect() as connection:
        first, last = connection.execute(query.where(source_chunk.c.chunk.in_(computed))).one()
    return None if first is None else (first, last)


def due(
    settings: Settings, chunks: list[str], now: dt.datetime, older: int | None = None
) -> list[str]:
    """The tracked chunks that the observer checks in this round.

    These are computed chunks not observed since they were tracked again, the newest few, and those
    of the older ones whose last observation is longest ago. A chunk that was never computed needs
    no check, as its run reads the fingerprint together with the rows; nor does a sealed chunk.

    ``older``: how many of the older ones, in place of ``settings.observe_older_chunks``.
    """
    older = settings.observe_older_chunks if older is None else older
    with warehouse_engine(settings).connect() as connection:
        seen = dict(
            connection.execute(sa.select(source_chunk.c.chunk, source_chunk.c.observed_at)).all()
        )
        computed = _computed_chunks(connection)
    started = [chunk for chunk in chunks if chunk <= now.date().isoformat() and chunk in computed]
    recent = started[len(started) - settings.observe_recent_chunks :]
    unseen = [chunk for chunk in started if chunk not in seen]
    others = sorted((c for c in started if c in seen and c not in recent), key=lambda c: seen[c])
    return sorted({*recent, *unseen, *others[:older]})


def computed_among(settings: Settings, chunks: Iterable[str]) -> list[str]:
    """Those of the chunks that are not sealed and whose sessions are computed or being read."""
    reading = sa.select(replacing.c.chunk).where(replacing.c.asset == "sessions")
    with warehouse_engine(settings).connect() as connection:
        computed = _computed_chunks(connection).union(connection.scalars(reading))
        return sorted(computed.intersection(chunks))


def fingerprints(settings: Settings, chunks: list[str]) -> dict[str, int]:
    """The last observed fingerprint of each chunk."""
    query = sa.select(source_chunk.c.chunk, source_chunk.c.fingerprint)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query.where(source_chunk.c.chunk.in_(chunks))).all()
    return {chunk: fingerprint % 2**64 for chunk, fingerprint in rows}


def _check(settings: Settings, chunks: list[str]) -> SourceCheck:
    if not chunks:
        return SourceCheck()
    before = fingerprints(settings, chunks)
    now = observe(settings, chunks)
    return SourceCheck(chunks, [c for c in chunks if before.get(c) != now[c].fingerprint])


def _computed(settings: Settings) -> list[str]:
    """The tracked chunks whose sessions are computed and not sealed, in order."""
    if not list_tracked(settings):
        return []
    with warehouse_engine(settings).connect() as connection:
        computed = _computed_chunks(connection)
    if not computed:
        return []
    try:
        return [c for c in wanted_grid(settings, load_tree(settings)).chunks if c in computed]
    except NoSpaces:
        return []


def _computed_chunks(connection: sa.Connection) -> set[str]:
    computed = connection.scalars(
        sa.select(partition_figures.c.chunk).where(partition_figures.c.asset == "sessions")
    )
    return set(computed).difference(connection.scalars(sa.select(sealed_chunk.c.chunk)))
