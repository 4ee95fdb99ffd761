"""The source tables: their names in this deployment, and their columns.

A campus has sessions, spaces, room types, faculty offices and coverage. A simulated campus, or a
published one with known answers, also has truth tables.

The registry of vendor prefixes is loaded from files, too. It is public: a table of the warehouse,
whatever the source is.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from tippers_dagster.errors import SourceError
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings

SESSIONS = "sessions"
SPACES = "spaces"
SPACE_METADATA = "space_metadata"
FACULTY_DATA = "faculty_data"
REGION_TO_COVERAGE = "region_to_coverage"
VENDOR_PREFIXES = "vendor_prefixes"
TRUTH_DEVICE = "truth_device"
TRUTH_PERSON = "truth_person"
TRUTH_HEADCOUNT = "truth_headcount"
TRUTH_OCCUPANCY = "truth_occupancy"

TEXT = pa.string()
LOCAL_TIME = pa.timestamp("us")
_ARROW_TYPES: dict[str, dict[str, pa.DataType]] = {
    SESSIONS: {
        name: LOCAL_TIME if name in ("start_time", "end_time") else TEXT for name in SESSION_COLUMNS
    },
    SPACES: dict.fromkeys(SPACE_COLUMNS, TEXT),
    SPACE_METADATA: dict.fromkeys(("roomid", "typeid", "type", "building_room"), TEXT),
    FACULTY_DATA: dict.fromkeys(("name", "office"), TEXT),
    REGION_TO_COVERAGE: {
        **dict.fromkeys(("region_id", "space_name", "wapcov_id", "sensor"), TEXT),
        "intersection_percentage": pa.float64(),
    },
    TRUTH_DEVICE: dict.fromkeys(("mac_address", "device_type", "person_id"), TEXT),
    TRUTH_PERSON: dict.fromkeys(("person_id", "person_type"), TEXT),
    TRUTH_HEADCOUNT: {
        "space_id": TEXT,
        "interval_seconds": pa.int32(),
        "interval_begin_time": pa.timestamp("us", tz="UTC"),
        "people": pa.int32(),
    },
    TRUTH_OCCUPANCY: {
        "space_id": TEXT,
        "interval_seconds": pa.int32(),
        "interval_begin_time": pa.timestamp("us", tz="UTC"),
        "number_connections": pa.int32(),
    },
}
SQL_TYPES: dict[pa.DataType, str] = {
    TEXT: "text",
    LOCAL_TIME: "timestamp",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.int32(): "integer",
}
PRIMARY_KEYS = {
    SPACES: ("space_id",),
    VENDOR_PREFIXES: ("prefix",),
    TRUTH_DEVICE: ("mac_address",),
    TRUTH_PERSON: ("person_id",),
    TRUTH_HEADCOUNT: ("space_id", "interval_seconds", "interval_begin_time"),
}
SESSION_INDEXES = ("start_time", "space_id", "mac_address")
"""Columns of the session table with an index each."""
INGEST_ID = "ingest_id"
"""An additional column of a session table that files are loaded into: the ingest of a row; null
for other rows."""
INSTANT = pa.timestamp("us", tz="UTC")
PERSON = "person"
KEPT = "kept"
EXACT = {
    "started_at": INSTANT,
    "ended_at": INSTANT,
    "last_seen": INSTANT,
    "session_id": TEXT,
    PERSON: pa.int64(),
    KEPT: TEXT,
}
"""Further columns of such a table, null where a log does not have them: instants, which local times
only mean, the last sign of life of a session without an end, the log's own id of a session, the
keyed hash of its user (the signed integer of the same bits), and further values that its mapping
keeps (JSON, see ``campus.log.kept``)."""
EXACT_SQL = {name: SQL_TYPES[kind] for name, kind in EXACT.items()} | {KEPT: "jsonb"}
"""The types of these columns in PostgreSQL."""

REASON = "reason"
"""A further column of sessions that are read in place: why a row cannot be used; null for all
others."""
ROW = "row"
"""Another one: what such a row said, as JSON, without user names."""


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
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"

    def column(self, name: str) -> str:
        """The source's name for the column ``name``, quoted."""
        return quote_identifier(self.columns[name])

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


def loaded_tables(settings: Settings) -> dict[str, SourceTable]:
    """Every table that files are loaded into, by kind: the registry, too."""
    names = ("prefix", "maker")
    registry = SourceTable(
        kind=VENDOR_PREFIXES,
        schema="tippers",  # as declared in ``campus.tables``
        name="vendor_prefix",
        columns={name: name for name in names},
        types=dict.fromkeys(names, TEXT),
    )
    return {**source_tables(settings), registry.kind: registry}


def in_warehouse(settings: Settings) -> Settings:
    """The settings for what is loaded into the warehouse, whatever the source is."""
    return settings.model_copy(update={"source_url": None})


def require_own_source(settings: Settings) -> None:
    """Raise ``SourceError`` when the source is a campus's own database."""
    if settings.source_url is not None:
        raise SourceError(
            "TIPPERS_SOURCE_URL is set: the campus's own database is read only.",
            "To load files or a simulated campus, unset TIPPERS_SOURCE_URL. The source tables are "
            "then in the warehouse.",
        )
