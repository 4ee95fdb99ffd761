"""Head counts: people counted by eye, at a door or on camera, at a place and time."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray

from tippers_dagster.campus.intake.clean import check_plausible, local_times
from tippers_dagster.campus.intake.files import Batch, Malformed, file_sha256, open_rows
from tippers_dagster.campus.intake.tables import ingested_file, reject
from tippers_dagster.campus.local_time import DAY, MICRO, LocalClock, check_width
from tippers_dagster.campus.log.checks import NO_SPACE, Checks
from tippers_dagster.campus.log.texts import check_text, is_null, text
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.people.counts.tables import head_count
from tippers_dagster.platform.small_tables import as_it_was
from tippers_dagster.platform.text import NUL
from tippers_dagster.platform.warehouse.engine import read_arrow, upsert, warehouse_engine
from tippers_dagster.settings import Settings

KIND = "head_counts"
"""Kind of the file and its rejects in the ingest tables."""

MAX_PEOPLE = 1_000_000

MAX_ROWS = 2_000_000
"""Limit per file: all rows are held in memory, and even a small compressed file can have many."""

SCHEMA = pa.schema(
    {
        "space_id": pa.string(),
        "time": pa.timestamp("us", "UTC"),
        "interval_seconds": pa.int32(),
        "people": pa.int32(),
    }
)
"""Schema of usable head counts; ``interval_seconds`` 0 means at that moment."""

_NUMBERED = pa.schema([*SCHEMA, ("row_number", pa.int64()), ("given_time", pa.string())])
"""The same with the row number in the file, and the time as written there."""

DUPLICATE = "the same place, time and interval as an earlier row"

_COLUMNS = ("space_id", "time", "people")
_INTERVAL = "interval_seconds"
_ZONED = (
    r"^(?P<local>\d{4}-\d{2}-\d{2}[ T]\d{2}(?::\d{2}){0,2}(?:\.\d+)?)\s*"
    r"(?P<zone>Z|z|[+-]\d{2}(?::?\d{2})?)$"
)
_WHOLE = r"^\d{1,9}(\.0+)?$"
_KEYS = ["space_id", "time", "interval_seconds"]


@dataclass(frozen=True, eq=False)
class Given:
    """The content of a file of head counts.

    Attributes
    ----------
    rows
        Number of all rows.
    usable
        Rows with ``SCHEMA``.
    rejected
        ``row_number`` (int64, from 1, not counting the header), ``reason``, and the columns of the
        file as text.
    """

    rows: int
    usable: pa.Table
    rejected: pa.Table

    @property
    def reasons(self) -> Counter[str]:
        """Rejected rows by reason."""
        return Counter(self.rejected["reason"].to_pylist())


@dataclass(frozen=True)
class Imported:
    """The result of an import: numbers of rows, of new and changed head counts, and of rejects."""

    rows: int
    new: int
    changed: int
    rejected: Counter[str] = field(default_factory=Counter)


# --- import -------------------------------------------------------------------------------------
def read_file(settings: Settings, file: Path) -> Given:
    """Read head counts from a CSV (optionally gzipped) or Parquet file; nothing is stored.

    Columns: ``space_id``, ``time`` (ISO 8601, local unless it has an offset), ``people``, and
    optionally ``interval_seconds``: people were counted once each in the bin of this width that
    begins at ``time``; if missing or 0, they were counted at that moment.

    Raises
    ------
    BadInput
        When the file cannot be read, or a column is missing. Unusable rows are no error.
    """
    clock = LocalClock(settings.timezone)
    known = pa.array(load_tree(settings).ids, pa.string())
    usable, rejected, rows = [_NUMBERED.empty_table()], [], 0
    with open_rows(file, dict.fromkeys(_wanted(file))) as opened:
        for batch in opened.batches():
            rows += batch.columns.num_rows
            if rows > MAX_ROWS:
                raise BadInput(f"{file} has more than {MAX_ROWS:,} rows.", "Split it.")
            checks = Checks(batch.columns.num_rows)
            cleaned = _cleaned(settings, clock, known, batch, checks, exported=opened.is_csv)
            usable.append(cleaned.filter(pa.array(checks.good)))
            rejected.append(_rejected(batch, checks))
        malformed = opened.malformed
    if not rows + len(malformed):
        raise BadInput(f"{file} has no rows.", "It needs a header and rows.")
    found, duplicates = _without_duplicates(pa.concat_tables(usable))
    parts = [*rejected, _malformed(malformed), duplicates]
    return Given(
        rows + len(malformed),
        found.select(SCHEMA.names),
        pa.concat_tables(parts, promote_options="default").sort_by("row_number"),
    )


def import_head_counts(settings: Settings, file: Path, *, by: str) -> Imported:
    """Store the head counts of a file; see ``read_file`` for its columns.

    A count of the same place, time and interval is replaced. Unusable rows are kept in the table
    ``reject`` with their reason.

    Parameters
    ----------
    by
        Who counted, or supplied the counts.

    Raises
    ------
    BadInput
        When the file cannot be read, or has no usable row; nothing is stored then.
    """
    given = read_file(settings, file)
    if not given.usable.num_rows:
        reasons = "\n".join(f"{n:,} x {why}" for why, n in given.reasons.most_common())
        raise BadInput(
            f"{file} has no usable row; nothing was stored.\n{reasons}",
            "Columns are space_id, time, people and optionally interval_seconds.",
        )
    return store(settings, given, name=str(file), sha256=file_sha256(file), by=by)


def store(settings: Settings, given: Given, *, name: str, sha256: str, by: str) -> Imported:
    """Store the result of ``read_file``, completely or not at all.

    Unchanged counts are not touched, so nothing is recomputed for them.
    """
    fresh, new = _differing(read_head_counts(settings), given.usable)
    now = pa.scalar(dt.datetime.now(dt.UTC), pa.timestamp("us", "UTC"))
    stored = fresh.append_column("counted_by", pa.repeat(by, fresh.num_rows))
    stored = stored.append_column("imported_at", pa.repeat(now, fresh.num_rows))
    with warehouse_engine(settings).begin() as connection:
        if stored.num_rows:
            upsert(connection, head_count, stored)
        _keep_rejected(connection, given, name, sha256)
    return Imported(given.rows, new, fresh.num_rows - new, given.reasons)


def _wanted(file: Path) -> tuple[str, ...]:
    """The columns to read, with the interval if the file has it."""
    with open_rows(file, dict.fromkeys(_COLUMNS)) as opened:
        has_interval = _INTERVAL in (name.strip().casefold() for name in opened.ignored)
    return (*_COLUMNS, _INTERVAL) if has_interval else _COLUMNS


def _cleaned(
    settings: Settings,
    clock: LocalClock,
    known: pa.Array,
    batch: Batch,
    checks: Checks,
    *,
    exported: bool,
) -> pa.Table:
    """All rows with proper types and their numbers; rows rejected by ``checks`` must not be used.

    ``exported``: text may have the apostrophes with which CSV exports escape formulas.
    """
    columns = batch.columns
    space = text(columns["space_id"], "space_id")
    space = as_it_was(space) if exported else space
    check_text(checks, space, "space_id")
    checks.reject(is_null(space), NO_SPACE)
    checks.reject(~pc.is_in(space, value_set=known).to_numpy(), "there is no such space")
    time = _instants(settings, clock, columns["time"], checks)
    people = _whole(columns["people"], "people", checks, required=True)
    checks.reject(people > MAX_PEOPLE, f"more than {MAX_PEOPLE:,} people")
    if _INTERVAL in columns.column_names:
        width = _whole(columns[_INTERVAL], _INTERVAL, checks, required=False)
    else:
        width = np.zeros(columns.num_rows, np.int64)
    _check_widths(clock, time, width, checks)
    stamps = pa.array(time).cast(pa.timestamp("us", "UTC"))
    values = [space, stamps, width.astype(np.int32), np.minimum(people, MAX_PEOPLE)]
    table = pa.table(dict(zip(SCHEMA.names, values, strict=True))).cast(SCHEMA)
    table = table.append_column("row_number", pa.array(batch.row_numbers))
    return table.append_column("given_time", columns["time"].cast(pa.string()))


def _instants(
    settings: Settings, clock: LocalClock, column: pa.ChunkedArray, checks: Checks
) -> NDArray[np.int64]:
    """UTC microseconds; 0 where the row is rejected."""
    zoned = np.ones(len(column), np.bool_)
    offset = np.zeros(len(column), np.int64)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        local = column.cast(pa.timestamp("us"), safe=False)
    elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        local = local_times(checks, column, "time")
        zoned[:] = False
    else:
        column = text(column, "time")
        parts = pc.extract_regex(column, _ZONED)
        zoned = ~is_null(parts)
        zone = pc.struct_field(parts, "zone")
        offset = _offset_seconds(zone.combine_chunks())
        plain = pc.if_else(pa.array(zoned), pc.struct_field(parts, "local"), column)
        local = local_times(checks, plain, "time")
    checks.reject(is_null(local), "no time")
    micros = pc.fill_null(local.cast(pa.int64()), 0).to_numpy()
    utc = np.where(zoned, micros - offset * MICRO, clock.to_utc(micros))
    utc[~checks.good] = 0
    wall = pa.chunked_array([pa.array(clock.to_local(utc)).cast(pa.timestamp("us"))])
    check_plausible(checks, wall, "time", settings.plausible_range())
    return np.where(checks.good, utc, 0)


def _offset_seconds(zone: pa.Array) -> NDArray[np.int64]:
    """Seconds ahead of UTC of ``-08:00``, ``+0530``, ``+01``, ``Z`` or null."""
    digits = pc.replace_substring_regex(pc.fill_null(zone, "Z"), "[:Zz]", "")
    digits = pc.utf8_rpad(digits, 5, "0")
    sign = np.where(pc.starts_with(digits, "-").to_numpy(zero_copy_only=False), -1, 1)
    digits = pc.replace_substring_regex(digits, "[+-]", "0")
    hours, minutes = (
        pc.utf8_slice_codeunits(digits, a, b).cast(pa.int64()).to_numpy()
        for a, b in ((0, 3), (3, 5))
    )
    return np.asarray(sign * (hours * 3600 + minutes * 60), np.int64)


def _whole(
    column: pa.ChunkedArray, name: str, checks: Checks, *, required: bool
) -> NDArray[np.int64]:
    """Whole numbers from 0; 0 where missing or the row is rejected."""
    if pa.types.is_floating(column.type):
        column = pc.round(column.cast(pa.float64()), 6).cast(pa.string())
    values = text(column, name)
    if required:
        checks.reject(is_null(values), f"no {name}")
    valid = pc.fill_null(pc.match_substring_regex(values, _WHOLE), False)
    checks.reject(~valid.to_numpy() & ~is_null(values), f"{name} is not a whole number from 0")
    digits = pc.replace_substring_regex(pc.if_else(valid, values, "0"), r"\.0+$", "")
    return np.asarray(digits.cast(pa.int64()).to_numpy(), np.int64).copy()


def _check_widths(
    clock: LocalClock, time: NDArray[np.int64], width: NDArray[np.int64], checks: Checks
) -> None:
    """Reject bins whose width or start occupancy cannot have."""
    for one in np.unique(width[checks.good & (width > 0)]).tolist():
        rows = (width == one) & checks.good
        try:
            check_width(one)
        except BadInput:
            checks.reject(rows, "interval_seconds is not a multiple of 60 from 60 to 86400")
            continue
        begin = _bin_begins(clock, time[rows] // MICRO, one)
        misaligned = np.zeros(len(width), np.bool_)
        misaligned[rows] = begin * MICRO != time[rows]
        checks.reject(misaligned, "no bin of this interval begins at this time")


def _bin_begins(clock: LocalClock, utc: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """UTC seconds at which the bins containing these begin."""
    local = utc + clock.utc_offset(utc)
    first, last = (
        dt.date(1970, 1, 1) + dt.timedelta(int(s) // DAY) for s in (local.min(), local.max())
    )
    edges = clock.bin_edges(first, last + dt.timedelta(1), width)
    return np.asarray(edges[np.searchsorted(edges, utc, side="right") - 1], np.int64)


# --- rejected -----------------------------------------------------------------------------------
def _rejected(batch: Batch, checks: Checks) -> pa.Table:
    bad = pa.array(~checks.good)
    given = batch.columns.filter(bad)
    columns = {
        "row_number": pa.array(batch.row_numbers).filter(bad),
        "reason": checks.reasons(),
        **{name: given[name].cast(pa.string()) for name in given.column_names},
    }
    return pa.table(columns)


def _malformed(rows: Sequence[Malformed]) -> pa.Table:
    return pa.table(
        {
            "row_number": pa.array([r.row_number for r in rows], pa.int64()),
            "reason": pa.array([r.reason for r in rows], pa.string()),
            "line": pa.array([r.text for r in rows], pa.string()),
        }
    )


def _without_duplicates(usable: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first row of each place, time and interval; and the duplicates, as rejects."""
    if not usable.num_rows:
        return usable, _malformed([])
    first = usable.group_by(_KEYS, use_threads=False).aggregate([("row_number", "min")])
    kept = pc.is_in(usable["row_number"], value_set=first["row_number_min"].combine_chunks())
    duplicates = usable.filter(pc.invert(kept))
    columns = {
        "row_number": duplicates["row_number"],
        "reason": pa.repeat(DUPLICATE, duplicates.num_rows),
        "space_id": duplicates["space_id"],
        "time": duplicates["given_time"],
        "people": duplicates["people"].cast(pa.string()),
        "interval_seconds": duplicates["interval_seconds"].cast(pa.string()),
    }
    return usable.filter(kept), pa.table(columns)


def _keep_rejected(connection: sa.Connection, given: Given, name: str, sha256: str) -> None:
    same = (ingested_file.c.sha256 == sha256, ingested_file.c.kind == KIND)
    earlier = sa.delete(ingested_file).where(*same).returning(ingested_file.c.ingest_id)
    numbers = list(connection.scalars(earlier))
    connection.execute(sa.delete(reject).where(reject.c.ingest_id.in_(numbers)))
    rejected = given.rejected
    number = connection.scalar(
        sa.insert(ingested_file)
        .values(
            sha256=sha256,
            kind=KIND,
            name=name,
            rows=given.rows,
            loaded=given.usable.num_rows,
            rejected=rejected.num_rows,
        )
        .returning(ingested_file.c.ingest_id)
    )
    rows = [
        {
            "ingest_id": number,
            "kind": KIND,
            "row_number": row.pop("row_number"),
            "reason": row.pop("reason"),
            "row": {k: _shown(v) for k, v in row.items() if v is not None},
        }
        for row in rejected.to_pylist()
    ]
    if rows:
        connection.execute(sa.insert(reject), rows)


def _shown(value: str) -> str:
    """Text that PostgreSQL's JSON can store: cut, and without NUL."""
    return value[:500].replace("\0", NUL)


# --- stored head counts -------------------------------------------------------------------------
def read_head_counts(settings: Settings, space: str | None = None) -> pa.Table:
    """All head counts, or those of a space, sorted: ``SCHEMA``, counted_by and imported_at."""
    names = ", ".join(f'"{name}"' for name in (*SCHEMA.names, "counted_by", "imported_at"))
    rows = read_arrow(
        settings, f"SELECT {names} FROM {head_count} ORDER BY space_id, time, interval_seconds"
    )
    fields = [*SCHEMA, ("counted_by", pa.string()), ("imported_at", pa.timestamp("us", "UTC"))]
    found = rows.cast(pa.schema(fields))
    return found if space is None else found.filter(pc.equal(found["space_id"], space))


def clear_head_counts(settings: Settings, space: str | None = None) -> int:
    """Remove all head counts, or those of a space; returns their number."""
    query = sa.delete(head_count)
    if space is not None:
        query = query.where(head_count.c.space_id == space)
    with warehouse_engine(settings).begin() as connection:
        return connection.execute(query).rowcount


@dataclass(frozen=True)
class Counted:
    """The head counts of one space: their number, total people, and first and last time (UTC)."""

    space: str
    counts: int
    people: int
    first: dt.datetime
    last: dt.datetime


def counted_spaces(settings: Settings) -> list[Counted]:
    """The head counts by space."""
    c = head_count.c
    query = (
        sa.select(
            c.space_id,
            sa.func.count(),
            sa.func.sum(c.people),
            sa.func.min(c.time),
            sa.func.max(c.time),
        )
        .group_by(c.space_id)
        .order_by(c.space_id)
    )
    with warehouse_engine(settings).connect() as connection:
        return [Counted(*row) for row in connection.execute(query)]


def _differing(stored: pa.Table, usable: pa.Table) -> tuple[pa.Table, int]:
    """The head counts that differ from the stored ones, and how many of them are new."""
    before = stored.select([*_KEYS, "people"])
    both = usable.join(before, _KEYS, right_suffix="_before", use_threads=False)
    known = both["people_before"].is_valid()
    same = pc.fill_null(pc.equal(both["people"], both["people_before"]), False)
    fresh = both.filter(pc.invert(same)).select(SCHEMA.names).cast(SCHEMA)
    return fresh, usable.num_rows - int(pc.sum(known).as_py() or 0)
