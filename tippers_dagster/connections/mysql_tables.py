"""The tables of MySQL and MariaDB, as their ``information_schema`` describes them.

SQLAlchemy reads ``SHOW CREATE TABLE``. A user may not do that who may only select from a view, or
from some columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

_COLUMNS = sa.text(
    """SELECT table_name, column_name, data_type, column_type, is_nullable = 'YES'
    FROM information_schema.columns
    WHERE table_schema = coalesce(:schema, database()) AND table_name = coalesce(:name, table_name)
    ORDER BY table_name, ordinal_position"""
)
_INDEXES = sa.text(
    """SELECT table_name, index_name, column_name FROM information_schema.statistics
    WHERE table_schema = coalesce(:schema, database()) AND table_name = coalesce(:name, table_name)
    ORDER BY table_name, index_name, seq_in_index"""
)
_PRIMARY = "PRIMARY"
_NAMES: dict[str, Any] = mysql.dialect.ischema_names


@dataclass(frozen=True)
class MySQLColumn:
    """A column that the user may read; ``type`` as it is declared, such as ``varchar(64)``."""

    name: str
    base: str
    type: str
    nullable: bool

    def for_sqlalchemy(self) -> sa.Column[Any]:
        """The column with the type that it is read as; that of unknown types is ``NullType``."""
        kind = _NAMES.get(self.base, sa.types.NullType)
        is_whole = issubclass(kind, sa.Integer)
        read_as = kind(unsigned="unsigned" in self.type) if is_whole else kind()
        return sa.Column(self.name, read_as, nullable=self.nullable)


def columns_by_table(
    connection: sa.Connection, schema: str | None, name: str | None = None
) -> dict[str, list[MySQLColumn]]:
    """The columns of all tables and views, or of one, that the user may read.

    Parameters
    ----------
    schema
        The database; ``None``: that of the connection.
    name
        Of a table, in any letter case.
    """
    found: dict[str, list[MySQLColumn]] = {}
    for row in connection.execute(_COLUMNS, {"schema": schema, "name": name}):
        table, column, base, kind, nullable = row
        made = MySQLColumn(column, _text(base), _text(kind), bool(nullable))
        found.setdefault(table, []).append(made)
    return found


def indexes_by_table(
    connection: sa.Connection, schema: str | None, name: str | None = None
) -> dict[str, dict[str, list[str]]]:
    """The columns of the indexes of all tables, or of one; views have none."""
    found: dict[str, dict[str, list[str]]] = {}
    for table, index, column in connection.execute(_INDEXES, {"schema": schema, "name": name}):
        found.setdefault(table, {}).setdefault(index, []).append(column)
    return found


def primary_key(indexes: dict[str, list[str]]) -> Sequence[str]:
    """The columns of the primary key among a table's indexes."""
    return indexes.get(_PRIMARY, [])


def described(connection: sa.Connection, schema: str | None, name: str) -> sa.Table | None:
    """A table or view; ``None`` if there is none of this name that the user may read."""
    columns = columns_by_table(connection, schema, name).get(name)
    if columns is None:
        return None
    key = primary_key(indexes_by_table(connection, schema, name).get(name, {}))
    table = sa.Table(name, sa.MetaData(), *(c.for_sqlalchemy() for c in columns), schema=schema)
    table.append_constraint(sa.PrimaryKeyConstraint(*(c for c in key if c in table.c)))
    return table


def _text(value: str | bytes) -> str:
    """MySQL 8 has some of these as bytes."""
    return value.decode() if isinstance(value, bytes) else value
