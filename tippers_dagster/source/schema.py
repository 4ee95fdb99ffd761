"""The source tables: their names in this deployment, their making, and their checking.

The tables are those that a campus has (sessions, spaces, room types, faculty offices, coverage)
and, beside them, the truth of a campus that is known: simulated, or published with its answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from tippers_dagster.errors import SourceError
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings

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
_SQL_TYPES: dict[pa.DataType, str] = {
    _TEXT: "text",
    _LOCAL_TIME: "timestamp",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.float64(): "double precision",
    pa.int32(): "integer",
}
_PRIMARY_KEYS = {
    SPACES: ("space_id",),
    TRUTH_DEVICE: ("mac_address",),
    TRUTH_PERSON: ("person_id",),
    TRUTH_HEADCOUNT: ("space_id", "interval_seconds", "interval_begin_time"),
}
_REQUIRED = (SESSIONS, SPACES)
_OPTIONAL = (SPACE_METADATA, FACULTY_DATA, REGION_TO_COVERAGE)
SESSION_INDEXES = ("start_time", "space_id", "mac_address")
"""Columns of the session table that each have an index."""


def quote(identifier: str) -> str:
    """A name as an SQL identifier, whatever characters it holds."""
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True)
class SourceTable:
    """One source table as this deployment calls it.

    ``columns`` maps our name of each column to the source's, ``types`` to its Arrow type.
    """

    kind: str
    schema: str
    name: str
    columns: dict[str, str]
    types: dict[str, pa.DataType]

    @property
    def sql(self) -> str:
        """The table, qualified and quoted."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def column(self, name: str) -> str:
        """The source's name of our column ``name``, quoted."""
        return quote(self.columns[name])

    def arrow_schema(self) -> pa.Schema:
        """Our names and types, in order: what a loader has to hand over."""
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
    """Create the source tables that do not exist yet, on the warehouse's database.

    The session table's indexes are made after its first bulk load (``create_session_indexes``),
    which is several times faster than filling them row by row.

    Raises
    ------
    SourceError
        When the source is a deployment's own database, which is read, never written.
    """
    from tippers_dagster.source.load import load_transaction

    with load_transaction(settings) as load:
        # Two first starts at once would both find nothing, and collide in the catalogue.
        load.execute("SELECT pg_advisory_xact_lock(hashtext('tippers.source_schema'))::text")
        load.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(settings.source_schema)}")
        for table in source_tables(settings).values():
            load.execute(_create_table(table))


def refuse_foreign_source(settings: Settings) -> None:
    """Raise ``SourceError`` when the source database is a deployment's own."""
    if settings.source_url is not None:
        raise SourceError(
            "TIPPERS_SOURCE_URL names the campus's own database, which is never written.",
            "To load files or a simulated campus, unset TIPPERS_SOURCE_URL: the source tables are "
            "then kept in the warehouse's database.",
        )


def check_source(settings: Settings) -> list[str]:
    """What the source database lacks, one message a line; empty when all is there.

    The session and space tables are required. The others are optional: only columns that one
    of them lacks are reported, not its absence.
    """
    from tippers_dagster.source.load import read_source

    found = read_source(
        settings,
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "WHERE table_schema = $1",
        (settings.source_schema,),
    )
    present: dict[str, set[str]] = {}
    for table_name, column_name in zip(*(c.to_pylist() for c in found.columns), strict=True):
        present.setdefault(table_name, set()).add(column_name)
    tables = source_tables(settings)
    return [
        problem
        for kind in (*_REQUIRED, *_OPTIONAL)
        if (problem := _problem(tables[kind], present, required=kind in _REQUIRED))
    ]


def _problem(table: SourceTable, present: dict[str, set[str]], *, required: bool) -> str | None:
    where = f"{table.schema}.{table.name}"
    if table.name not in present:
        return f"the source has no table {where} ({table.kind})" if required else None
    missing = [theirs for theirs in table.columns.values() if theirs not in present[table.name]]
    if missing:
        return f"the source table {where} has no column {', '.join(missing)}"
    return None


def _create_table(table: SourceTable) -> str:
    keys = _PRIMARY_KEYS.get(table.kind, ())
    parts = [
        f"{table.column(name)} {_SQL_TYPES[arrow_type]}" for name, arrow_type in table.types.items()
    ]
    if keys:
        parts.append(f"PRIMARY KEY ({', '.join(table.column(key) for key in keys)})")
    return f"CREATE TABLE IF NOT EXISTS {table.sql} ({', '.join(parts)})"
