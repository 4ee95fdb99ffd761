"""Writes what a sandbox made as tables of the warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import pyarrow as pa

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.warehouse.engine import copy_batches
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.roles import builder_url, ensure_roles


def store_table(
    settings: Settings,
    place: tuple[str, str],
    columns: Sequence[Column],
    rows: pa.Table,
    indexes: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Make or replace a table in one transaction, as the builder; views that read it are dropped.

    Parameters
    ----------
    place
        Schema and name.
    columns
        With the types that they will have. Values of types that Arrow or CSV lack are texts, as
        PostgreSQL reads them.
    indexes
        As in dbt's configuration: ``columns``, and whether it is ``unique``.

    Raises
    ------
    TippersError
        PostgreSQL's reason; the table is as it was.
    """
    ensure_roles(settings)
    schema, name = (quote_identifier(part) for part in place)
    new = f"{schema}.{quote_identifier(f'new__{place[1]}'[:63])}"
    types = ", ".join(f"{quote_identifier(c.name)} {c.type}" for c in columns)
    with closing(psycopg2.connect(builder_url(settings))) as connection:
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE TABLE {new} ({types})")
                copy_batches(cursor, new, rows)
                cursor.execute(f"DROP TABLE IF EXISTS {schema}.{name} CASCADE")
                cursor.execute(f"ALTER TABLE {new} RENAME TO {name}")
                for statement in _finishing(f"{schema}.{name}", indexes):
                    cursor.execute(statement)
        except psycopg2.Error as error:
            raise TippersError(f"{'.'.join(place)} could not be stored: {error}".strip()) from error


def _finishing(table: str, indexes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for index in indexes:
        over = ", ".join(quote_identifier(column) for column in index["columns"])
        unique = "UNIQUE " if index.get("unique") else ""
        yield f"CREATE {unique}INDEX ON {table} ({over})"
    yield f"ANALYZE {table}"
