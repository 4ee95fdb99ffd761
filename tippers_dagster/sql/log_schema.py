"""The log in the warehouse, for models that run on PostgreSQL: the schema ``log``.

Each table has one partition per time chunk, or a single one if it has no files. The comment of a
partition is the fingerprint that was recorded of its rows, so that the two cannot part; one without
a comment is loaded again. Only partitions whose recorded fingerprint differs are loaded, each in a
transaction of its own. Views read the partitioned table, which stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.automation.nodes import digest
from tippers_dagster.occupancy.log import void_chunks
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import table_columns
from tippers_dagster.sql.log import LOG_TABLES, SCHEMA, LogTable, chunk_files, window

_LOCK = 0x7469_7070_6572_7304
_WHOLE = ""
"""The chunk of a table that has a single partition."""

_CHUNK = "chunk"

_TYPES = {
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.float64(): "double precision",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.string(): "text",
    pa.timestamp("us"): "timestamp without time zone",
    pa.timestamp("us", tz="UTC"): "timestamp with time zone",
    pa.uint64(): "bigint",
}
"""The hash of a device is the signed integer of the same bits."""


def fill_log(settings: Settings, names: Collection[str]) -> None:
    """Bring tables of the log in the warehouse up to date with the lake.

    Safe in several processes at once, and after one was killed: a partition appears whole or not at
    all.

    Parameters
    ----------
    names
        Of ``LOG_TABLES``.

    Raises
    ------
    LakeError
        A file cannot be read, or is missing.
    LogOutdated
        Sessions of the previous version are still to be extracted again.
    """
    chunks = window(settings, names)
    for name in sorted(names):
        _Filling(settings, name, chunks).fill()


def forget_log(settings: Settings) -> None:
    """Delete what the lake has no more, and tables that were made from it.

    The next run of definitions makes these again.
    """
    with warehouse_engine(settings).connect() as connection:
        there = [name for name in LOG_TABLES if table_columns(connection, SCHEMA, name)]
    for name in there:
        _Filling(settings, name).forget()


class _Filling:
    """One table of the log, being filled; without ``chunks``, of all recorded ones."""

    def __init__(self, settings: Settings, name: str, chunks: Sequence[str] | None = None) -> None:
        self._settings, self._name, self._chunks = settings, name, chunks
        self._table: LogTable = LOG_TABLES[name]
        self._place = f"{SCHEMA}.{quote_identifier(name)}"

    def fill(self) -> None:
        """Load what differs, and drop what is no longer there."""
        with self._changing() as connection:
            self._make(connection)
        wanted = self._wanted()
        there = self._there()
        gone = there.keys() - wanted.keys()
        differing = [chunk for chunk, print_ in wanted.items() if there.get(chunk) != print_]
        self._forget(gone)
        files: Mapping[str, list[str]] = {}
        if self._table.folders:
            files = chunk_files(self._settings, self._name, self._chunks or ())
        for chunk in differing:
            rows = self._read(files, chunk)
            # A file that a run is replacing may not be the recorded one.
            steady = self._wanted().get(chunk) == wanted[chunk] and not self._void(chunk)
            self._load(chunk, rows, wanted[chunk] if steady else "")
        if gone or differing:
            with warehouse_engine(self._settings).begin() as connection:
                connection.exec_driver_sql(f"ANALYZE {self._place}")

    def forget(self) -> None:
        """Drop partitions of chunks that are no longer there."""
        wanted = self._wanted()
        made = self._table.read is not None
        self._forget(
            chunk
            for chunk, print_ in self._there().items()
            if chunk not in wanted or (made and print_ != wanted[chunk])
        )

    # --- what there is ----------------------------------------------------------------------
    def _wanted(self) -> dict[str, str]:
        """The partitions that should be there, with their fingerprints."""
        prints = self._table.fingerprints(self._settings)
        if self._table.windowed and self._chunks is not None:
            prints = {chunk: prints[chunk] for chunk in self._chunks}
        if self._table.folders:
            return prints
        parts = [part for chunk in prints.items() for part in chunk]
        return {_WHOLE: digest(*parts, self._table.more(self._settings))}

    def _there(self) -> dict[str, str | None]:
        """The partitions that are there."""
        query = sa.text(
            "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:place)"
        )
        with warehouse_engine(self._settings).connect() as connection:
            found = connection.execute(query, {"place": self._place}).all()
        return {name.removeprefix(f"{self._name} "): print_ for name, print_ in found}

    def _void(self, chunk: str) -> bool:
        void = void_chunks(self._settings, self._table.recorded)
        return chunk in void or (chunk == _WHOLE and bool(void))

    def _read(self, files: Mapping[str, list[str]], chunk: str) -> pa.Table:
        table, settings = self._table, self._settings
        if table.read is not None:
            return table.read(settings, self._chunks or ()).cast(table.schema)
        lake = open_lake(settings)
        parts = [lake.read_table(key, columns=table.schema.names) for key in files[chunk]]
        return pa.concat_tables(part.cast(table.schema) for part in parts)

    # --- changing it ------------------------------------------------------------------------
    @contextmanager
    def _changing(self) -> Iterator[sa.Connection]:
        with warehouse_engine(self._settings).begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    def _make(self, connection: sa.Connection) -> None:
        """Create the table; one with the columns of another version is dropped."""
        wanted = {field.name: _TYPES[_plain(field.type)] for field in self._table.schema}
        wanted[_CHUNK] = "text"
        there = table_columns(connection, SCHEMA, self._name)
        if {column.name: column.type for column in there} == wanted:
            return
        columns = ", ".join(f"{quote_identifier(name)} {kind}" for name, kind in wanted.items())
        for statement in (
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
            f"DROP TABLE IF EXISTS {self._place} CASCADE",
            f"CREATE TABLE {self._place} ({columns}) PARTITION BY LIST ({_CHUNK})",
            *(
                f"CREATE INDEX ON {self._place} ({', '.join(map(quote_identifier, index))})"
                for index in self._table.indexes
            ),
        ):
            connection.exec_driver_sql(statement)

    def _load(self, chunk: str, rows: pa.Table, print_: str) -> None:
        """Replace a partition."""
        place, key = self._partition(chunk), _literal(chunk)
        new = f"{SCHEMA}.{quote_identifier(f'new {self._name}')}"
        with self._changing() as connection:
            connection.exec_driver_sql(f"CREATE TABLE {new} (LIKE {self._place} INCLUDING INDEXES)")
            connection.exec_driver_sql(f"ALTER TABLE {new} ALTER {_CHUNK} SET DEFAULT {key}")
            copy_rows(connection, new, _for_copy(rows))
            self._drop(connection, chunk)
            for statement in (
                f"ALTER TABLE {new} RENAME TO {place.partition('.')[2]}",
                f"COMMENT ON TABLE {place} IS {_literal(print_)}",
                f"ALTER TABLE {self._place} ATTACH PARTITION {place} FOR VALUES IN ({key})",
            ):
                connection.exec_driver_sql(statement)

    def _forget(self, chunks: Iterable[str]) -> None:
        for chunk in chunks:
            with self._changing() as connection:
                self._drop(connection, chunk)

    def _drop(self, connection: sa.Connection, chunk: str) -> None:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {self._partition(chunk)}")

    def _partition(self, chunk: str) -> str:
        return f"{SCHEMA}.{quote_identifier(f'{self._name} {chunk}')}"


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _for_copy(rows: pa.Table) -> pa.Table:
    """The same values in types that CSV and PostgreSQL have."""
    columns = {
        field.name: rows[field.name].cast(_plain(field.type)).combine_chunks()
        for field in rows.schema
    }
    return pa.table(
        {
            name: column.view(pa.int64()) if column.type == pa.uint64() else column
            for name, column in columns.items()
        }
    )


def _literal(text: str) -> str:
    """A text as a constant of SQL, for statements that take no parameters."""
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"
