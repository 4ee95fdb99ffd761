"""The current columns of tables and views in the warehouse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True)
class Column:
    """A column of a table or query result; ``type`` is PostgreSQL's name of it, such as bigint."""

    name: str
    type: str


def table_columns(connection: sa.Connection, schema: str, name: str) -> list[Column]:
    """The columns of a table or view, in order; empty if there is no such table."""
    query = sa.text(
        "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = :schema AND c.relname = :name AND a.attnum > 0 "
        "AND NOT a.attisdropped ORDER BY a.attnum"
    )
    return [Column(*row) for row in connection.execute(query, {"schema": schema, "name": name})]


def schema_columns(
    connection: sa.Connection, schemas: Iterable[str]
) -> dict[tuple[str, str], tuple[Column, ...]]:
    """The columns of all tables and views in some schemas, by schema and table, in order."""
    query = sa.text(
        "SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum), "
        "array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'v', 'm') AND a.attnum > 0 "
        "AND NOT a.attisdropped GROUP BY 1, 2"
    )
    found = connection.execute(query, {"schemas": sorted(set(schemas))})
    return {
        (schema, table): tuple(map(Column, names, types)) for schema, table, names, types in found
    }
