"""Bulk writes to the source tables: one ADBC connection, one transaction, all or nothing.

ADBC and SQLAlchemy cannot share a transaction, so everything that has to be atomic with a bulk load
(its entry in ``tippers.ingested_file``, its rejected rows) uses the same ADBC connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_manager import Error as ArrowDriverError

from tippers_dagster.campus.source.schema import (
    KEPT,
    SESSION_INDEXES,
    SESSIONS,
    SourceTable,
    require_own_source,
    source_tables,
)
from tippers_dagster.errors import SourceError
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.postgres.adbc import adbc_connection, kept_connection
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

INDEX_MEMORY = "512MB"
"""``maintenance_work_mem`` while the session table's indexes are built."""


class Load:
    """An open transaction on the source database, from ``load_transaction``."""

    def __init__(self, cursor: dbapi.Cursor) -> None:
        self._cursor = cursor
        self._staged: set[str] = set()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run one statement (parameters ``$1``, ``$2`` ...) and return its rows."""
        self._cursor.execute(sql, parameters or None)
        if self._cursor.description is None:
            return pa.table({})
        return self._cursor.fetch_arrow_table()

    def copy_in(self, table: SourceTable, data: pa.Table | pa.RecordBatchReader) -> int:
        """Append rows by COPY.

        Parameters
        ----------
        table
            The table to append to.
        data
            The columns and types of ``table.arrow_schema()``, in any order; for the session table
            optionally with ``INGEST_ID`` and the columns of ``EXACT``.

        Returns
        -------
        int
            The number of rows appended.
        """
        if isinstance(data, pa.Table) and KEPT in data.column_names:
            at = data.column_names.index(KEPT)
            data = data.set_column(at, KEPT, _as_jsonb(data[KEPT]))
        names = [table.columns.get(name, name) for name in data.schema.names]
        if isinstance(data, pa.Table):
            renamed: pa.Table | pa.RecordBatchReader = data.rename_columns(names)
        else:
            renamed = _rename(data, names)
        return self._cursor.adbc_ingest(
            table.name, renamed, mode="append", db_schema_name=table.schema
        )

    def stage(self, name: str, data: pa.Table | pa.RecordBatchReader) -> int:
        """Append rows to the temporary table ``name``, which is created at first use."""
        mode = "append" if name in self._staged else "create"
        self._staged.add(name)
        return self._cursor.adbc_ingest(name, data, mode=mode, temporary=True)

    def is_empty(self, table: SourceTable) -> bool:
        """Whether the table has no rows."""
        found = self.execute(f"SELECT NOT EXISTS (SELECT FROM {table.sql}) AS empty")
        return found.column(0)[0].as_py()

    def drop_staged(self) -> None:
        """Drop the temporary tables."""
        for name in sorted(self._staged):
            self.execute(f"DROP TABLE {quote_identifier(name)}")
        self._staged.clear()


@contextmanager
def load_transaction(settings: Settings) -> Iterator[Load]:
    """A write transaction on the source database: committed, or rolled back if the block raises.

    Raises
    ------
    SourceError
        When the source is a campus's own database, which is read only, or the database rejects a
        statement.
    """
    require_own_source(settings)
    with (
        adbc_connection(databases(settings).source) as link,
        link.cursor() as cursor,
    ):
        try:
            load = Load(cursor)
            yield load
            load.drop_staged()
            link.commit()
        except ArrowDriverError as error:
            link.rollback()
            raise SourceError(
                f"The source tables could not be written; nothing was changed. {error}",
                "Is there space on the disk, and do the tables have the expected columns?",
            ) from error
        except BaseException:
            link.rollback()
            raise


def read_source(settings: Settings, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """The result of a query on the source database.

    Raises
    ------
    SourceError
        When the database rejects the query: a missing table, column or permission.
    """
    with (
        kept_connection(databases(settings).source) as link,
        link.cursor() as cursor,
    ):
        try:
            cursor.execute(sql, parameters or None)
            return cursor.fetch_arrow_table()
        except ArrowDriverError as error:
            raise SourceError(
                f"The source database rejected a query: {error}",
                "Run `tippers doctor` to see which tables and columns are missing.",
            ) from error


def prepare_bulk_load(load: Load, settings: Settings, expected_rows: int) -> None:
    """Drop the session table's indexes before a load of about as many rows as are stored, or more.

    Filling three indexes row by row takes four times as long as building them afterwards, which
    ``create_session_indexes`` does in the same transaction. Readers of the table have to wait
    meanwhile, but not for smaller loads.
    """
    table = source_tables(settings)[SESSIONS]
    # As the last load left it. Not its size, in which rows of undone loads stay for a while.
    found = load.execute(
        "SELECT reltuples::float8 FROM pg_class WHERE oid = $1::regclass", (table.sql,)
    )
    if found.column(0)[0].as_py() <= expected_rows:
        _drop_session_indexes(load, table)


def create_session_indexes(load: Load, settings: Settings) -> None:
    """Create missing indexes of the session table, and update the planner's statistics.

    Call it after a bulk load, in its transaction: building an index over loaded rows is several
    times faster than filling it row by row.
    """
    table = source_tables(settings)[SESSIONS]
    load.execute(f"SET LOCAL maintenance_work_mem = '{INDEX_MEMORY}'")
    for name in SESSION_INDEXES:
        index = quote_identifier(_index_name(table, name))
        load.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table.sql} ({table.column(name)})")
    load.execute(f"ANALYZE {table.sql}")


def clear_source(load: Load, settings: Settings) -> None:
    """Empty all source and truth tables, the journal of ingests and the rejected rows.

    For a simulated campus that replaces everything. Part of the caller's transaction.
    """
    tables = ", ".join(table.sql for table in source_tables(settings).values())
    load.execute(f"TRUNCATE {tables}, tippers.ingested_file, tippers.ingest_layer, tippers.reject")
    _drop_session_indexes(load, source_tables(settings)[SESSIONS])


def _drop_session_indexes(load: Load, table: SourceTable) -> None:
    for name in SESSION_INDEXES:
        index = f"{quote_identifier(table.schema)}.{quote_identifier(_index_name(table, name))}"
        load.execute(f"DROP INDEX IF EXISTS {index}")


def _index_name(table: SourceTable, column: str) -> str:
    # PostgreSQL cuts names at 63 bytes; "IF EXISTS" would not find the uncut name.
    return f"{table.name}_{table.columns[column]}_idx".encode()[:63].decode(errors="ignore")


def _as_jsonb(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """JSON as a binary COPY takes it: the version of its format, and the text."""
    version = pa.scalar(b"\x01", pa.binary())
    return pc.binary_join_element_wise(version, texts.cast(pa.binary()), b"")


def _rename(reader: pa.RecordBatchReader, names: list[str]) -> pa.RecordBatchReader:
    schema = pa.schema([f.with_name(n) for f, n in zip(reader.schema, names, strict=True)])
    return pa.RecordBatchReader.from_batches(
        schema, (batch.rename_columns(names) for batch in reader)
    )
