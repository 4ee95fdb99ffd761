"""Fills a database from a backup: every row as data, every name quoted, every type a known one."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql

from tippers_dagster.backup.dump import Place
from tippers_dagster.backup.folder import BLOCK, Backup, Checked, RowSource
from tippers_dagster.backup.manifest import BackupError, DatabaseCopy, Shape, TableCopy

_REFERENCES = """
    SELECT n.nspname::text, c.relname::text, fn.nspname::text, fc.relname::text
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_class fc ON fc.oid = k.confrelid
    JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
    WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
"""

_FILLABLE = """
    SELECT n.nspname::text, c.relname::text, a.attname::text
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


def load(
    cursor: psycopg2.extensions.cursor,
    backup: Backup,
    name: str,
    copy: DatabaseCopy,
    *,
    shaped: Collection[str],
    empty: Iterable[Place] = (),
) -> None:
    """Fill a database's tables, within the transaction of the caller.

    Parameters
    ----------
    name
        Of the database, for messages.
    shaped
        Schemas in which tables may be created.
    empty
        Tables that stay empty: what is true only of the deployment that was backed up.

    Raises
    ------
    BackupError
        When rows do not fit, or a table is not one that this version knows.
    """
    for table in copy.tables:
        if table.shape is not None:
            _create(cursor, table.place, table.shape, shaped)
    known = _fillable(cursor)
    skipped = set(empty)
    tables = {table.place: table for table in copy.tables}
    for place, table in tables.items():
        unknown = sorted(set(table.columns) - known.get(place, set()))
        if place not in known or unknown:
            what = ".".join(place) + "".join(f".{column}" for column in unknown[:1])
            raise BackupError(
                f"The backup has {what} in the {name} database, which this version of tippers "
                "does not have.",
                "Restore it with the version that made it, which its manifest names.",
            )
    _truncate(cursor, tables.keys())
    for place in _in_order(cursor, tables):
        if place not in skipped:
            _fill(cursor, backup, tables[place])
    for table in copy.tables:
        if table.shape is not None:
            _finish(cursor, table.place, table.shape)
    _set_sequences(cursor, copy)


def _create(
    cursor: psycopg2.extensions.cursor, place: Place, shape: Shape, shaped: Collection[str]
) -> None:
    schema, name = place
    if schema not in shaped and not schema.startswith("connection_"):
        raise BackupError(
            f"The backup would create the table {schema}.{name}, in a schema that is not one of "
            "tippers.",
            "Use another backup, or set TIPPERS_SOURCE_SCHEMA as it was.",
        )
    columns = sql.SQL(", ").join(
        # The type is one of a fixed list (``manifest``).
        sql.SQL("{} " + column.type + " NOT NULL" * column.required).format(
            sql.Identifier(column.name)
        )
        for column in shape.columns
    )
    cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(*place)))
    cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(*place), columns))


def _finish(cursor: psycopg2.extensions.cursor, place: Place, shape: Shape) -> None:
    """Create indexes and comments; faster when the rows are there."""
    table = sql.Identifier(*place)
    for index in shape.indexes:
        columns = sql.SQL(", ").join(map(sql.Identifier, index.columns))
        statement = (
            "ALTER TABLE {} ADD PRIMARY KEY ({})"
            if index.primary
            else "CREATE UNIQUE INDEX ON {} ({})"
            if index.unique
            else "CREATE INDEX ON {} ({})"
        )
        cursor.execute(sql.SQL(statement).format(table, columns))
    if shape.comment is not None:
        comment = sql.SQL("COMMENT ON TABLE {} IS {}")
        cursor.execute(comment.format(table, sql.Literal(shape.comment)))
    for column in shape.columns:
        if column.comment is not None:
            comment = sql.SQL("COMMENT ON COLUMN {} IS {}")
            name = sql.Identifier(*place, column.name)
            cursor.execute(comment.format(name, sql.Literal(column.comment)))
    cursor.execute(sql.SQL("ANALYZE {}").format(table))


def _fillable(cursor: psycopg2.extensions.cursor) -> dict[Place, set[str]]:
    cursor.execute(_FILLABLE)
    found: dict[Place, set[str]] = {}
    for schema, table, column in cursor.fetchall():
        found.setdefault((schema, table), set()).add(column)
    return found


def _truncate(cursor: psycopg2.extensions.cursor, places: Collection[Place]) -> None:
    """Remove the rows that a new database begins with."""
    if places:
        names = sql.SQL(", ").join(sql.Identifier(*place) for place in places)
        cursor.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))


def _in_order(
    cursor: psycopg2.extensions.cursor, tables: Mapping[Place, TableCopy]
) -> Iterable[Place]:
    """The tables, each after those that its rows refer to."""
    before: dict[Place, set[Place]] = {place: set() for place in tables}
    cursor.execute(_REFERENCES)
    for schema, table, other_schema, other in cursor.fetchall():
        if (schema, table) in before and (other_schema, other) in before:
            before[schema, table].add((other_schema, other))
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise BackupError("Tables of the database refer to each other in a cycle.") from error


def _fill(cursor: psycopg2.extensions.cursor, backup: Backup, table: TableCopy) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(*table.place), columns)
    if not table.columns:
        return
    with backup.open(table.file) as file:
        source = RowSource(
            Checked(file, table.file, table.bytes, table.sha256), table.file, table.text_bytes
        )
        try:
            cursor.copy_expert(query.as_string(cursor), io.BufferedReader(source, BLOCK), BLOCK)
        except (psycopg2.DataError, psycopg2.IntegrityError) as error:
            raise _unfit(table, error) from error
        except psycopg2.errors.QueryCanceled:
            raise source.error or BackupError("Restoring was cancelled.") from None
        source.finish()
    if cursor.rowcount != table.rows:
        raise BackupError(
            f"{table.file} of the backup has {cursor.rowcount:,} rows, and its manifest says "
            f"{table.rows:,}.",
            "Use another backup.",
        )


def _unfit(table: TableCopy, error: psycopg2.Error) -> BackupError:
    # The rest of the message shows the row.
    reason = (error.diag.message_primary or "").split(":")[0]
    return BackupError(
        f"Rows of {table.file} of the backup do not fit into {'.'.join(table.place)}: {reason}.",
        "Use another backup.",
    )


def _set_sequences(cursor: psycopg2.extensions.cursor, copy: DatabaseCopy) -> None:
    places = {table.place for table in copy.tables}
    for sequence in copy.sequences:
        if sequence.place in places:
            name: Any = sql.Identifier(*sequence.place).as_string(cursor)
            cursor.execute(
                "SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence(%s, %s), %s, %s)",
                (name, sequence.column, sequence.last_value, sequence.is_called),
            )
