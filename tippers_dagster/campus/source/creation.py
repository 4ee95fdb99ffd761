"""Creating the source tables on the warehouse's database."""

from __future__ import annotations

from collections.abc import Mapping

from tippers_dagster.campus.source.load import Load, load_transaction
from tippers_dagster.campus.source.schema import (
    EXACT_SQL,
    INGEST_ID,
    PRIMARY_KEYS,
    SESSIONS,
    SQL_TYPES,
    SourceTable,
    source_tables,
)
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.settings import Settings


def create_source_schema(settings: Settings) -> None:
    """Create missing source tables in the warehouse's database.

    The session table's indexes are created after its first bulk load (``create_session_indexes``),
    which is several times faster than filling them row by row.

    Raises
    ------
    SourceError
        When the source is a campus's own database, which is read only.
    """
    with load_transaction(settings) as load:
        # Two processes that create the same tables would collide in PostgreSQL's catalogue.
        load.execute("SELECT pg_advisory_xact_lock(hashtext('tippers.source_schema'))::text")
        load.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(settings.source_schema)}")
        for table in source_tables(settings).values():
            load.execute(_create_table(table))
        _add_columns(load, source_tables(settings)[SESSIONS], {INGEST_ID: "bigint", **EXACT_SQL})


def _add_columns(load: Load, sessions: SourceTable, columns: Mapping[str, str]) -> None:
    """Add columns, by type, that a session table does not have yet; a view stays as it is."""
    found = load.execute(
        "SELECT array_agg(attname::text) AS names, relkind NOT IN ('r', 'p') AS is_view "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON attrelid = c.oid "
        "WHERE c.oid = $1::regclass AND NOT attisdropped GROUP BY relkind",
        (sessions.sql,),
    ).to_pylist()[0]
    missing = [name for name in columns if name not in found["names"]]
    if missing and not found["is_view"]:
        # Checks first, since even an ALTER TABLE without an effect waits for readers.
        added = ", ".join(f"ADD COLUMN {name} {columns[name]}" for name in missing)
        load.execute(f"ALTER TABLE {sessions.sql} {added}")


def _create_table(table: SourceTable) -> str:
    keys = PRIMARY_KEYS.get(table.kind, ())
    parts = [
        f"{table.column(name)} {SQL_TYPES[arrow_type]}" for name, arrow_type in table.types.items()
    ]
    if keys:
        parts.append(f"PRIMARY KEY ({', '.join(table.column(key) for key in keys)})")
    return f"CREATE TABLE IF NOT EXISTS {table.sql} ({', '.join(parts)})"
