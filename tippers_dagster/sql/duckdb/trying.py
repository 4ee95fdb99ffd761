"""Tries user SQL on DuckDB: its columns, its first rows.

What ``sql/preview.py`` does on PostgreSQL. A query is validated in a sandbox without data, which is
kept for all queries that are checked together; a preview has a sandbox of its own, with the lake.
"""

from __future__ import annotations

import difflib
import json
import re
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column, schema_columns
from tippers_dagster.sql.differences import refuse_differences
from tippers_dagster.sql.duckdb.contents import View, inputs, inputs_empty, lake_sandbox
from tippers_dagster.sql.duckdb.parse_tree import violations_query
from tippers_dagster.sql.duckdb.sandbox import Sandbox, SandboxError, sandbox
from tippers_dagster.sql.duckdb.types import postgres_type
from tippers_dagster.sql.names import STAGING, Place
from tippers_dagster.sql.parse_tree import violation_error
from tippers_dagster.sql.preview import (
    HINTS,
    NotComputedYet,
    Preview,
    first_rows,
    longest_text,
    over_empty,
    place_in_text,
    refuse_columns,
    refuse_missing_key,
    refuse_other_grammar,
    shortened,
    timeout_error,
)
from tippers_dagster.sql.translate import Translated, relation

_DESCRIBE = "DESCRIBE "
_ERRORS = {"errors_as_json": True}
_GRACE_SECONDS = 5


class LakeTrial:
    """Tries queries on DuckDB.

    Parameters
    ----------
    settings
        The deployment.
    manifest, staging
        Of a rendered project: dbt's manifest, and the staging models as views.
    """

    def __init__(
        self, settings: Settings, manifest: Mapping[str, Any], staging: Sequence[View]
    ) -> None:
        self._settings, self._manifest, self._staging = settings, manifest, staging
        self._open = ExitStack()
        weakref.finalize(self, self._open.close)

    def validate(
        self,
        translated: Translated,
        key: str | None,
        others: Mapping[Place, Sequence[Column]] | None = None,
    ) -> list[Column]:
        """The columns of a query's result, as ``validate_query`` gives them.

        Raises
        ------
        BadInput, NotComputedYet
            As for ``validate_query``.
        """
        refuse_other_grammar(self._settings, translated.user_sql)
        refuse_differences(translated.user_sql)
        known = {**self._existing(translated), **(others or {})}
        missing = [p for p in translated.places if p.schema != STAGING and p not in known]
        if missing:
            raise NotComputedYet(missing)
        query = over_empty(translated, known)
        names = {c.name for columns in known.values() for c in columns}
        names |= self._staging_names(translated.places)
        with self._in_words(query, names):
            _judge(self._empty, query)
            return self._described(self._empty, query, key)

    def preview(self, translated: Translated, key: str | None, rows: int | None = None) -> Preview:
        """The first rows of a query, as ``preview`` gives them.

        Raises
        ------
        BadInput, NotComputedYet
            As for ``preview``.
        """
        columns = self.validate(translated, key)
        limit = self._settings.preview_rows if rows is None else rows
        longest = longest_text(columns, limit)
        seconds = self._settings.sql_timeout_seconds
        with self._in_words(translated, ()), self._filled(translated.places) as box:
            began = time.perf_counter()
            found = box.query(
                first_rows(translated.sql_plain, columns, longest, limit), seconds + _GRACE_SECONDS
            )
            seconds_taken = time.perf_counter() - began
        return Preview(
            columns=tuple(columns),
            rows=shortened(found.slice(0, limit), longest),
            truncated=found.num_rows > limit,
            estimated_rows=None,
            total_cost=None,
            seconds=seconds_taken,
        )

    # --- tables -----------------------------------------------------------------------------
    def _existing(self, translated: Translated) -> dict[Place, Sequence[Column]]:
        """The columns of the tables of the warehouse that a query reads."""
        places = [place for place in translated.places if place.schema != STAGING]
        with warehouse_engine(self._settings).connect() as connection:
            found = schema_columns(connection, {place.schema for place in places})
        return {p: found[p.schema, p.table] for p in places if (p.schema, p.table) in found}

    @cached_property
    def _empty(self) -> Sandbox:
        """A sandbox with the staging models, without data."""
        given = inputs_empty(self._settings, self._manifest, self._staging)
        return self._open.enter_context(
            sandbox(
                self._settings,
                given,
                statement_seconds=self._settings.sql_timeout_seconds,
                more=_ERRORS,
            )
        )

    @contextmanager
    def _filled(self, places: Collection[Place]) -> Iterator[Sandbox]:
        ids = {(n["schema"], n.get("alias")): i for i, n in self._manifest["nodes"].items()}
        staging = [ids[p.schema, p.table] for p in places if p.schema == STAGING]
        read = inputs(self._manifest, self._staging, staging)
        read.places += [(p.schema, p.table) for p in places if p.schema != STAGING]
        with lake_sandbox(
            self._settings,
            read,
            statement_seconds=self._settings.sql_timeout_seconds,
            more=_ERRORS,
        ) as box:
            yield box

    def _staging_names(self, places: Collection[Place]) -> set[str]:
        seconds = self._settings.sql_timeout_seconds
        stars = [f"SELECT * FROM {relation(p)}" for p in places if p.schema == STAGING]
        return {name for sql in stars for name, _ in self._empty.columns(sql, seconds)}

    # --- messages ---------------------------------------------------------------------------
    def _described(self, box: Sandbox, query: Translated, key: str | None) -> list[Column]:
        found = box.columns(query.sql_plain, self._settings.sql_timeout_seconds + _GRACE_SECONDS)
        columns = [Column(_name(name), postgres_type(kind)) for name, kind in found]
        refuse_columns(columns)
        refuse_missing_key(columns, key)
        return columns

    @contextmanager
    def _in_words(self, query: Translated, names: Collection[str]) -> Iterator[None]:
        try:
            yield
        except SandboxError as error:
            raise _words(error, query, self._settings, sorted(names)) from None


def _judge(box: Sandbox, query: Translated) -> None:
    asked = violations_query(query.sql_plain, query.tables, query.functions)
    found = [(row["what"], row["name"]) for row in box.query(asked, 60).to_pylist()]
    # What DuckDB cannot parse, it says itself, with the place.
    found = [row for row in found if row[0] != "syntax"]
    if found:
        raise violation_error(query.user_sql, found)


def _name(name: str) -> str:
    """A column without a name has its expression for one in DuckDB; PostgreSQL says ?column?."""
    return name if name.isidentifier() else "?column?"


_HINTS = {
    "must appear in the GROUP BY": HINTS["42803"],
    "Ambiguous reference to column": HINTS["42702"],
    "Ambiguous reference to table": HINTS["42712"],
    "No function matches": HINTS["42883"],
    "Cannot compare values": HINTS["42804"],
    "Referenced table": HINTS["42P01"],
    "Division by zero": HINTS["22012"],
    "Could not convert": HINTS["22P02"],
    "max_temp_directory_size": HINTS["53400"],
    "memory": HINTS["53200"],
    "does not exist": "DuckDB may lack what PostgreSQL has: docs/definitions.md says what differs.",
    "syntax error": "DuckDB may lack this form: docs/definitions.md says what differs.",
}
"""Hints by a part of DuckDB's message."""


def _words(
    error: SandboxError, query: Translated, settings: Settings, columns: list[str]
) -> BadInput:
    message, details = error.message, {}
    if "{" in message:
        details = json.loads(message[message.index("{") :])
        message = details["exception_message"]
    first = message.partition("\n")[0]
    if "maximum execution time" in message or "took longer" in message:
        return timeout_error(settings)
    place = place_in_text(_position(details), query)
    missing = _missing_column(message)
    if missing is not None:
        near = difflib.get_close_matches(missing, columns, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else None
        if not near and columns:
            hint = f"Its tables have: {', '.join(columns)}."
        return BadInput(f"{place}There is no column {missing}.", hint)
    hint = next((hint for part, hint in _HINTS.items() if part in message), error.hint)
    return BadInput(f"{place}The database says: {first.rstrip('.!')}.", hint)


def _missing_column(message: str) -> str | None:

    found = re.match(r'Referenced column "([^"]+)" not found', message)
    found = found or re.search(r'does not have a column named "([^"]+)"', message)
    return found[1] if found else None


def _position(details: Mapping[str, Any]) -> int | None:
    at = details.get("position")
    return None if at is None else int(at) - len(_DESCRIBE)
