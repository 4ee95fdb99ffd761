"""Checking the source tables: what is missing, and which columns have the wrong type."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import (
    FACULTY_DATA,
    LOCAL_TIME,
    REGION_TO_COVERAGE,
    SESSIONS,
    SPACE_METADATA,
    SPACES,
    TEXT,
    SourceTable,
    source_tables,
)
from tippers_dagster.errors import SourceError
from tippers_dagster.settings import Settings

_REQUIRED = (SESSIONS, SPACES)
_OPTIONAL = (SPACE_METADATA, FACULTY_DATA, REGION_TO_COVERAGE)
_COLUMN_SETTINGS = {SESSIONS: "TIPPERS_SESSION_COLUMNS", SPACES: "TIPPERS_SPACE_COLUMNS"}
_TABLE_SETTINGS = {
    SESSIONS: "TIPPERS_SESSION_TABLE",
    SPACES: "TIPPERS_SPACE_TABLE",
    SPACE_METADATA: "TIPPERS_SPACE_METADATA_TABLE",
    FACULTY_DATA: "TIPPERS_FACULTY_TABLE",
    REGION_TO_COVERAGE: "TIPPERS_COVERAGE_TABLE",
}
INSTANT_TYPE = "timestamp with time zone"
_NO_TEXT = {"double precision", "real", "money", "bytea", "json", "jsonb", "xml"}
_TEXT_CATEGORIES = "SNUIEX"
"""Categories of PostgreSQL's types that are readable names when cast to text."""


@dataclass(frozen=True)
class SourceProblem:
    """A problem of a source table: with some columns (tippers' names), or the table is missing."""

    kind: str
    text: str
    columns: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether the whole table is missing."""
        return not self.columns


def check_source(settings: Settings) -> list[SourceProblem]:
    """Missing tables and columns of the source, and columns of the wrong type.

    The session and space tables are required. The others may be missing, but their columns are
    checked if they exist. Every text names the setting that can fix the problem.
    """
    tables = source_tables(settings)
    # Sessions may be read from a log source instead.
    required = _REQUIRED if settings.log_source is None else (SPACES,)
    existing = _existing_columns(settings, [tables[kind].name for kind in (*required, *_OPTIONAL)])
    found: list[SourceProblem] = []
    for kind in (*required, *_OPTIONAL):
        columns = existing.get(tables[kind].name)
        if columns is not None:
            found += _wrong_columns(tables[kind], columns)
        elif kind in required:
            where = f"{settings.source_schema}.{tables[kind].name}"
            text = f"{_TABLE_SETTINGS[kind]}: the source has no table {where} ({kind})"
            found.append(SourceProblem(kind, text))
    return found


_checked: set[tuple[Settings, str, tuple[str, ...]]] = set()
"""Tables that this process has found to match the settings."""


def require_columns(settings: Settings, kind: str, needed: tuple[str, ...]) -> None:
    """Check the columns of a source table against the settings, once per process.

    Does not report a missing table: reading it does. ``needed`` are tippers' names.

    Raises
    ------
    SourceError
        Names the setting and the column.
    """
    if (settings, kind, needed) in _checked:
        return
    found = [problem for problem in check_source(settings) if problem.kind == kind]
    if wrong := [p.text for p in found if set(needed).intersection(p.columns)]:
        raise SourceError("\n".join(wrong), COLUMNS_HINT)
    if not any(problem.missing for problem in found):
        _checked.add((settings, kind, needed))


def existing_columns(settings: Settings, kind: str) -> dict[str, str]:
    """PostgreSQL's types of a table's columns by the source's names; empty if there is no table."""
    table = source_tables(settings)[kind]
    found = _existing_columns(settings, [table.name]).get(table.name, {})
    return {name: column.type for name, column in found.items()}


COLUMNS_HINT = (
    'Settings of columns are JSON: {"column": "name in the source"}. If a type differs, set '
    "TIPPERS_SESSION_TABLE to a view that converts it. `tippers doctor` checks all columns."
)


@dataclass(frozen=True)
class _Column:
    type: str
    category: str
    readable: bool


def _existing_columns(settings: Settings, names: list[str]) -> dict[str, dict[str, _Column]]:
    """The columns of those tables and views that exist."""
    # Not information_schema, which lacks materialized views and unreadable tables.
    wanted = ", ".join(f"${i}" for i in range(2, len(names) + 2))
    found = read_source(
        settings,
        "SELECT c.relname::text AS name, a.attname::text AS column, t.typcategory::text AS "
        "category, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) AS type, "
        "has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT') "
        "AS readable FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "AND NOT a.attisdropped JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
        f"WHERE n.nspname = $1 AND c.relname IN ({wanted}) "
        "AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.oid, a.attnum",
        (settings.source_schema, *names),
    )
    existing: dict[str, dict[str, _Column]] = {}
    for row in found.to_pylist():
        column = _Column(row["type"], row["category"], row["readable"])
        existing.setdefault(row["name"], {})[row["column"]] = column
    return existing


def _wrong_columns(table: SourceTable, existing: dict[str, _Column]) -> list[SourceProblem]:
    where = f"{table.schema}.{table.name}"
    setting = _COLUMN_SETTINGS.get(table.kind) or _TABLE_SETTINGS[table.kind]
    found: list[SourceProblem] = []

    def note(text: str, *columns: str) -> None:
        found.append(SourceProblem(table.kind, f"{setting}: {text}", columns))

    if missing := {ours: name for ours, name in table.columns.items() if name not in existing}:
        names, columns = ", ".join(missing.values()), ", ".join(existing)
        note(
            f"the source table {where} has no column {names}; its columns are: {columns}", *missing
        )
    for ours, theirs in table.columns.items():
        column = existing.get(theirs)
        if column is None:
            continue
        role = "" if ours == theirs else f" (used as {ours})"
        if not column.readable:
            note(f"column {theirs}{role} of {where} is not readable: GRANT SELECT on it", ours)
        elif (expected := _expected(table.types[ours], column)) is not None:
            text = f"column {theirs}{role} of {where} has the type {column.type}"
            note(f"{text}; expected: {expected}", ours)
    return found


def _expected(kind: pa.DataType, column: _Column) -> str | None:
    """The expected types, if a column's type is wrong."""
    if kind == TEXT:
        fits = column.category in _TEXT_CATEGORIES and column.type not in _NO_TEXT
        return None if fits else "text or whole numbers"
    if kind == LOCAL_TIME:
        fits = column.type in ("timestamp without time zone", INSTANT_TYPE)
        return None if fits else "local times, or timestamp with time zone"
    return None if column.category == "N" else "numbers"
