"""Tries user SQL on the database: its columns, its first rows, its cost.

PostgreSQL's parse tree is checked before anything is planned or run. Everything runs as the reader,
with a timeout of some seconds; after the check the transaction is READ ONLY. Database errors are
expressed in terms of the user's own text.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_manager import Error as ArrowDriverError

from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.compose import quoted
from tippers_dagster.sql.names import Place
from tippers_dagster.sql.parse_tree import MAKE_VIEW, violation_error, violations_query
from tippers_dagster.sql.refusals import RefusedSQL, place_of
from tippers_dagster.sql.roles import reading
from tippers_dagster.sql.translate import Translated, relation

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_EXPLAIN = "EXPLAIN (FORMAT JSON) "
_TYPES = {
    "bool": "boolean",
    "bpchar": "character",
    "float4": "real",
    "float8": "double precision",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "varchar": "character varying",
}
"""PostgreSQL's internal type names as ``format_type`` writes them, where they differ."""

_KEPT_TYPES = {
    *("boolean", "smallint", "integer", "bigint", "real", "double precision", "date"),
    *("timestamp without time zone", "timestamp with time zone"),
}
"""Types that Arrow keeps; numeric becomes a float, all others text."""

_VALUES = _KEPT_TYPES | {
    *("character", "character varying", "interval", "json", "jsonb", "numeric", "text"),
    *("time without time zone", "uuid"),
}

_INDEX_VALUES = re.compile(r":\s*index_values\b", re.IGNORECASE)

MAX_TEXT_LENGTH = 2000
"""Maximum characters of a value in a preview."""

MAX_PREVIEW_CHARACTERS = 16_000_000
"""Maximum characters of all texts in a preview: with many columns each may have fewer."""

_NO_COLUMN = re.compile(r'column "?(?:[^".]+\.)?([^".]+?)"? does not exist')


class NotComputedYet(BadInput):
    """A query reads tables that are not computed yet; ``places`` names them.

    ``changed``: they exist, but their definitions have changed since they were computed.
    """

    def __init__(self, places: Iterable[Place], *, changed: bool = False) -> None:
        self.places = tuple(sorted(places, key=lambda p: (p.schema, p.table)))
        names = ", ".join(
            str(place.ref) if place.ref else f"{place.schema}.{place.table}"
            for place in self.places
        )
        reason = "has changed since it was computed" if changed else "has not been computed yet"
        super().__init__(
            f"The query cannot be tried: {names} {reason}.",
            "Try again once it is up to date; the graph of assets shows its progress.",
        )


@dataclass(frozen=True)
class Preview:
    """The first rows of a query.

    Parameters
    ----------
    columns
        Of the result.
    rows
        As Arrow; numeric as float64, types unknown to Arrow as text. Long texts are cut and end
        with ….
    truncated
        Whether there are more rows.
    estimated_rows, total_cost
        For the whole query, as estimated by PostgreSQL's planner; the cost has no unit. None with
        DuckDB.
    seconds
        Until the rows arrived.
    """

    columns: tuple[Column, ...]
    rows: pa.Table
    truncated: bool
    estimated_rows: int | None
    total_cost: float | None
    seconds: float


def validate_query(
    settings: Settings,
    translated: Translated,
    key: str | None,
    others: Mapping[Place, Sequence[Column]] | None = None,
) -> list[Column]:
    """The columns of a query's result; the query is planned, not run.

    Parameters
    ----------
    key
        A column that must be in the result.
    others
        Tables that do not exist, or will change, with the columns that they will have.

    Raises
    ------
    BadInput
        The database refuses the query, the key is missing, or a column's name or type is unusable.
    NotComputedYet
        A table that it reads does not exist.
    """
    others = others or {}
    query = over_empty(translated, others)
    with _trying(
        settings, query, {c.name for columns in others.values() for c in columns}
    ) as cursor:
        cursor.execute(_EXPLAIN + query.sql_plain)
        return _described(cursor, query, key)


def over_empty(translated: Translated, tables: Mapping[Place, Sequence[Column]]) -> Translated:
    """The query with some tables replaced by empty ones with given columns."""
    written_empty = {relation(place): empty(columns) for place, columns in tables.items()}
    pieces: list[str] = []
    names: list[tuple[int, int, int]] = []
    copied = length = 0
    for at, size, start in translated.names:
        before, name = translated.sql_plain[copied:at], translated.sql_plain[at : at + size]
        # Users' names with a dot are quoted; only table names contain an unquoted one.
        written = written_empty.get(name, name)
        names.append((length + len(before), len(written), start))
        pieces += (before, written)
        length += len(before) + len(written)
        copied = at + size
    sql = "".join([*pieces, translated.sql_plain[copied:]])
    places = translated.places - tables.keys()
    return replace(translated, sql_plain=sql, names=tuple(names), places=places)


def empty(columns: Sequence[Column]) -> str:
    """A subquery with these columns and no rows."""
    values = ", ".join(f"CAST(NULL AS {c.type}) AS {quoted(c.name)}" for c in columns)
    return f"(SELECT {values} WHERE false)"


def preview(
    settings: Settings, translated: Translated, key: str | None = None, rows: int | None = None
) -> Preview:
    """Run a query for its first rows.

    Parameters
    ----------
    rows
        How many; ``settings.preview_rows`` if unset.

    Raises
    ------
    BadInput
        As for ``validate_query``, and errors at run time, such as a timeout.
    """
    limit = settings.preview_rows if rows is None else rows
    with _trying(settings, translated) as cursor:
        cursor.execute(_EXPLAIN + translated.sql_plain)
        plan = json.loads(cursor.fetch_arrow_table().column(0)[0].as_py())[0]["Plan"]
        columns = _described(cursor, translated, key)
        began = time.perf_counter()
        longest = longest_text(columns, limit)
        cursor.execute(first_rows(translated.sql_plain, columns, longest, limit))
        found = cursor.fetch_arrow_table()
        seconds = time.perf_counter() - began
    return Preview(
        columns=tuple(columns),
        rows=shortened(found.slice(0, limit), longest),
        truncated=found.num_rows > limit,
        estimated_rows=int(plan["Plan Rows"]),
        total_cost=float(plan["Total Cost"]),
        seconds=seconds,
    )


def longest_text(columns: Sequence[Column], limit: int) -> int:
    """The most characters of a value in a preview of so many rows."""
    return min(MAX_TEXT_LENGTH, MAX_PREVIEW_CHARACTERS // (len(columns) * (limit + 1)))


def first_rows(sql: str, columns: Sequence[Column], longest: int, limit: int) -> str:
    """A query for the first rows of another, and one more, in types that Arrow has."""
    wanted = ", ".join(_as_arrow(column, longest) for column in columns)
    return f"SELECT {wanted}\nFROM (\n{sql}\n) AS preview LIMIT {limit + 1}"


def _as_arrow(column: Column, longest: int) -> str:
    name = quoted(column.name)
    if column.type in _KEPT_TYPES:
        return name
    if column.type == "numeric":
        return f"CAST({name} AS double precision) AS {name}"
    # Truncated in the database: one value can have a gigabyte.
    return f"left(CAST({name} AS text), {longest + 1}) AS {name}"


def shortened(table: pa.Table, longest: int) -> pa.Table:
    """The table with … at the end of truncated texts."""
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(at)
            short = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, longest), "…", "")
            long = pc.greater(pc.utf8_length(texts), longest)
            table = table.set_column(at, field, pc.if_else(long, short, texts))
    return table


@contextmanager
def _trying(
    settings: Settings, translated: Translated, columns: Collection[str] = ()
) -> Iterator[dbapi.Cursor]:
    """A cursor of the reader; database errors become messages for the author.

    ``columns``: names that can be read besides those of the query's tables.
    """
    seconds = settings.sql_timeout_seconds
    refuse_other_grammar(settings, translated.user_sql)
    with reading(settings, seconds, temporary_views=True) as cursor:
        _refuse_missing(cursor, translated.places)
        before = MAKE_VIEW[0]
        try:
            _judge(cursor, translated)
            before = _EXPLAIN
            yield cursor
        except ArrowDriverError as error:
            near = list(columns)
            if error.sqlstate == "42703":
                near = sorted({*near, *_columns_read(settings, translated)})
            raise _in_words(error, translated, settings, near, len(before)) from None


def refuse_other_grammar(settings: Settings, user_sql: str) -> None:
    """Refuse text that PostgreSQL cannot parse; sqlglot ignores an extra comma, for example."""
    asked = _INDEX_VALUES.sub("(NULL)", user_sql.rstrip().rstrip(";"))
    # In its own transaction, as it also fails when the syntax is valid: there are no tables with
    # these names.
    with reading(settings, settings.sql_timeout_seconds) as cursor:
        try:
            cursor.adbc_execute_schema(asked)  # parsed, not run
        except ArrowDriverError as error:
            if error.sqlstate == "42601":
                raise _syntax_error(error, asked) from None


def _syntax_error(error: ArrowDriverError, asked: str) -> RefusedSQL:
    diagnostics = dict(_details(error))
    at = int(diagnostics.get("PG_DIAG_STATEMENT_POSITION", len(asked) + 1)) - 1
    # Both texts have the same lines, whatever replaced :index_values.
    line, column = place_of(asked, min(at, len(asked)))
    message = diagnostics.get("PG_DIAG_MESSAGE_PRIMARY", "syntax error")
    return RefusedSQL(
        "syntax",
        f"The database cannot parse this: {message}.",
        "Look for an extra comma, or a missing name or keyword just before.",
        line=line,
        column=column,
    )


def _judge(cursor: dbapi.Cursor, translated: Translated) -> None:
    """Refuse a query in which PostgreSQL finds anything not allowed; then forbid writes."""
    cursor.execute(translated.sql_plain.join(MAKE_VIEW))
    cursor.execute(violations_query(translated.tables, translated.functions))
    found = cursor.fetch_arrow_table().to_pylist()
    if found:
        raise violation_error(translated.user_sql, [(row["what"], row["name"]) for row in found])
    cursor.execute("SET TRANSACTION READ ONLY")


def _refuse_missing(cursor: dbapi.Cursor, places: Iterable[Place]) -> None:
    wanted = sorted(places, key=lambda p: (p.schema, p.table))
    cursor.execute(
        "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname || '.' || c.relname = ANY($1)",
        ([f"{place.schema}.{place.table}" for place in wanted],),
    )
    there = set(cursor.fetch_arrow_table().column(0).to_pylist())
    missing = [place for place in wanted if f"{place.schema}.{place.table}" not in there]
    if missing:
        raise NotComputedYet(missing)


class WarehouseTrial:
    """Tries queries on PostgreSQL; ``LakeTrial`` does on DuckDB."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def validate(
        self,
        translated: Translated,
        key: str | None,
        others: Mapping[Place, Sequence[Column]] | None = None,
    ) -> list[Column]:
        """See :func:`validate_query`."""
        return validate_query(self._settings, translated, key, others)

    def preview(self, translated: Translated, key: str | None, rows: int | None = None) -> Preview:
        """See :func:`preview`."""
        return preview(self._settings, translated, key, rows)


# --- columns ------------------------------------------------------------------------------------
def _described(cursor: dbapi.Cursor, translated: Translated, key: str | None) -> list[Column]:
    schema = cursor.adbc_execute_schema(translated.sql_plain)
    columns = [
        Column(field.name, _long_name((field.metadata or {})[b"POSTGRESQL:type"].decode()))
        for field in schema
    ]
    refuse_columns(columns)
    refuse_missing_key(columns, key)
    return columns


def refuse_missing_key(columns: Sequence[Column], key: str | None) -> None:
    """Refuse a result without the key column, if one is needed."""
    names = [column.name for column in columns]
    if key is not None and key not in names:
        near = difflib.get_close_matches(key, names, n=1)
        hint = f"Write {quoted(near[0])} AS {key}." if near else f"Add {key} to the SELECT."
        raise BadInput(f"The result has no column {key}, the key of the index.", hint)


def _long_name(kind: str) -> str:
    return f"{_long_name(kind[1:])}[]" if kind.startswith("_") else _TYPES.get(kind, kind)


def refuse_columns(columns: Sequence[Column]) -> None:
    """Refuse columns without a plain name or value, and names that occur twice."""
    if not columns:
        raise BadInput("The result has no column.", "List columns after SELECT.")
    for at, column in enumerate(columns, 1):
        if column.name == "?column?":
            raise BadInput(f"Column {at} of the result has no name.", "Write ... AS name.")
        if not _NAME.fullmatch(column.name):
            raise BadInput(
                f"The column name {column.name!r} cannot be used.",
                "Write ... AS name, with lower-case letters, digits and _.",
            )
        if column.type.removesuffix("[]") not in _VALUES:
            raise BadInput(
                f"The column {column.name} is a whole row or a {column.type}, not a plain value.",
                "Name a column of the row, or write CAST(x AS text).",
            )
    twice = [name for name, n in Counter(column.name for column in columns).items() if n > 1]
    if twice:
        raise BadInput(
            f"The result has the column {', '.join(twice)} more than once.",
            "Remove one, or rename it with ... AS another_name. After JOIN ... USING (key), list "
            "the columns instead of using a star.",
        )


def _columns_read(settings: Settings, translated: Translated) -> list[str]:
    """Names of all columns in the tables that a query reads."""
    with reading(settings, settings.sql_timeout_seconds) as cursor:
        cursor.execute(
            "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_attribute a "
            "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname || '.' || c.relname = ANY($1) AND a.attnum > 0 "
            "AND NOT a.attisdropped ORDER BY 1",
            ([f"{place.schema}.{place.table}" for place in translated.places],),
        )
        return cursor.fetch_arrow_table().column(0).to_pylist()


# --- database errors ----------------------------------------------------------------------------
def _in_words(
    error: ArrowDriverError,
    translated: Translated,
    settings: Settings,
    columns: list[str],
    before: int,
) -> BadInput:
    state = error.sqlstate or ""
    details = dict(_details(error))
    message = details.get("PG_DIAG_MESSAGE_PRIMARY") or "the query failed"
    position = details.get("PG_DIAG_STATEMENT_POSITION")
    place = place_in_text(None if position is None else int(position) - 1 - before, translated)
    if state == "57014":
        return timeout_error(settings)
    if state == "55P03":
        return BadInput("A table is being replaced at the moment.", "Try again in a moment.")
    missing = _NO_COLUMN.search(message)
    if state == "42703" and missing:
        near = difflib.get_close_matches(missing[1], columns, n=3)
        hint = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else (f"Its tables have: {', '.join(columns)}." if columns else "")
        )
        return BadInput(f"{place}There is no column {missing[1]}.", hint or None)
    advice = HINTS.get(state) or details.get("PG_DIAG_MESSAGE_HINT")
    return BadInput(f"{place}The database says: {message}.", advice)


def timeout_error(settings: Settings) -> BadInput:
    """A query was stopped."""
    return BadInput(
        f"The query took longer than {settings.sql_timeout_seconds} s and was stopped.",
        "Filter earlier (IN (:index_values), dates), join on equal columns, or read a rule "
        "that is already computed. TIPPERS_SQL_TIMEOUT_SECONDS sets the limit.",
    )


HINTS = {
    "42803": "Add the column to GROUP BY, or use an aggregate such as max().",
    "42702": "Two tables have this column: write table.column.",
    "42712": "The same table occurs twice: give each an alias, as in FROM x AS a JOIN x AS b.",
    "42883": "Are the types right? Convert with CAST(x AS type), for example to text or integer.",
    "42804": "Convert one side with CAST(x AS type).",
    "42P01": "Name the table after FROM or JOIN before you use it.",
    "42501": "Only tables of the source and of definitions may be read.",
    "22012": "Divide by nullif(x, 0): the result is null if x is 0.",
    "22P02": "A text cannot be converted to the type.",
    "54001": "The query is too complex: split it with WITH, or into two rules.",
    "53400": "The query needs more space than allowed: filter earlier.",
    "53200": "The query needs more memory than available: filter earlier.",
}
"""Hints by PostgreSQL's error code."""


def _details(error: ArrowDriverError) -> Iterator[tuple[str, str]]:
    details: Iterable[tuple[str | bytes, bytes]] = error.details or ()
    for name, value in details:
        yield (name.decode() if isinstance(name, bytes) else name), value.decode(errors="replace")


def place_in_text(at: int | None, translated: Translated) -> str:
    """The place of an error in the user's text: the name there, or the next one.

    ``at``: the offset in ``sql_plain``.
    """
    if at is None:
        return ""
    known = [name for name in translated.names if name[2] >= 0]
    after = [name for name in known if name[0] + name[1] > at]
    if not after:
        return ""
    line, column = place_of(translated.user_sql, after[0][2])
    return f"Line {line}, column {column}: "
