"""Rows that are not counted, and why: rejected when a file was loaded or when sessions were
extracted from the source. Also spaces that are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.intake.tables import ingested_file, reject
from tippers_dagster.campus.space_ids import LeftOut
from tippers_dagster.campus.spaces.tree import NoSpaces, load_tree
from tippers_dagster.occupancy.sessions import UNDATED, UNKNOWN_SPACE
from tippers_dagster.occupancy.tables import partition_figures, session_reject
from tippers_dagster.platform.table_files import check_writable, open_table
from tippers_dagster.platform.warehouse.engine import arrow_connection, warehouse_engine
from tippers_dagster.settings import Settings

MAX_GROUPS = 100
"""Number of reasons listed per kind, those with the most rows first."""
MAX_SPACES = 20

LOADED, EXTRACTED, LEFT_OUT = "loading", "extraction", "space left out"

SCHEMA = pa.schema(
    {
        "found_at": pa.string(),
        "ingest_id": pa.int64(),
        "file": pa.string(),
        "row_number": pa.int64(),
        "chunk": pa.string(),
        "space_id": pa.string(),
        "reason": pa.string(),
        "row": pa.string(),
    }
)
_ROWS = f"""
    SELECT '{LOADED}' AS found_at, r.ingest_id, f.name AS file, r.row_number,
        NULL::text AS chunk, r.row->>'space_id' AS space_id, r.reason, r.row::text AS row
    FROM tippers.reject r LEFT JOIN tippers.ingested_file f USING (ingest_id)
    UNION ALL
    SELECT '{EXTRACTED}', NULL, NULL, NULL, chunk, space_id, reason,
        coalesce(row, jsonb_build_object('mac_address', mac_address, 'space_id', space_id,
            'start_time', start_time, 'end_time', end_time)::text)
    FROM tippers.session_reject
"""


@dataclass(frozen=True)
class Group:
    """Rejected rows with the same reason, from a file or from the source's chunks [first, last]."""

    reason: str
    rows: int
    example: str
    ingest_id: int | None = None
    file: str | None = None
    first_chunk: str | None = None
    last_chunk: str | None = None


@dataclass(frozen=True)
class Rejects:
    """Rows and spaces that could not be used.

    ``loading`` and ``extraction`` have one group per reason, those with the most rows first.
    ``unknown_spaces`` counts rows rejected at extraction by the unknown space that they name, the
    largest first.
    """

    loading: list[Group]
    extraction: list[Group]
    unknown_spaces: dict[str, int]
    left_out: tuple[LeftOut, ...]

    @property
    def anything(self) -> bool:
        """Whether anything was rejected or left out."""
        return bool(self.loading or self.extraction or self.left_out)


@dataclass(frozen=True)
class Totals:
    """Numbers of rows rejected when loading and when extracting, and of spaces left out."""

    loading: int
    extraction: int
    left_out: int


def rejects(settings: Settings) -> Rejects:
    """Rejected rows by reason, each with an example."""
    with warehouse_engine(settings).connect() as connection:
        return Rejects(
            _of_loading(connection),
            _of_extraction(connection),
            _unknown_spaces(connection),
            left_out(settings),
        )


def totals(settings: Settings) -> Totals:
    """The numbers alone, quickly; for extraction, as recorded with the chunks, and those of which
    no start is known.
    """
    figures = partition_figures.c
    query = sa.select(
        sa.select(sa.func.coalesce(sa.func.sum(ingested_file.c.rejected), 0))
        .where(ingested_file.c.undone_at.is_(None))
        .scalar_subquery(),
        sa.select(sa.func.coalesce(sa.func.sum(figures.rejected), 0))
        .where(figures.asset == "sessions")
        .scalar_subquery(),
        undated(),
    )
    with warehouse_engine(settings).connect() as connection:
        loading, extraction, without_start = connection.execute(query).one()
    return Totals(int(loading), int(extraction) + without_start, len(left_out(settings)))


def undated() -> sa.ScalarSelect[int]:
    """The number of rows rejected when extracting of which no start is known."""
    return sa.select(sa.func.count()).where(session_reject.c.chunk == UNDATED).scalar_subquery()


def left_out(settings: Settings) -> tuple[LeftOut, ...]:
    """The spaces of the source that are left out."""
    try:
        return load_tree(settings).left_out
    except NoSpaces:
        return ()


def write_rejects(settings: Settings, out: Path) -> int:
    """Write all rejected rows to FILE.csv or FILE.parquet, completely or not at all; returns their
    number.

    Columns are those of ``SCHEMA``; ``row`` is JSON. In CSV, text that a spreadsheet would run as a
    formula gets a leading apostrophe.

    Raises
    ------
    BadInput
        If the extension is another, or the file cannot be written.
    """
    check_writable(out)
    written = 0
    with open_table(out, SCHEMA) as write:
        for batch in _batches(settings):
            write(batch)
            written += batch.num_rows
    return written


# --- by reason -----------------------------------------------------------------------------------
def _of_loading(connection: sa.Connection) -> list[Group]:
    r, f = reject.c, ingested_file.c
    groups = (
        sa.select(r.ingest_id, r.reason, sa.func.count().label("rows"))
        .group_by(r.ingest_id, r.reason)
        .order_by(sa.desc("rows"), r.ingest_id, r.reason)
        .limit(MAX_GROUPS)
        .subquery()
    )
    first = reject.alias()
    example = (
        sa.select(sa.cast(first.c.row, sa.Text))
        .where(
            first.c.ingest_id.is_not_distinct_from(groups.c.ingest_id),
            first.c.reason == groups.c.reason,
        )
        .order_by(first.c.reject_id)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(groups.c.ingest_id, f.name, groups.c.reason, groups.c.rows, example)
        .join_from(groups, ingested_file, f.ingest_id == groups.c.ingest_id, isouter=True)
        .order_by(groups.c.rows.desc(), groups.c.ingest_id, groups.c.reason)
    )
    return [
        Group(reason, rows, row or "", ingest_id=ingest_id, file=name)
        for ingest_id, name, reason, rows, row in connection.execute(query)
    ]


def _of_extraction(connection: sa.Connection) -> list[Group]:
    c = session_reject.c
    parts = [
        c.mac_address,
        c.space_id,
        sa.cast(c.start_time, sa.Text),
        sa.cast(c.end_time, sa.Text),
    ]
    row = sa.func.coalesce(
        c.row, sa.func.concat_ws(", ", *(sa.func.coalesce(part, "-") for part in parts))
    )
    query = (
        sa.select(
            c.reason, sa.func.count(), sa.func.min(row), sa.func.min(c.chunk), sa.func.max(c.chunk)
        )
        .group_by(c.reason)
        .order_by(sa.func.count().desc(), c.reason)
    )
    return [
        Group(reason, rows, example, first_chunk=first, last_chunk=last)
        for reason, rows, example, first, last in connection.execute(query)
    ]


def _unknown_spaces(connection: sa.Connection) -> dict[str, int]:
    c = session_reject.c
    query = (
        sa.select(c.space_id, sa.func.count().label("rows"))
        .where(c.reason == UNKNOWN_SPACE, c.space_id.is_not(None))
        .group_by(c.space_id)
        .order_by(sa.func.count().desc(), c.space_id)
        .limit(MAX_SPACES)
    )
    return {row.space_id: row.rows for row in connection.execute(query)}


# --- all rows ------------------------------------------------------------------------------------
def _batches(settings: Settings) -> Iterator[pa.Table]:
    with arrow_connection(settings) as connection, connection.cursor() as cursor:
        cursor.execute(_ROWS)
        for batch in cursor.fetch_record_batch():
            yield pa.Table.from_batches([batch]).cast(SCHEMA)
    spaces = [
        {"found_at": LEFT_OUT, "space_id": out.space, "reason": out.reason}
        for out in left_out(settings)
    ]
    yield pa.Table.from_pylist(spaces, SCHEMA)
