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
_NO_TEXT = {"double precision", "real", "money", "bytea", "json", "jsonb", "xml"}
_TEXT_CATEGORIES = "SNUIEX"
"""Of PostgreSQL's types: what becomes a readable name when it is cast to text."""


@dataclass(frozen=True)
class SourceProblem:
    """What is wrong with a source table: with some columns (our names), or that it is missing."""

    kind: str
    text: str
    columns: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether the whole table is missing."""
        return not self.columns


def check_source(settings: Settings) -> list[SourceProblem]:
    """Missing tables and columns of the source, and columns of the wrong type.

    The session and space tables are required. The others are optional: problems of an existing one
    are reported, not its absence. Every text names the setting that can fix it.
    """
    tables = source_tables(settings)
    there = _columns_there(settings, [tables[kind].name for kind in (*_REQUIRED, *_OPTIONAL)])
    found: list[SourceProblem] = []
    for kind in (*_REQUIRED, *_OPTIONAL):
        columns = there.get(tables[kind].name)
        if columns is not None:
            found += _wrong_columns(tables[kind], columns)
        elif kind in _REQUIRED:
            where = f"{settings.source_schema}.{tables[kind].name}"
            text = f"{_TABLE_SETTINGS[kind]}: the source has no table {where} ({kind})"
            found.append(SourceProblem(kind, text))
    return found


_right: set[tuple[Settings, str, tuple[str, ...]]] = set()
"""Tables that this process has checked against the settings."""


def require_columns(settings: Settings, kind: str, needed: tuple[str, ...]) -> None:
    """Check, once per process, the columns of a source table against the settings.

    A missing table is reported by whoever reads it. ``needed`` are our names.

    Raises
    ------
    SourceError
        Naming the setting and the column.
    """
    if (settings, kind, needed) in _right:
        return
    found = [problem for problem in check_source(settings) if problem.kind == kind]
    if wrong := [p.text for p in found if set(needed).intersection(p.columns)]:
        raise SourceError("\n".join(wrong), COLUMNS_HINT)
    if not any(problem.missing for problem in found):
        _right.add((settings, kind, needed))


COLUMNS_HINT = (
    'Such a setting is JSON, {"our name": "the source\'s"}. Where the types differ, let '
    "TIPPERS_SESSION_TABLE name a view that converts them; `tippers doctor` checks all of it."
)


@dataclass(frozen=True)
class _Column:
    type: str
    category: str
    readable: bool


def _columns_there(settings: Settings, names: list[str]) -> dict[str, dict[str, _Column]]:
    """The columns of those of the tables (views ...) that are there."""
    # Not information_schema, which lacks materialized views and what may not be read.
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
    there: dict[str, dict[str, _Column]] = {}
    for row in found.to_pylist():
        column = _Column(row["type"], row["category"], row["readable"])
        there.setdefault(row["name"], {})[row["column"]] = column
    return there


def _wrong_columns(table: SourceTable, there: dict[str, _Column]) -> list[SourceProblem]:
    where = f"{table.schema}.{table.name}"
    setting = _COLUMN_SETTINGS.get(table.kind) or _TABLE_SETTINGS[table.kind]
    found: list[SourceProblem] = []

    def note(text: str, *columns: str) -> None:
        found.append(SourceProblem(table.kind, f"{setting}: {text}", columns))

    if missing := {ours: name for ours, name in table.columns.items() if name not in there}:
        names = ", ".join(missing.values())
        note(
            f"the source table {where} has no column {names}; its columns are: {', '.join(there)}",
            *missing,
        )
    for ours, theirs in table.columns.items():
        column = there.get(theirs)
        if column is None:
            continue
        called = ours if ours == theirs else f"{theirs}, used as {ours}"
        if not column.readable:
            note(f"column {called}, of {where} may not be read: GRANT SELECT on it", ours)
        elif (expected := _expected(table.types[ours], column)) is not None:
            note(f"column {called}, of {where} is {column.type}; expected: {expected}", ours)
    return found


def _expected(kind: pa.DataType, column: _Column) -> str | None:
    """What a column should be, if its type is wrong."""
    if kind == TEXT:
        fits = column.category in _TEXT_CATEGORIES and column.type not in _NO_TEXT
        return None if fits else "text or whole numbers"
    if kind == LOCAL_TIME:
        fits = column.type == "timestamp without time zone"
        return None if fits else "local times, timestamp without time zone"
    return None if column.category == "N" else "numbers"
