"""The source tables: their names in this deployment, creating them, and checking them.

A campus has sessions, spaces, room types, faculty offices and coverage. A simulated campus, or a
published one with known answers, also has truth tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from tippers_dagster.errors import SourceError
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings

if TYPE_CHECKING:
    from tippers_dagster.source.load import Load

SESSIONS = "sessions"
SPACES = "spaces"
SPACE_METADATA = "space_metadata"
FACULTY_DATA = "faculty_data"
REGION_TO_COVERAGE = "region_to_coverage"
TRUTH_DEVICE = "truth_device"
TRUTH_PERSON = "truth_person"
TRUTH_HEADCOUNT = "truth_headcount"
TRUTH_OCCUPANCY = "truth_occupancy"

_TEXT = pa.string()
_LOCAL_TIME = pa.timestamp("us")
_ARROW_TYPES: dict[str, dict[str, pa.DataType]] = {
    SESSIONS: {
        name: _LOCAL_TIME if name in ("start_time", "end_time") else _TEXT
        for name in SESSION_COLUMNS
    },
    SPACES: dict.fromkeys(SPACE_COLUMNS, _TEXT),
    SPACE_METADATA: dict.fromkeys(("roomid", "typeid", "type", "building_room"), _TEXT),
    FACULTY_DATA: dict.fromkeys(("name", "office"), _TEXT),
    REGION_TO_COVERAGE: {
        **dict.fromkeys(("region_id", "space_name", "wapcov_id", "sensor"), _TEXT),
        "intersection_percentage": pa.float64(),
    },
    TRUTH_DEVICE: dict.fromkeys(("mac_address", "device_type", "person_id"), _TEXT),
    TRUTH_PERSON: dict.fromkeys(("person_id", "person_type"), _TEXT),
    TRUTH_HEADCOUNT: {
        "space_id": _TEXT,
        "interval_seconds": pa.int32(),
        "interval_begin_time": pa.timestamp("us", tz="UTC"),
        "people": pa.int32(),
    },
    TRUTH_OCCUPANCY: {
        "space_id": _TEXT,
        "interval_seconds": pa.int32(),
        "interval_begin_time": pa.timestamp("us", tz="UTC"),
        "number_connections": pa.int32(),
    },
}
SQL_TYPES: dict[pa.DataType, str] = {
    _TEXT: "text",
    _LOCAL_TIME: "timestamp",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.float64(): "double precision",
    pa.int32(): "integer",
}
PRIMARY_KEYS = {
    SPACES: ("space_id",),
    TRUTH_DEVICE: ("mac_address",),
    TRUTH_PERSON: ("person_id",),
    TRUTH_HEADCOUNT: ("space_id", "interval_seconds", "interval_begin_time"),
}
_REQUIRED = (SESSIONS, SPACES)
_OPTIONAL = (SPACE_METADATA, FACULTY_DATA, REGION_TO_COVERAGE)
SESSION_INDEXES = ("start_time", "space_id", "mac_address")
"""Columns of the session table with an index each."""
INGEST_ID = "ingest_id"
"""An additional column of a session table that files are loaded into: the ingest of a row; null
for other rows."""

_COLUMN_SETTINGS = {SESSIONS: "TIPPERS_SESSION_COLUMNS", SPACES: "TIPPERS_SPACE_COLUMNS"}
_TABLE_SETTINGS = {
    SESSIONS: "TIPPERS_SESSION_TABLE",
    SPACES: "TIPPERS_SPACE_TABLE",
    SPACE_METADATA: "TIPPERS_SPACE_METADATA_TABLE",
    FACULTY_DATA: "TIPPERS_FACULTY_TABLE",
    REGION_TO_COVERAGE: "TIPPERS_COVERAGE_TABLE",
}
_NO_TEXT = {"double precision", "real", "money", "bytea", "json", "jsonb", "xml"}
_TEXT_CATEGORIES = "SNUIEX"
"""Categories of PostgreSQL's types that are readable names when cast to text."""


def quote(identifier: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True)
class SourceTable:
    """One source table with its names in this deployment.

    ``columns`` maps tippers' column names to the source's, ``types`` to Arrow types.
    """

    kind: str
    schema: str
    name: str
    columns: dict[str, str]
    types: dict[str, pa.DataType]

    @property
    def sql(self) -> str:
        """The qualified, quoted name of the table."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def column(self, name: str) -> str:
        """The source's name for the column ``name``, quoted."""
        return quote(self.columns[name])

    def arrow_schema(self) -> pa.Schema:
        """The columns and types that loaders provide, with tippers' names."""
        return pa.schema(list(self.types.items()))


def source_tables(settings: Settings) -> dict[str, SourceTable]:
    """Every source and truth table by kind (``SESSIONS``, ``SPACES``, ...)."""
    names = {
        SESSIONS: settings.session_table,
        SPACES: settings.space_table,
        SPACE_METADATA: settings.space_metadata_table,
        FACULTY_DATA: settings.faculty_table,
        REGION_TO_COVERAGE: settings.coverage_table,
    }
    renamed = {SESSIONS: settings.session_columns, SPACES: settings.space_columns}
    return {
        kind: SourceTable(
            kind=kind,
            schema=settings.source_schema,
            name=names.get(kind, kind),
            columns={name: renamed.get(kind, {}).get(name, name) for name in types},
            types=types,
        )
        for kind, types in _ARROW_TYPES.items()
    }


def create_source_schema(settings: Settings) -> None:
    """Create missing source tables in the warehouse's database.

    The session table's indexes are created after its first bulk load (``create_session_indexes``),
    which is several times faster than filling them row by row.

    Raises
    ------
    SourceError
        When the source is a campus's own database, which is read only.
    """
    from tippers_dagster.source.load import load_transaction

    with load_transaction(settings) as load:
        # Two processes that create the same tables would collide in PostgreSQL's catalogue.
        load.execute("SELECT pg_advisory_xact_lock(hashtext('tippers.source_schema'))::text")
        load.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(settings.source_schema)}")
        for table in source_tables(settings).values():
            load.execute(_create_table(table))
        _add_ingest_id(load, source_tables(settings)[SESSIONS])


def refuse_foreign_source(settings: Settings) -> None:
    """Raise ``SourceError`` when the source is a campus's own database."""
    if settings.source_url is not None:
        raise SourceError(
            "TIPPERS_SOURCE_URL is set: the campus's own database is read only.",
            "To load files or a simulated campus, unset TIPPERS_SOURCE_URL. The source tables are "
            "then in the warehouse.",
        )


@dataclass(frozen=True)
class SourceProblem:
    """A problem of a source table: with some columns (tippers' names), or the table is missing."""

    kind: str
    text: str
    columns: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether the whole table is missing."""
        return not self.columns


def check_source(settings: Settings) -> list[SourceProblem]:
    """Missing tables and columns of the source, and columns of the wrong type.

    The session and space tables are required. The others may be missing, but their columns are
    checked if they exist. Every text names the setting that can fix the problem.
    """
    tables = source_tables(settings)
    existing = _existing_columns(settings, [tables[kind].name for kind in (*_REQUIRED, *_OPTIONAL)])
    found: list[SourceProblem] = []
    for kind in (*_REQUIRED, *_OPTIONAL):
        columns = existing.get(tables[kind].name)
        if columns is not None:
            found += _wrong_columns(tables[kind], columns)
        elif kind in _REQUIRED:
            where = f"{settings.source_schema}.{tables[kind].name}"
            text = f"{_TABLE_SETTINGS[kind]}: the source has no table {where} ({kind})"
            found.append(SourceProblem(kind, text))
    return found


_checked: set[tuple[Settings, str, tuple[str, ...]]] = set()
"""Tables that this process has found to match the settings."""


def require_columns(settings: Settings, kind: str, needed: tuple[str, ...]) -> None:
    """Check the columns of a source table against the settings, once per process.

    Does not report a missing table: reading it does. ``needed`` are tippers' names.

    Raises
    ------
    SourceError
        Names the setting and the column.
    """
    if (settings, kind, needed) in _checked:
        return
    found = [problem for problem in check_source(settings) if problem.kind == kind]
    if wrong := [p.text for p in found if set(needed).intersection(p.columns)]:
        raise SourceError("\n".join(wrong), COLUMNS_HINT)
    if not any(problem.missing for problem in found):
        _checked.add((settings, kind, needed))


COLUMNS_HINT = (
    'Settings of columns are JSON: {"column": "name in the source"}. If a type differs, set '
    "TIPPERS_SESSION_TABLE to a view that converts it. `tippers doctor` checks all columns."
)


@dataclass(frozen=True)
class _Column:
    type: str
    category: str
    readable: bool


def _existing_columns(settings: Settings, names: list[str]) -> dict[str, dict[str, _Column]]:
    """The columns of those tables and views that exist."""
    from tippers_dagster.source.load import read_source

    # Not information_schema, which lacks materialized views and unreadable tables.
    wanted = ", ".join(f"${i}" for i in range(2, len(names) + 2))
    found = read_source(
        settings,
        "SELECT c.relname::text AS name, a.attname::text AS column, t.typcategory::text AS "
        "category, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) AS type, "
        "has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT') "
        "AS readable FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "AND NOT a.attisdropped JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
        f"WHERE n.nspname = $1 AND c.relname IN ({wanted}) "
        "AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.oid, a.attnum",
        (settings.source_schema, *names),
    )
    existing: dict[str, dict[str, _Column]] = {}
    for row in found.to_pylist():
        column = _Column(row["type"], row["category"], row["readable"])
        existing.setdefault(row["name"], {})[row["column"]] = column
    return existing


def _wrong_columns(table: SourceTable, existing: dict[str, _Column]) -> list[SourceProblem]:
    where = f"{table.schema}.{table.name}"
    setting = _COLUMN_SETTINGS.get(table.kind) or _TABLE_SETTINGS[table.kind]
    found: list[SourceProblem] = []

    def note(text: str, *columns: str) -> None:
        found.append(SourceProblem(table.kind, f"{setting}: {text}", columns))

    if missing := {ours: name for ours, name in table.columns.items() if name not in existing}:
        names, columns = ", ".join(missing.values()), ", ".join(existing)
        note(
            f"the source table {where} has no column {names}; its columns are: {columns}", *missing
        )
    for ours, theirs in table.columns.items():
        column = existing.get(theirs)
        if column is None:
            continue
        role = "" if ours == theirs else f" (used as {ours})"
        if not column.readable:
            note(f"column {theirs}{role} of {where} is not readable: GRANT SELECT on it", ours)
        elif (expected := _expected(table.types[ours], column)) is not None:
            text = f"column {theirs}{role} of {where} has the type {column.type}"
            note(f"{text}; expected: {expected}", ours)
    return found


def _expected(kind: pa.DataType, column: _Column) -> str | None:
    """The expected types, if a column's type is wrong."""
    if kind == _TEXT:
        fits = column.category in _TEXT_CATEGORIES and column.type not in _NO_TEXT
        return None if fits else "text or whole numbers"
    if kind == _LOCAL_TIME:
        fits = column.type == "timestamp without time zone"
        return None if fits else "local times, timestamp without time zone"
    return None if column.category == "N" else "numbers"


def _add_ingest_id(load: Load, sessions: SourceTable) -> None:
    """Add the ingest column to a session table of an earlier version."""
    found = load.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND "
        "attname = $2 AND NOT attisdropped) OR relkind NOT IN ('r', 'p') AS there "
        "FROM pg_catalog.pg_class c WHERE oid = $1::regclass",
        (sessions.sql, INGEST_ID),
    )
    if not found["there"][0].as_py():
        # Checks first, since even an ALTER TABLE without an effect waits for readers.
        load.execute(f"ALTER TABLE {sessions.sql} ADD COLUMN {INGEST_ID} bigint")


def _create_table(table: SourceTable) -> str:
    keys = PRIMARY_KEYS.get(table.kind, ())
    parts = [
        f"{table.column(name)} {SQL_TYPES[arrow_type]}" for name, arrow_type in table.types.items()
    ]
    if keys:
        parts.append(f"PRIMARY KEY ({', '.join(table.column(key) for key in keys)})")
    return f"CREATE TABLE IF NOT EXISTS {table.sql} ({', '.join(parts)})"
