"""The log in the warehouse, for models that run on PostgreSQL: the schema ``log``.

Each table has one partition per time chunk, or a single one if it has no files. The comment of a
partition is the fingerprint that was recorded of its rows, so that the two cannot part; one without
a comment is loaded again. Only partitions whose recorded fingerprint differs are loaded, each in a
transaction of its own. Views read the partitioned table, which stays.

Over a window, a table is a view of the partitions of its chunks; one that is made from the log is a
table of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.automation.nodes import digest
from tippers_dagster.catalog.window import EVERYTHING, Window, window_of_tag
from tippers_dagster.occupancy.log import void_chunks
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import table_columns
from tippers_dagster.sql.log import (
    LOG_TABLES,
    SCHEMA,
    LogTable,
    chunk_files,
    chunks_of,
    made_table,
    window_chunks,
    windowed,
)

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


def fill_log(settings: Settings, names: Collection[str], window: Window = EVERYTHING) -> None:
    """Bring tables of the log in the warehouse, over a window, up to date with the lake.

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
    NoTerm
        The window is a term, and the calendar has none.
    """
    chunks = window_chunks(settings, names, window)
    for name in sorted(names):
        filling = _Filling(settings, name, chunks, window)
        filling.fill()
        if not window.is_everything:
            filling.make_view()


def forget_log(settings: Settings) -> None:
    """Delete what the lake has no more, and tables that were made from it.

    The next run of definitions makes these again.
    """
    query = sa.text(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema) "
        "AND relkind = 'p' ORDER BY 1"
    )
    with warehouse_engine(settings).connect() as connection:
        there = connection.scalars(query, {"schema": SCHEMA}).all()
    for found in there:
        name, _, tag = found.partition("__")
        window = window_of_tag(tag) if tag else EVERYTHING
        _Filling(settings, name, window=window).forget()


class _Filling:
    """One table of the log, being filled; without ``chunks``, of all recorded ones."""

    def __init__(
        self,
        settings: Settings,
        log_name: str,
        chunks: Sequence[str] | None = None,
        window: Window = EVERYTHING,
    ) -> None:
        self._settings, self._log_name = settings, log_name
        self._chunks, self._window = chunks, window
        self._table: LogTable = LOG_TABLES[log_name]
        self._name = windowed(log_name, window) if self._made_of_window else log_name
        self._place = f"{SCHEMA}.{quote_identifier(self._name)}"

    @property
    def _made_of_window(self) -> bool:
        """Whether each window has a table of its own; of the others it has partitions."""
        return self._table.read is not None and self._table.by_chunk

    def fill(self) -> None:
        """Load what differs, and drop what is no longer there."""
        with self._changing() as connection:
            self._make(connection)
        wanted = self._wanted()
        there = self._there()
        gone = there.keys() - self._kept(wanted)
        differing = [chunk for chunk, print_ in wanted.items() if there.get(chunk) != print_]
        self._forget(gone)
        files: Mapping[str, list[str]] = {}
        if self._table.folders:
            files = chunk_files(self._settings, self._log_name, self._chunks or (), self._window)
        for chunk in differing:
            rows = self._read(files, chunk)
            # A file that a run is replacing may not be the recorded one.
            steady = self._wanted().get(chunk) == wanted[chunk] and not self._void(chunk)
            self._load(chunk, rows, wanted[chunk] if steady else "")
        if gone or differing:
            with warehouse_engine(self._settings).begin() as connection:
                connection.exec_driver_sql(f"ANALYZE {self._place}")

    def make_view(self) -> None:
        """Make the view of the window's partitions, unless it is there, or a table is."""
        if self._made_of_window:
            return
        view = f"{SCHEMA}.{quote_identifier(windowed(self._log_name, self._window))}"
        chunks = ", ".join(map(_literal, self._wanted())) or "NULL"
        columns = ", ".join(map(quote_identifier, self._table.schema.names))
        sql = f"SELECT {columns} FROM {self._place} WHERE {_CHUNK} IN ({chunks})"
        there = sa.text("SELECT obj_description(to_regclass(:view), 'pg_class')")
        with self._changing() as connection:
            if connection.scalar(there, {"view": view}) != digest(sql):
                connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {view} AS {sql}")
                connection.exec_driver_sql(f"COMMENT ON VIEW {view} IS {_literal(digest(sql))}")

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
        if self._chunks is not None and (self._table.folders or self._made_of_window):
            chunks = chunks_of(self._settings, self._log_name, self._chunks, self._window)
            prints = {chunk: prints[chunk] for chunk in chunks}
        if self._table.folders:
            return prints
        parts = [part for chunk in prints.items() for part in chunk]
        return {_WHOLE: digest(*parts, self._table.more(self._settings))}

    def _kept(self, wanted: Mapping[str, str]) -> Collection[str]:
        """The partitions that may stay: windows do without the others of everything."""
        if self._table.folders and not self._window.is_everything:
            return self._table.fingerprints(self._settings).keys()
        return wanted.keys()

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
            return made_table(settings, self._log_name, self._chunks or ())
        lake = open_lake(settings)
        parts = [
            lake.read_table(key, columns=table.schema.names, optional=table.optional)
            for key in files[chunk]
        ]
        return pa.concat_tables(part.cast(table.schema) for part in parts)

    # --- changing it ------------------------------------------------------------------------
    @contextmanager
    def _changing(self) -> Iterator[sa.Connection]:
        with warehouse_engine(self._settings).begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    def _make(self, connection: sa.Connection) -> None:
        """Create the table; one with the columns of another version is dropped.

        Columns that came later are added to one that only lacks these: no chunk that was loaded
        before has values of them.
        """
        wanted = {field.name: _TYPES[_plain(field.type)] for field in self._table.schema}
        wanted[_CHUNK] = "text"
        there = {c.name: c.type for c in table_columns(connection, SCHEMA, self._name)}
        if there == wanted:
            return
        lacking = [name for name in self._table.added if name not in there]
        if there and there | {name: wanted[name] for name in lacking} == wanted:
            added = ", ".join(f"ADD COLUMN {quote_identifier(n)} {wanted[n]}" for n in lacking)
            connection.exec_driver_sql(f"ALTER TABLE {self._place} {added}")
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
