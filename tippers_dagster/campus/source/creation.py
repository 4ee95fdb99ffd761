"""Creating the source tables on the warehouse's database."""

from __future__ import annotations

from tippers_dagster.campus.source.load import Load, load_transaction
from tippers_dagster.campus.source.schema import (
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
        _add_ingest_id(load, source_tables(settings)[SESSIONS])


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
