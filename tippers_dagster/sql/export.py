"""Exports tables of the warehouse to the lake as Parquet, without MAC addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import adbc_driver_manager
import pyarrow as pa

from tippers_dagster.campus.identities import Pseudonyms
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column, table_columns
from tippers_dagster.sql.roles import built
from tippers_dagster.sql.statistics import ColumnStatistics, table_statistics

STATISTICS_BYTES = 256 << 20
"""Statistics cover a table's first rows, up to this size in memory."""

_KEPT_TYPES = {
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "text",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
}


@dataclass(frozen=True)
class Exported:
    """The export; ``statistics`` cover the first ``statistics_rows`` rows."""

    rows: int
    columns: list[Column]
    statistics: list[ColumnStatistics]
    statistics_rows: int


def export_table(settings: Settings, schema: str, name: str, key: str) -> Exported:
    """Write a table of the warehouse to the lake, completely or not at all, in bounded memory.

    MAC addresses become device ids, ``numeric`` becomes double precision, an interval becomes
    seconds, and any other type without a plain Parquet equivalent becomes text.

    Raises
    ------
    TippersError
        There is no such table.
    LakeError
        Unexpected columns hold MAC addresses, or the lake cannot be written.
    """
    with warehouse_engine(settings).connect() as connection:
        columns = table_columns(connection, schema, name)
    if not columns:
        raise TippersError(f"There is no table {schema}.{name} to export.")
    pseudonyms = Pseudonyms(settings)
    kept: list[pa.Table] = []
    kept_bytes = 0
    with _reading(settings, _select(schema, name, columns)) as reader:
        lake_schema = pseudonyms(reader.schema.empty_table()).schema
        with open_lake(settings).open_writer(key, lake_schema) as writer:
            for batch in reader:
                piece = pseudonyms(pa.Table.from_batches([batch]))
                writer.write(piece)
                if kept_bytes < STATISTICS_BYTES:
                    kept.append(piece)
                    kept_bytes += piece.nbytes
    sample = pa.concat_tables(kept) if kept else lake_schema.empty_table()
    return Exported(writer.rows, columns, table_statistics(sample), sample.num_rows)


@contextmanager
def _reading(settings: Settings, query: str) -> Iterator[pa.RecordBatchReader]:
    with built(settings) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(query)
            yield cursor.fetch_record_batch()
        except adbc_driver_manager.Error as error:
            raise TippersError(f"The table could not be read: {error}") from error


def _select(schema: str, name: str, columns: list[Column]) -> str:
    wanted = ", ".join(f"{_readable(c)} AS {quote_identifier(c.name)}" for c in columns)
    return f"SELECT {wanted} FROM {quote_identifier(schema)}.{quote_identifier(name)}"


def _readable(column: Column) -> str:
    """The expression that selects a column in a type that Arrow has."""
    quoted = quote_identifier(column.name)
    if column.type in _KEPT_TYPES:
        return quoted
    if column.type == "numeric":
        return f"{quoted}::double precision"
    if column.type == "interval":
        return f"extract(epoch FROM {quoted})::double precision"
    return f"{quoted}::text"
