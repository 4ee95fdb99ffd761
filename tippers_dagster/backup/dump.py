"""Copies a database in one snapshot, as rows: no SQL is stored that a restore would have to run."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errors as pg_errors
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ

from tippers_dagster.backup.folder import BLOCK, RowSink, Sink, create
from tippers_dagster.backup.manifest import (
    BackupError,
    Column,
    DatabaseCopy,
    Index,
    SequenceCopy,
    Shape,
    TableCopy,
    is_known_type,
)

LOCK_ATTEMPTS = 600
LOCK_PAUSE_SECONDS = 0.1

_TABLES = """
    SELECT n.nspname::text, c.relname::text, c.relkind::text, c.oid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1, 2
"""

_COLUMNS = """
    SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_catalog.col_description(a.attrelid, a.attnum), a.attgenerated <> ''
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_INDEXES = """
    SELECT (SELECT array_agg(a.attname::text ORDER BY k.place)
            FROM unnest(i.indkey::int[]) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number),
           i.indisunique, i.indisprimary
    FROM pg_catalog.pg_index i
    WHERE i.indrelid = %s AND i.indexprs IS NULL AND i.indpred IS NULL AND i.indisvalid
    ORDER BY i.indexrelid
"""

_SEQUENCES = """
    SELECT n.nspname::text, c.relname::text, a.attname::text, s.oid::regclass::text
    FROM pg_catalog.pg_class s
    JOIN pg_catalog.pg_depend d ON d.objid = s.oid AND d.classid = 'pg_catalog.pg_class'::regclass
        AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE s.relkind = 'S' ORDER BY 1, 2, 3
"""

Place = tuple[str, str]


@dataclass(frozen=True)
class Selection:
    """Which tables of a database are copied.

    Attributes
    ----------
    table
        Whether a table is.
    shaped
        Whether it is one that no migration creates.
    revision
        The table in which the migrations record theirs; it is not copied.
    """

    table: Callable[[Place], bool]
    shaped: Callable[[Place], bool]
    revision: Place


@dataclass
class Snapshot:
    """A database at one time: no table can be dropped or rewritten before it is closed."""

    connection: Any
    selection: Selection
    tables: dict[Place, int]
    left_out: list[str]
    taken_at: float

    def rows(self, query: str, values: Any = None) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())


@contextmanager
def snapshot(url: str, selection: Selection) -> Iterator[Snapshot]:
    """A snapshot of a database; read only.

    The tables are locked before it is taken, as one that is replaced after would look empty in it.
    The locks never wait, so that no run is ended by a deadlock with them.

    Raises
    ------
    BackupError
        When tables are constantly being replaced.
    """
    with closing(psycopg2.connect(url)) as looking, closing(psycopg2.connect(url)) as connection:
        looking.autocommit = True
        connection.set_session(ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        for _ in range(LOCK_ATTEMPTS):
            tables, left_out = _tables(looking, selection)
            if _locked(connection, tables) and _tables(connection, selection)[0] == tables:
                yield Snapshot(connection, selection, tables, left_out, time.monotonic())
                return
            connection.rollback()
            time.sleep(LOCK_PAUSE_SECONDS)
    raise BackupError("Tables of the database are constantly being replaced.", "Try again later.")


def _tables(connection: Any, selection: Selection) -> tuple[dict[Place, int], list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        found = cursor.fetchall()
    tables: dict[Place, int] = {}
    left_out = []
    for schema, name, kind, oid in found:
        place = schema, name
        if place == selection.revision or not selection.table(place):
            continue
        if kind in "rp":
            tables[place] = oid
        else:
            left_out.append(f"{schema}.{name}")
    return tables, left_out


def _locked(connection: Any, places: Collection[Place]) -> bool:
    if not places:
        return True
    names = sql.SQL(", ").join(sql.Identifier(*place) for place in places)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT").format(names))
    except (pg_errors.LockNotAvailable, pg_errors.UndefinedTable, pg_errors.InvalidSchemaName):
        return False
    return True


def dump(found: Snapshot, folder: Path, name: str) -> DatabaseCopy:
    """Copy all tables to files ``<name>/NNNN.copy.zst`` of a backup."""
    revision = found.rows(
        sql.SQL("SELECT version_num FROM {}")
        .format(sql.Identifier(*found.selection.revision))
        .as_string(found.connection)
    )
    left_out = [*found.left_out, *_of_unknown_types(found)]
    tables = {place: oid for place, oid in found.tables.items() if ".".join(place) not in left_out}
    return DatabaseCopy(
        revision=str(revision[0][0]),
        tables=[
            _dump_table(found, folder, f"{name}/{number:04}.copy.zst", place, oid)
            for number, (place, oid) in enumerate(tables.items(), 1)
        ],
        sequences=list(_sequences(found)),
        left_out=left_out,
    )


def _of_unknown_types(found: Snapshot) -> Iterator[str]:
    """Tables that a restore could not create: those with types of an extension, or of a user."""
    for place, oid in found.tables.items():
        if found.selection.shaped(place) and not all(
            is_known_type(kind) for _, kind, *_ in found.rows(_COLUMNS, (oid,))
        ):
            yield ".".join(place)


def _dump_table(found: Snapshot, folder: Path, file: str, place: Place, oid: int) -> TableCopy:
    described = found.rows(_COLUMNS, (oid,))
    columns = [name for name, *_, generated in described if not generated]
    shape = _shape(found, oid, described) if found.selection.shaped(place) else None
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(names, sql.Identifier(*place))
    with create(folder, file) as target:
        sink = Sink(target)
        rows = RowSink(sink)
        with io.BufferedWriter(rows, BLOCK) as buffered, found.connection.cursor() as cursor:
            if columns:
                cursor.copy_expert(query.as_string(cursor), buffered)
    return TableCopy(
        place=place,
        file=file,
        columns=columns,
        rows=rows.rows,
        text_bytes=rows.text_bytes,
        bytes=sink.bytes,
        sha256=sink.sha256,
        shape=shape,
    )


def _shape(found: Snapshot, oid: int, described: list[tuple[Any, ...]]) -> Shape:
    comment = found.rows("SELECT pg_catalog.obj_description(%s, 'pg_class')", (oid,))[0][0]
    return Shape(
        columns=[
            Column(name=name, type=kind, required=required, comment=said)
            for name, kind, required, said, generated in described
            if not generated
        ],
        indexes=[
            Index(columns=columns, unique=unique, primary=primary)
            for columns, unique, primary in found.rows(_INDEXES, (oid,))
            if columns
        ],
        comment=comment,
    )


def _sequences(found: Snapshot) -> Iterator[SequenceCopy]:
    for schema, table, column, sequence in found.rows(_SEQUENCES):
        if (schema, table) in found.tables:
            # A value is taken before the row that has it, so a later one is never too small.
            last, called = found.rows(f"SELECT last_value, is_called FROM {sequence}")[0]
            yield SequenceCopy(
                place=(schema, table), column=column, last_value=last, is_called=called
            )
