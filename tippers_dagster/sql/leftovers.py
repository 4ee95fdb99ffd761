"""Drops what earlier versions, or the other engine, left in the warehouse: copies of the log."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from tippers_dagster.connections import store
from tippers_dagster.connections.bodies import SOURCE
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.connections.publish import drop_copy
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log import SCHEMA
from tippers_dagster.sql.names import STAGING

_log = logging.getLogger(__name__)

_RELATIONS = sa.text(
    "SELECT n.nspname, c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition "
    "ORDER BY 1, 2"
)


def drop_other_engine(settings: Settings) -> None:
    """Drop the log and the staging models in the warehouse, for definitions that run on DuckDB.

    PostgreSQL needs them; for DuckDB they are in the lake, and views in its memory.
    """
    with warehouse_engine(settings).begin() as connection:
        schemas = {"schemas": [SCHEMA, STAGING]}
        for schema, name, kind in connection.execute(_RELATIONS, schemas).all():
            place = f"{schema}.{quote_identifier(name)}"
            # A view may be gone with another one that it read.
            connection.exec_driver_sql(f"DROP {kind} IF EXISTS {place} CASCADE")


def drop_copied_log(settings: Settings) -> None:
    """Drop the copy of the campus's session table, which earlier versions synced for models.

    It stays if the connection's settings name it, and as long as something still reads it: models
    of the previous version do until each has been built again.
    """
    if settings.source_url is None:
        return
    chosen = {table.name for table in store.get(settings, SOURCE).tables}
    if settings.session_table not in chosen:
        try:
            with warehouse_engine(settings).begin() as connection:
                drop_copy(connection, SOURCE, settings.session_table)
        except ConnectionFault as error:
            _log.info("The copy of the session table stays for now: %s", error)
