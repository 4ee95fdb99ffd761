"""Syncing a table of another database into the warehouse.

The rows of a single statement stream as Arrow into a temporary table here; one transaction then
publishes them. No state is kept outside the warehouse: an incremental sync continues from the
largest cursor of the published rows. So a killed sync leaves nothing behind, and the next one does
its work.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tippers_dagster.catalog.kinds import Connection, ConnectionTable
from tippers_dagster.connections.bodies import check_table, is_optional
from tippers_dagster.connections.columns import Column
from tippers_dagster.connections.opening import opened, place_of
from tippers_dagster.connections.publish import Change, Copy
from tippers_dagster.connections.reading import NoTable, Reflected, read_rows, reflect
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

NUMBER_LAG = 1000
"""How far below the last cursor rows are read again, for a numeric cursor: numbers may be
committed in another order than they were assigned."""


NOTHING = Change(0, 0, 0, 0, "no table")
"""Of a table that is not there."""

MAX_IDENTIFIER_BYTES = 63
"""Maximum bytes of a PostgreSQL identifier."""


@dataclass(frozen=True)
class Synced:
    """The result of syncing one table.

    Attributes
    ----------
    everything
        Whether all rows were read, or only those from the last cursor on.
    read
        Number of rows read.
    bytes
        Their size as Arrow.
    change
        The differences found.
    last_cursor
        The largest value of the cursor, as text; None without a cursor.
    columns
        Names and types in the warehouse.
    """

    table: str
    everything: bool
    read: int
    bytes: int
    seconds: float
    change: Change
    last_cursor: str | None
    columns: Mapping[str, str]


def sync_table(
    settings: Settings,
    name: str,
    body: Connection,
    table: ConnectionTable,
    *,
    afresh: bool = False,
) -> Synced:
    """Update the warehouse's copy of a table. Call it with the lock of its asset.

    There is none of a table that a campus's own database may do without, and never had.

    Parameters
    ----------
    afresh
        Read all rows regardless of the cursor, and recreate the copy if its columns changed.

    Raises
    ------
    ConnectionFault
        When the other database cannot be read, or the table's structure no longer fits.
    """
    started = time.monotonic()
    check_table(name, table)
    place = place_of(settings, name, body)
    try:
        with opened(settings, place) as source:
            found = reflect(source, name, table)
    except NoTable:
        if is_optional(settings, name, table) and not _is_copied(settings, name, table):
            return Synced(table.name, True, 0, 0, time.monotonic() - started, NOTHING, None, {})
        raise
    columns, key = found.columns, table.primary_key or found.primary_key
    check_choice(found, table)
    with _own_connection(settings) as warehouse:
        copy = Copy(warehouse, name, table.name)
        last = None if afresh else _last(copy, columns, table)
        query = _query(found, table, last)
        read, size = copy.stage(columns, read_rows(settings, place, query, columns))
        change = copy.publish(columns, key, everything=last is None, afresh=afresh)
        cursor = None
        if table.cursor is not None:
            copy.index(table.cursor)
            with copy.transaction():
                cursor = copy.largest(table.cursor)
    return Synced(
        table.name,
        last is None,
        read,
        size,
        time.monotonic() - started,
        change,
        None if cursor is None else str(cursor),
        {column.name: column.type for column in columns},
    )


def _is_copied(settings: Settings, name: str, table: ConnectionTable) -> bool:
    with warehouse_engine(settings).connect() as warehouse:
        return bool(Copy(warehouse, name, table.name).columns())


def _own_connection(settings: Settings) -> sa.Connection:
    """A connection that is closed afterwards and not reused: it has a temporary table."""
    connection = warehouse_engine(settings).connect()
    connection.detach()
    return connection


def check_choice(found: Reflected, table: ConnectionTable) -> None:
    """Refuse a choice that does not fit the table's columns.

    Raises
    ------
    BadInput
        The key or cursor is not a column, the cursor cannot grow, or a name is too long.
    """
    for column in found.columns:
        if len(column.name.encode()) > MAX_IDENTIFIER_BYTES:
            raise BadInput(
                f"{table.name}: the name of the column {column.name!r} is too long for PostgreSQL.",
                "Create a view of the table in the other database, and choose that.",
            )
    for name in table.primary_key:
        found.column(name)
    if table.cursor is not None and not found.column(table.cursor).grows:
        raise BadInput(
            f"{table.name}: {table.cursor} is neither a number nor a time, so it cannot be the "
            "cursor.",
            "Choose a column that is larger in every new or changed row, or remove the cursor.",
        )


def _last(copy: Copy, columns: tuple[Column, ...], table: ConnectionTable) -> Any:
    """The cursor to continue from; None: read everything, because there is no copy yet or it lacks
    a column, which would stay empty in existing rows.
    """
    if table.cursor is None:
        return None
    with copy.transaction():
        existing = copy.columns()
        if set(existing) != {column.name for column in columns}:
            return None
        return copy.largest(table.cursor)


def _query(found: Reflected, table: ConnectionTable, last: Any) -> sa.Select:
    query = sa.select(*(column.read for column in found.columns))
    if last is None or table.cursor is None:
        return query
    cursor = found.table.c[table.cursor]
    new = cursor >= _with_lag(last, table)
    # Rows without a cursor are few; they are always read.
    return query.where(sa.or_(new, cursor.is_(None)) if cursor.nullable else new)


def _with_lag(last: Any, table: ConnectionTable) -> Any:
    if isinstance(last, dt.datetime):
        # At least a second: SQLite compares times as texts of different lengths.
        return last - dt.timedelta(seconds=max(1, table.lag_seconds))
    if isinstance(last, dt.date):
        return last - dt.timedelta(days=1 + table.lag_seconds // 86400)
    return last - NUMBER_LAG
