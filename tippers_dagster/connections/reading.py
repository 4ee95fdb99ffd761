"""Lists the tables of other databases, and reads their rows as Arrow, in pieces."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import ObjectKind

from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.connections import mysql_tables
from tippers_dagster.connections.columns import Column, columns_of
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.connections.opening import Place, opened, opened_for_arrow
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

PIECE_ROWS = 20_000
"""Maximum rows in memory at once, besides the driver's own buffers."""

_SYSTEM_SCHEMAS = {
    "postgresql": {"information_schema", "pg_catalog", "pg_toast"},
    "mssql": {"INFORMATION_SCHEMA", "sys", "guest"},
}

_ESTIMATES = {
    "postgresql": """SELECT n.nspname, c.relname, c.reltuples FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm', 'p')""",
    "mysql": """SELECT NULL, table_name, table_rows FROM information_schema.tables
        WHERE table_schema = database()""",
    "mssql": """SELECT s.name, t.name, sum(p.rows) FROM sys.tables t
        JOIN sys.schemas s ON s.schema_id = t.schema_id
        JOIN sys.partitions p ON p.object_id = t.object_id AND p.index_id IN (0, 1)
        GROUP BY s.name, t.name""",
}


class NoTable(ConnectionFault):
    """Another database has no table of a name, or does not show it."""


@dataclass(frozen=True)
class FoundColumn:
    """A column of another database; ``type`` is its type there."""

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True)
class FoundTable:
    """A table or view of another database; ``rows`` is an estimate, None if unknown."""

    schema_name: str | None
    name: str
    columns: tuple[FoundColumn, ...]
    primary_key: tuple[str, ...]
    rows: int | None


@dataclass(frozen=True, eq=False)
class Reflected:
    """The current structure of a table according to its database."""

    table: sa.Table
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    def column(self, name: str) -> Column:
        """A column by name; BadInput with similar names if there is none."""
        names = [column.name for column in self.columns]
        if name not in names:
            raise BadInput(f"{self.table.name} has no column {name!r}.", _suggestion(name, names))
        return self.columns[names.index(name)]


def find_tables(settings: Settings, place: Place) -> list[FoundTable]:
    """All tables and views that the connection's user may see, by schema and name."""
    with opened(settings, place) as connection, _unknown_types_are_text():
        estimates = _estimates(connection)
        if connection.dialect.name == "mysql":
            return _mysql_tables(connection, estimates)
        inspector = sa.inspect(connection)
        found: list[FoundTable] = []
        for schema in _schemas(inspector):
            described = inspector.get_multi_columns(schema=schema, kind=ObjectKind.ANY)
            keys = inspector.get_multi_pk_constraint(schema=schema, kind=ObjectKind.ANY)
            for (_, name), columns in sorted(described.items()):
                key = keys.get((schema, name))
                found.append(
                    FoundTable(
                        schema,
                        name,
                        tuple(_found_column(column) for column in columns),
                        tuple(key["constrained_columns"] if key else ()),
                        estimates.get((schema, name)),
                    )
                )
    return found


def _mysql_tables(
    connection: sa.Connection, estimates: dict[tuple[str | None, str], int]
) -> list[FoundTable]:
    indexes = mysql_tables.indexes_by_table(connection, None)
    return [
        FoundTable(
            None,
            name,
            tuple(FoundColumn(column.name, column.type, column.nullable) for column in columns),
            tuple(mysql_tables.primary_key(indexes.get(name, {}))),
            estimates.get((None, name)),
        )
        for name, columns in mysql_tables.columns_by_table(connection, None).items()
    ]


def _found_column(column: ReflectedColumn) -> FoundColumn:
    return FoundColumn(column["name"], str(column["type"]), bool(column["nullable"]))


def _schemas(inspector: sa.Inspector) -> list[str | None]:
    """The schemas to look at; None is the connection's default."""
    system = _SYSTEM_SCHEMAS.get(inspector.dialect.name)
    if system is None:
        return [None]
    names = inspector.get_schema_names()
    return [n for n in names if n not in system and not n.startswith(("pg_temp", "db_"))]


def _estimates(connection: sa.Connection) -> dict[tuple[str | None, str], int]:
    if connection.dialect.name == "sqlite":
        return _sqlite_estimates(connection)
    rows = connection.exec_driver_sql(_ESTIMATES[connection.dialect.name]).all()
    # PostgreSQL returns -1 for a table that was never analysed.
    return {(s, name): int(n) for s, name, n in rows if n is not None and n >= 0}


def _sqlite_estimates(connection: sa.Connection) -> dict[tuple[str | None, str], int]:
    """The largest row id, which SQLite finds at once; tables without one are left out."""
    names = connection.exec_driver_sql(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND wr = 0"
    ).scalars()
    found: dict[tuple[str | None, str], int] = {}
    for name in names.all():
        row_number = sa.literal_column("rowid", sa.Integer)
        largest = sa.select(sa.func.max(row_number)).select_from(sa.table(name))
        found[None, name] = connection.scalar(largest) or 0
    return found


def reflect(connection: sa.Connection, name: str, wanted: ConnectionTable) -> Reflected:
    """The structure of a table according to its database.

    Raises
    ------
    NoTable
        When it does not exist; suggests similar names.
    """
    with _unknown_types_are_text():
        table = _described(connection, wanted)
        if table is None:
            inspector = sa.inspect(connection)
            existing = [*inspector.get_table_names(wanted.schema_name)]
            existing += inspector.get_view_names(wanted.schema_name)
            written = f"{wanted.schema_name}.{wanted.name}" if wanted.schema_name else wanted.name
            raise NoTable(
                f"{name}: there is no table {written}, or its user may not see it.",
                _suggestion(wanted.name, existing)
                + f" `tippers connections tables {name}` lists them.",
            )
    key = tuple(column.name for column in table.primary_key)
    return Reflected(table, tuple(columns_of(table, connection.dialect.name)), key)


def _described(connection: sa.Connection, wanted: ConnectionTable) -> sa.Table | None:
    if connection.dialect.name == "mysql":
        return mysql_tables.described(connection, wanted.schema_name, wanted.name)
    try:
        return sa.Table(
            wanted.name,
            sa.MetaData(),
            schema=wanted.schema_name,
            autoload_with=connection,
            resolve_fks=False,
        )
    except sa.exc.NoSuchTableError:
        return None


def is_indexed(connection: sa.Connection, table: sa.Table, column: str) -> bool | None:
    """Whether an index of a table begins with a column; None for views, which have none."""
    if connection.dialect.name == "mysql":
        if table.name in sa.inspect(connection).get_view_names(table.schema):
            return None
        found = mysql_tables.indexes_by_table(connection, table.schema, table.name)
        return any(names[0] == column for names in found.get(table.name, {}).values())
    inspector = sa.inspect(connection)
    if table.name not in inspector.get_table_names(table.schema):
        return None
    indexes = inspector.get_indexes(table.name, table.schema)
    first = [tuple(index["column_names"])[:1] for index in indexes]
    key = inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]
    return (column,) in (*first, tuple(key)[:1])


def index_statement(connection: sa.Connection, table: sa.Table, column: str) -> str:
    """The statement that creates an index on a column, as its database writes it."""
    name = f"{table.name}_{column}"[: connection.dialect.max_identifier_length]
    index = sa.Index(name, table.c[column])
    return str(sa.schema.CreateIndex(index).compile(dialect=connection.dialect))


def _suggestion(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else "Check the spelling."


class _unknown_types_are_text(warnings.catch_warnings):  # noqa: N801 (used as a function)
    """Hides SQLAlchemy's warnings about unknown types; they are read as text."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", sa.exc.SAWarning)


# --- rows ----------------------------------------------------------------------------------------
def read_rows(
    settings: Settings, place: Place, query: sa.Select, columns: Sequence[Column]
) -> Iterator[pa.RecordBatch]:
    """The rows of a query that selects ``columns``, in pieces, from one statement.

    Raises
    ------
    ConnectionFault
        When the connection breaks, or a value does not fit its column's type.
    """
    if place.body.dialect == "postgresql":
        yield from _arrow_rows(settings, place, query)
    else:
        yield from _driver_rows(settings, place, query, columns)


def _arrow_rows(settings: Settings, place: Place, query: sa.Select) -> Iterator[pa.RecordBatch]:
    # Not psycopg2's dialect, which doubles percent signs for its placeholders.
    dialect = postgresql.dialect(paramstyle="named")
    text = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    with opened_for_arrow(settings, place) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        yield from cursor.fetch_record_batch()


def _driver_rows(
    settings: Settings, place: Place, query: sa.Select, columns: Sequence[Column]
) -> Iterator[pa.RecordBatch]:
    with opened(settings, place) as connection:
        streaming = connection.execution_options(yield_per=PIECE_ROWS)
        with streaming.execute(query) as result:
            pieces = result.partitions()
            while (piece := _next_piece(place, query, columns, pieces)) is not None:
                yield piece


def _next_piece(
    place: Place, query: sa.Select, columns: Sequence[Column], pieces: Iterator[Sequence[sa.Row]]
) -> pa.RecordBatch | None:
    try:
        rows = next(pieces, None)
        if rows is None:
            return None
        values = zip(*rows, strict=True)
        arrays = [pa.array(v, c.arrow) for v, c in zip(values, columns, strict=True)]
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise ConnectionFault(
            f"{place.name}: {query.get_final_froms()[0]} has a value that does not fit its "
            f"column's type: {error}",
            "Fix it there, or choose a view that leaves it out.",
        ) from None
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])
