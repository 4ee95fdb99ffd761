"""Head counts: people counted by eye, at a door, on a camera, at a place and time."""

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

from tippers_dagster.campus.intake.clean import (
    NO_SPACE,
    Checks,
    check_plausible,
    check_text,
    is_null,
    local_times,
    text,
)
from tippers_dagster.campus.intake.files import Batch, Malformed, file_sha256, open_rows
from tippers_dagster.campus.intake.tables import ingested_file, reject
from tippers_dagster.campus.local_time import DAY, MICRO, LocalClock, check_width
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.people.counts.tables import head_count
from tippers_dagster.platform.small_tables import as_it_was
from tippers_dagster.platform.warehouse.engine import read_arrow, upsert, warehouse_engine
from tippers_dagster.settings import Settings

KIND = "head_counts"
"""Of the file and its rejects, in the tables of what was ingested."""

MOST_PEOPLE = 1_000_000

MOST_ROWS = 2_000_000
"""Limit per file: all rows are held in memory, and a small compressed file may have any number."""

SCHEMA = pa.schema(
    {
        "space_id": pa.string(),
        "time": pa.timestamp("us", "UTC"),
        "interval_seconds": pa.int32(),
        "people": pa.int32(),
    }
)
"""Of usable head counts; ``interval_seconds`` 0: at that moment."""

_NUMBERED = pa.schema([*SCHEMA, ("row_number", pa.int64()), ("given_time", pa.string())])
"""The same, with the place in the file and the time as it was written there."""

TWICE = "the same place, time and interval as an earlier row"

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
    """What a file of head counts holds.

    Attributes
    ----------
    rows
        In all.
    usable
        Of ``SCHEMA``.
    rejected
        ``row_number`` (int64, from 1, without the header), ``reason``, and the columns of the
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
    """What an import did: rows of the file, those new or changed by it, those it could not use."""

    rows: int
    new: int
    changed: int
    rejected: Counter[str] = field(default_factory=Counter)


# --- in -----------------------------------------------------------------------------------------
def read_file(settings: Settings, file: Path) -> Given:
    """Read head counts from a CSV (also gzipped) or Parquet file; nothing is stored.

    Columns: ``space_id``, ``time`` (ISO 8601, local unless it has an offset), ``people``, and
    perhaps ``interval_seconds``: people were counted in the bin of this width that begins at
    ``time``, each once; without one, or 0, at that moment.

    Raises
    ------
    BadInput
        When the file cannot be read, or lacks a column. Rows that cannot be used are no error.
    """
    clock = LocalClock(settings.timezone)
    known = pa.array(load_tree(settings).ids, pa.string())
    usable, rejected, rows = [_NUMBERED.empty_table()], [], 0
    with open_rows(file, dict.fromkeys(_wanted(file))) as opened:
        for batch in opened.batches():
            rows += batch.columns.num_rows
            if rows > MOST_ROWS:
                raise BadInput(f"{file} has more than {MOST_ROWS:,} rows.", "Split it.")
            checks = Checks(batch.columns.num_rows)
            cleaned = _cleaned(settings, clock, known, batch, checks, exported=opened.is_csv)
            usable.append(cleaned.filter(pa.array(checks.good)))
            rejected.append(_rejected(batch, checks))
        malformed = opened.malformed
    if not rows + len(malformed):
        raise BadInput(f"{file} has no rows.", "A header and rows are expected.")
    found, twice = _once(pa.concat_tables(usable))
    parts = [*rejected, _malformed(malformed), twice]
    return Given(
        rows + len(malformed),
        found.select(SCHEMA.names),
        pa.concat_tables(parts, promote_options="default").sort_by("row_number"),
    )


def import_head_counts(settings: Settings, file: Path, *, by: str) -> Imported:
    """Store the head counts of a file; ``read_file`` tells of its columns.

    A count of the same place, time and interval is replaced. Rows that cannot be used are kept
    in the table ``reject`` with their reason.

    Parameters
    ----------
    by
        Who counted, or says so.

    Raises
    ------
    BadInput
        When the file cannot be read, or no row of it can be used; nothing is stored then.
    """
    given = read_file(settings, file)
    if not given.usable.num_rows:
        told = "\n".join(f"{n:,} x {why}" for why, n in given.reasons.most_common())
        raise BadInput(
            f"No row of {file} can be used; nothing was stored.\n{told}",
            "Columns are space_id, time, people and perhaps interval_seconds.",
        )
    return store(settings, given, name=str(file), sha256=file_sha256(file), by=by)


def store(settings: Settings, given: Given, *, name: str, sha256: str, by: str) -> Imported:
    """Store what ``read_file`` gave: all of it, or nothing when something fails.

    Counts that are stored already as they are stay untouched, so that nothing is computed anew.
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
    """The columns to read: the interval only where there is one."""
    with open_rows(file, dict.fromkeys(_COLUMNS)) as opened:
        there = _INTERVAL in (name.strip().casefold() for name in opened.ignored)
    return (*_COLUMNS, _INTERVAL) if there else _COLUMNS


def _cleaned(
    settings: Settings,
    clock: LocalClock,
    known: pa.Array,
    batch: Batch,
    checks: Checks,
    *,
    exported: bool,
) -> pa.Table:
    """All rows typed, with their numbers; rows rejected by ``checks`` must not be used.

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
    checks.reject(people > MOST_PEOPLE, f"more than {MOST_PEOPLE:,} people")
    if _INTERVAL in columns.column_names:
        width = _whole(columns[_INTERVAL], _INTERVAL, checks, required=False)
    else:
        width = np.zeros(columns.num_rows, np.int64)
    _check_widths(clock, time, width, checks)
    stamps = pa.array(time).cast(pa.timestamp("us", "UTC"))
    values = [space, stamps, width.astype(np.int32), np.minimum(people, MOST_PEOPLE)]
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
    """Whole numbers from 0, 0 where there is none or the row is rejected."""
    if pa.types.is_floating(column.type):
        column = pc.round(column.cast(pa.float64()), 6).cast(pa.string())
    values = text(column, name)
    if required:
        checks.reject(is_null(values), f"no {name}")
    right = pc.fill_null(pc.match_substring_regex(values, _WHOLE), False)
    checks.reject(~right.to_numpy() & ~is_null(values), f"{name} is no whole number from 0")
    digits = pc.replace_substring_regex(pc.if_else(right, values, "0"), r"\.0+$", "")
    return np.asarray(digits.cast(pa.int64()).to_numpy(), np.int64).copy()


def _check_widths(
    clock: LocalClock, time: NDArray[np.int64], width: NDArray[np.int64], checks: Checks
) -> None:
    """A bin is one that occupancy can have, and begins where such bins begin."""
    for one in np.unique(width[checks.good & (width > 0)]).tolist():
        rows = (width == one) & checks.good
        try:
            check_width(one)
        except BadInput:
            checks.reject(rows, "bins are multiples of 60 seconds, from 60 to 86400")
            continue
        begin = _bin_begins(clock, time[rows] // MICRO, one)
        off = np.zeros(len(width), np.bool_)
        off[rows] = begin * MICRO != time[rows]
        checks.reject(off, "no bin of this interval begins at this time")


def _bin_begins(clock: LocalClock, utc: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """UTC seconds at which the bins begin that hold these."""
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
    told = {
        "row_number": pa.array(batch.row_numbers).filter(bad),
        "reason": checks.reasons(),
        **{name: given[name].cast(pa.string()) for name in given.column_names},
    }
    return pa.table(told)


def _malformed(rows: Sequence[Malformed]) -> pa.Table:
    return pa.table(
        {
            "row_number": pa.array([r.row_number for r in rows], pa.int64()),
            "reason": pa.array([r.reason for r in rows], pa.string()),
            "line": pa.array([r.text for r in rows], pa.string()),
        }
    )


def _once(usable: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Each place, time and interval once, as it comes first; and what is there again."""
    if not usable.num_rows:
        return usable, _malformed([])
    first = usable.group_by(_KEYS, use_threads=False).aggregate([("row_number", "min")])
    kept = pc.is_in(usable["row_number"], value_set=first["row_number_min"].combine_chunks())
    again = usable.filter(pc.invert(kept))
    told = {
        "row_number": again["row_number"],
        "reason": pa.repeat(TWICE, again.num_rows),
        "space_id": again["space_id"],
        "time": again["given_time"],
        "people": again["people"].cast(pa.string()),
        "interval_seconds": again["interval_seconds"].cast(pa.string()),
    }
    return usable.filter(kept), pa.table(told)


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
    """As JSON of PostgreSQL's can hold it: cut, and without NUL."""
    return value[:500].replace("\0", "\N{SYMBOL FOR NULL}")


# --- what there is ------------------------------------------------------------------------------
def read_head_counts(settings: Settings, space: str | None = None) -> pa.Table:
    """All head counts, or those of a space: ``SCHEMA``, counted_by and imported_at, by place."""
    names = ", ".join(f'"{name}"' for name in (*SCHEMA.names, "counted_by", "imported_at"))
    rows = read_arrow(
        settings, f"SELECT {names} FROM {head_count} ORDER BY space_id, time, interval_seconds"
    )
    fields = [*SCHEMA, ("counted_by", pa.string()), ("imported_at", pa.timestamp("us", "UTC"))]
    found = rows.cast(pa.schema(fields))
    return found if space is None else found.filter(pc.equal(found["space_id"], space))


def clear_head_counts(settings: Settings, space: str | None = None) -> int:
    """Remove all head counts, or those of a space; returns how many."""
    query = sa.delete(head_count)
    if space is not None:
        query = query.where(head_count.c.space_id == space)
    with warehouse_engine(settings).begin() as connection:
        return connection.execute(query).rowcount


@dataclass(frozen=True)
class Counted:
    """The head counts of one space: how many, of people in all, and from when to when (UTC)."""

    space: str
    counts: int
    people: int
    first: dt.datetime
    last: dt.datetime


def counted_spaces(settings: Settings) -> list[Counted]:
    """What was counted, by space."""
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
    """The head counts that are not stored as they are, and how many of them are new."""
    before = stored.select([*_KEYS, "people"])
    both = usable.join(before, _KEYS, right_suffix="_before", use_threads=False)
    known = both["people_before"].is_valid()
    same = pc.fill_null(pc.equal(both["people"], both["people_before"]), False)
    fresh = both.filter(pc.invert(same)).select(SCHEMA.names).cast(SCHEMA)
    return fresh, usable.num_rows - int(pc.sum(known).as_py() or 0)
