"""DuckDB's types as PostgreSQL's, in which tables are kept and columns are named."""

from __future__ import annotations

_TYPES = {
    '"NULL"': "text",
    "BIGINT": "bigint",
    "BLOB": "bytea",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DOUBLE": "double precision",
    "FLOAT": "real",
    "HUGEINT": "bigint",
    "INTEGER": "integer",
    "INTERVAL": "interval",
    "JSON": "json",
    "SMALLINT": "smallint",
    "TIME": "time without time zone",
    "TIME WITH TIME ZONE": "time with time zone",
    "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "TIMESTAMP_MS": "timestamp without time zone",
    "TIMESTAMP_NS": "timestamp without time zone",
    "TIMESTAMP_S": "timestamp without time zone",
    "TINYINT": "smallint",
    "UBIGINT": "bigint",
    "UHUGEINT": "bigint",
    "UINTEGER": "bigint",
    "USMALLINT": "bigint",
    "UTINYINT": "bigint",
    "UUID": "uuid",
    "VARCHAR": "text",
}
"""Sums of integers (HUGEINT) are bigint, as PostgreSQL's of integer; a larger sum is an error."""


def postgres_type(kind: str) -> str:
    """The type of PostgreSQL for one of DuckDB; unknown ones keep their name, in lower case."""
    if kind.endswith("[]"):
        return f"{postgres_type(kind[:-2])}[]"
    if kind.startswith("DECIMAL("):
        return "numeric"
    if kind.startswith("ENUM("):
        return "text"
    if kind.startswith("STRUCT("):
        return "record"
    return _TYPES.get(kind, kind.lower())
