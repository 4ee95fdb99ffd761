"""What is recorded of the log in the lake, by time chunk: what labelling reads, and depends on.

A chunk's fingerprint follows from its rows alone. A chunk that was extracted again with the same
rows keeps it, so that nothing that reads the log is computed again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.automation.nodes import Node, Table, digest
from tippers_dagster.calendar.periods import PeriodKind
from tippers_dagster.calendar.tables import academic_period
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.spaces.tables import grid, tracking
from tippers_dagster.catalog.window import EVERYTHING, Span, Window, window_spans
from tippers_dagster.errors import EnvironmentFault
from tippers_dagster.occupancy.state import COUNTS, DERIVED, SESSIONS
from tippers_dagster.occupancy.tables import partition_figures, replacing, sealed_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


class LogOutdated(EnvironmentFault):
    """Sessions of the previous version are still to be extracted again."""


def recorded_chunks(settings: Settings, assets: Sequence[str]) -> dict[str, str]:
    """The recorded chunks of assets, in order, with their fingerprints.

    Raises
    ------
    LogOutdated
        Sessions were extracted by a version whose files labelling cannot read.
    """
    with warehouse_engine(settings).connect() as connection:
        found = {row.chunk: row.fingerprint for row in connection.execute(sa.text(_query(assets)))}
    outdated = [chunk for chunk, fingerprint in found.items() if fingerprint is None]
    if outdated:
        raise LogOutdated(
            f"The sessions of {len(outdated)} chunks were extracted by a previous version, "
            f"first those of {outdated[0]}.",
            "Automation extracts them again. `tippers occupancy status` shows how far it is.",
        )
    return found


def void_chunks(settings: Settings, assets: Sequence[str]) -> set[str]:
    """The chunks of which a run is replacing files of these assets."""
    query = sa.select(replacing.c.chunk).where(replacing.c.asset.in_(assets))
    with warehouse_engine(settings).connect() as connection:
        return set(connection.scalars(query))


# --- windows ------------------------------------------------------------------------------------
def spans_of(connection: sa.Connection, window: Window, until: dt.date | None = None) -> list[Span]:
    """The chunks of a window with sessions in the lake, in order; none without such a term.

    ``until``: for a past window, the date by which it ends.
    """
    query = (
        f"SELECT log.chunk, {grid.c.chunk} AS size, figures.rows FROM {grid}, "
        f"({_query((SESSIONS,))}) AS log "
        f"JOIN {partition_figures} AS figures ON figures.chunk = log.chunk "
        f"AND figures.asset = '{SESSIONS}' ORDER BY log.chunk"
    )
    found = connection.execute(sa.text(query))
    log = [Span(chunk, *chunk_bounds(chunk, size), empty=not rows) for chunk, size, rows in found]
    p = academic_period.c
    terms = sa.select(p.start_date, p.end_date).where(p.kind == PeriodKind.QUARTER)
    dates = [(start, end) for start, end in connection.execute(terms)]
    return window_spans(window, log, dates, until)


@dataclass(frozen=True)
class _WindowToken:
    """A text that changes with the chunks of a window, and with the rows of each."""

    assets: tuple[str, ...]
    window: Window

    def __call__(self, connection: sa.Connection) -> str:
        prints = {
            row.chunk: row.fingerprint for row in connection.execute(sa.text(_query(self.assets)))
        }
        chunks = [span.chunk for span in spans_of(connection, self.window)]
        return digest(*(f"{chunk} {prints.get(chunk)}" for chunk in chunks)) if chunks else ""


def log_node(asset: str, window: Window = EVERYTHING) -> Node:
    """An asset as a source of definitions; its token changes with the rows of any chunk.

    With a window, only those of the window's chunks count.
    """
    figures = str(partition_figures.schema), partition_figures.name
    if not window.is_everything:
        assets = COUNTS if asset == DERIVED else (asset,)
        return Node((asset, window.tag), source=Table(*figures, _WindowToken(assets, window)))
    token = (
        "SELECT md5(string_agg(concat_ws(' ', chunk, fingerprint), ',' ORDER BY chunk)) "
        f"FROM ({_query((asset,))}) AS chunks"
    )
    return Node((asset,), source=Table(*figures, token))


def _query(assets: Sequence[str]) -> str:
    """Chunks with one fingerprint each; null for sessions without one of their log.

    The log is that of tracked dates, of which not only the counts are kept. Counts are all counts.
    """
    names = ", ".join(f"'{asset}'" for asset in assets)
    counts = ", ".join(f"'{asset}'" for asset in COUNTS)
    in_log = (
        f"chunk NOT IN (SELECT chunk FROM {sealed_chunk}) AND EXISTS "
        f"(SELECT FROM {tracking}, {grid} WHERE end_date > figures.chunk::date "
        "AND start_date < figures.chunk::date + ('1 ' || grid.chunk)::interval)"
    )
    return (
        "SELECT chunk, CASE WHEN count(*) = count(print) THEN md5(string_agg("
        "concat_ws(' ', asset, space, print), ',' ORDER BY asset, space)) END AS fingerprint "
        f"FROM (SELECT *, CASE WHEN asset = '{SESSIONS}' THEN log_fingerprint "
        f"ELSE output_fingerprint END AS print FROM {partition_figures}) AS figures "
        f"WHERE asset IN ({names}) AND (asset IN ({counts}) OR ({in_log})) "
        "GROUP BY chunk ORDER BY chunk"
    )
