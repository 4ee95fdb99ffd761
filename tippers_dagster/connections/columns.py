"""How columns of other databases are read, and their types in the warehouse.

Types without an exact equivalent in Arrow are read as text and parsed by PostgreSQL: numbers of any
precision, JSON, bytes, intervals, network addresses. Nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

UTC = pa.timestamp("us", "UTC")

# SQL Server's VARCHAR has a code page, and replaces other characters by question marks.
_TEXT = sa.String().with_variant(sa.Unicode(), "mssql")


@dataclass(frozen=True, eq=False)
class Column:
    """One column.

    Attributes
    ----------
    name
        The same on both sides.
    read
        The expression to select.
    arrow
        The type that it is read as.
    type
        Its type in the warehouse, in PostgreSQL's notation.
    """

    name: str
    read: sa.ColumnElement[Any]
    arrow: pa.DataType
    type: str

    @property
    def grows(self) -> bool:
        """Whether it can be a cursor: a number or a time."""
        return self.type in ("bigint", "numeric", "date") or self.type.startswith("timestamp")


def columns_of(table: sa.Table, dialect: str) -> list[Column]:
    """All columns of a reflected table, with how they are read."""
    return [_column(column, dialect) for column in table.columns]


def _column(column: sa.Column[Any], dialect: str) -> Column:
    name, kind = column.name, column.type
    if isinstance(kind, sa.Boolean):
        return Column(name, column, pa.bool_(), "boolean")
    if isinstance(kind, sa.Float):
        # MySQL's would arrive as decimals.
        return Column(name, sa.type_coerce(column, sa.Float()), pa.float64(), "double precision")
    if isinstance(kind, sa.Integer) and not _too_large(kind):
        return Column(name, column, pa.int64(), "bigint")
    if isinstance(kind, sa.Integer | sa.Numeric):
        return _as_text(name, column, "numeric")
    time = _time(name, column, dialect)
    if time is not None:
        return time
    if isinstance(kind, sa.JSON):
        return _as_text(name, column, "jsonb")
    if isinstance(kind, sa.ARRAY):
        return _as_text(name, sa.func.to_jsonb(column), "jsonb")
    if isinstance(kind, sa.LargeBinary | sa.BINARY | sa.VARBINARY) or _is_bytes(kind):
        return Column(name, _bytes(column, dialect), pa.string(), "bytea")
    if kind.__visit_name__ in ("MONEY", "SMALLMONEY", "money", "smallmoney"):
        return _as_text(name, sa.cast(column, sa.Numeric(19, 4)), "numeric")
    if isinstance(kind, mysql.BIT):
        return _as_text(name, column.op("+")(sa.literal_column("0")), "numeric")
    # SQLite stores any value in any column; enumerations and sets are not text for drivers.
    not_text = isinstance(kind, sa.Enum | mysql.SET) or dialect == "sqlite"
    if isinstance(kind, sa.String) and not not_text:
        return Column(name, column, pa.string(), "text")
    return _as_text(name, column, "text")


def _time(name: str, column: sa.Column[Any], dialect: str) -> Column | None:
    kind = column.type
    zone = getattr(kind, "timezone", False)
    offset = kind.__visit_name__ == "DATETIMEOFFSET"
    if isinstance(kind, sa.DateTime) or offset:
        # MySQL's TIMESTAMP is an instant, returned as local time of the session's zone: here, UTC.
        if zone or offset or isinstance(kind, mysql.TIMESTAMP):
            return Column(name, column, UTC, "timestamp with time zone")
        return Column(name, column, pa.timestamp("us"), "timestamp without time zone")
    if isinstance(kind, sa.Date):
        return Column(name, column, pa.date32(), "date")
    if isinstance(kind, sa.Time) and not zone and dialect != "mysql":  # MySQL's go to 838 hours
        return Column(name, column, pa.time64("us"), "time without time zone")
    return None


def _too_large(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, mysql.BIGINT) and bool(kind.unsigned)


def _is_bytes(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, sa.types._Binary)


def _as_text(name: str, read: sa.ColumnElement[Any], type_: str) -> Column:
    return Column(name, sa.cast(read, _TEXT), pa.string(), type_)


def _bytes(column: sa.Column[Any], dialect: str) -> sa.ColumnElement[Any]:
    """The bytes in PostgreSQL's input format: a backslash, x and hexadecimal digits."""
    if dialect == "postgresql":
        return sa.cast(column, sa.String())
    digits = (
        sa.func.convert(sa.text("varchar(max)"), column, sa.literal_column("2"))
        if dialect == "mssql"
        else sa.func.hex(column)
    )
    digits.type = sa.String()
    return sa.case((column.is_not(None), sa.literal("\\x").concat(digits)))
