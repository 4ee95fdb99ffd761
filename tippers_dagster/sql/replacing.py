"""Replaces the rows of whole tables in the warehouse, such as labels and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg2.errors
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Target:
    """A table with one row per entity.

    Attributes
    ----------
    schema, name
        Its place; the schema has a plain name and is created if missing.
    key
        The primary key column.
    types
        SQL type of each column, in order.
    comment, comments
        Description of the table, and of some columns.
    """

    schema: str
    name: str
    key: str
    types: Mapping[str, str]
    comment: str
    comments: Mapping[str, str] = field(default_factory=dict)


def replace_rows(settings: Settings, target: Target, rows: pa.Table) -> None:
    """Replace all rows of a table in one transaction; views that read it stay intact.

    The table is created, or its columns are changed to those of ``target``, if necessary.
    Definitions may read it, by the schema's default privileges (``sql/roles.py``).

    Parameters
    ----------
    rows
        With the columns of ``target``.

    Raises
    ------
    TippersError
        When a view reads a column that would be dropped.
    """
    with warehouse_engine(settings).begin() as connection:
        _replace(connection, target, rows)


def check_keys(keys: pa.ChunkedArray, what: str) -> None:
    """Check that every entity has a unique key.

    Raises
    ------
    BadInput
        Names an example.
    """
    if keys.null_count:
        raise BadInput(
            f"The {what} has rows without a key: {keys.null_count:,}.",
            "Filter them out in the index's query.",
        )
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        raise BadInput(
            f"The {what} has duplicate keys: {len(twice):,}, for example {twice[0]['values']}.",
            "An index has one row per entity: use DISTINCT or GROUP BY in its query.",
        )


def _replace(connection: sa.Connection, target: Target, rows: pa.Table) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    place = f"{target.schema}.{quote(target.name)}"
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": place}
    )
    connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {target.schema}"))
    body = ", ".join(f"{quote(name)} {kind}" for name, kind in target.types.items())
    connection.execute(sa.text(f"CREATE TEMP TABLE staged_rows ({body}) ON COMMIT DROP"))
    copy_rows(connection, "staged_rows", rows)
    _match_columns(connection, target, place)
    names = ", ".join(quote(name) for name in target.types)
    connection.execute(sa.text(f"TRUNCATE {place}"))
    connection.execute(sa.text(f"INSERT INTO {place} ({names}) SELECT {names} FROM staged_rows"))
    connection.execute(sa.text(f"ANALYZE {place}"))
    _describe(connection, target, place)


def _match_columns(connection: sa.Connection, target: Target, place: str) -> None:
    """Create the table, or change its columns to those of ``target``."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    wanted = target.types
    query = sa.text(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute "
        "WHERE attrelid = to_regclass(:t) AND attnum > 0 AND NOT attisdropped"
    )
    found = {row.attname: row.type for row in connection.execute(query, {"t": place})}
    changes = [
        *(f"DROP COLUMN {quote(c)}" for c, kind in found.items() if wanted.get(c) != kind),
        *(f"ADD COLUMN {quote(c)} {kind}" for c, kind in wanted.items() if found.get(c) != kind),
    ]
    key = quote(target.key)
    if not found:
        body = ", ".join(f"{quote(name)} {kind}" for name, kind in wanted.items())
        connection.execute(sa.text(f"CREATE TABLE {place} ({body}, PRIMARY KEY ({key}))"))
    elif changes:
        if found.get(target.key) != wanted[target.key]:
            changes.append(f"ADD PRIMARY KEY ({key})")
        connection.execute(sa.text(f"TRUNCATE {place}"))
        with _naming_dependents(target):
            connection.execute(sa.text(f"ALTER TABLE {place} {', '.join(changes)}"))


@contextmanager
def _naming_dependents(target: Target) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg2.errors.DependentObjectsStillExist):
            raise
        raise TippersError(
            f"The columns of {target.schema}.{target.name} changed, and cannot while they are "
            f"read: {error.orig.diag.message_detail}",
            "Drop the views that are named here, and make them again after.",
        ) from None


def _describe(connection: sa.Connection, target: Target, place: str) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    connection.execute(sa.text(f"COMMENT ON TABLE {place} IS '{target.comment}'"))
    for column, meaning in target.comments.items():
        connection.execute(sa.text(f"COMMENT ON COLUMN {place}.{quote(column)} IS '{meaning}'"))
