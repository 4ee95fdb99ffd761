"""What DuckDB reads in a query is judged, and agrees with the guard."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.sql.definitions import DEVICES
from tests.sql.test_guard import NAMES, VALID
from tippers_dagster.errors import BadInput
from tippers_dagster.sql.duckdb.parse_tree import violations_query
from tippers_dagster.sql.translate import translate

HOSTILE = Path(__file__).parents[1].joinpath("hostile_texts.txt").read_text().splitlines()

OTHER_FORMS = ("#>", "SYMMETRIC", "OVERLAPS", "SELECT\n    FROM")
"""What DuckDB cannot parse in the valid queries."""


def found(sql: str, relations: list[str], functions: list[str]) -> list[tuple[str, str]]:
    return duckdb.sql(violations_query(sql, relations, functions)).fetchall()


def test_valid_queries_have_nothing_that_is_not_allowed() -> None:
    for sql in VALID:
        query = translate(sql, concept="device", index=DEVICES.ref, key="mac_address", names=NAMES)
        rows = found(query.sql_plain, query.tables, list(query.functions))
        other = any(form in query.sql_plain for form in OTHER_FORMS)
        assert rows == ([("syntax", "error")] if other else []), (sql, rows)


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("select pg_sleep(1)", ("function", "pg_sleep")),
        ("select * from duckdb_settings()", ("function", "duckdb_settings")),
        ("select lower('x')", ("function", "lower")),
        ("from read_text('/x')", ("function", "read_text")),
        ("select main.upper('x')", ("function", "main")),
        ("select nextval('x')", ("function", "nextval")),
        ("select 1 from other.t", ("relation", "other.t")),
        ("select * from t", ("relation", "t")),
        ("select * from 'x.csv'", ("relation", "x.csv")),
        ("select (select 1 from pg_class)", ("relation", "pg_class")),
        ("with t as (select 1) select * from t, u", ("relation", "u")),
        ("select 1::money", ("type", "money")),
        ("select [x for x in [1]]", ("node", "LAMBDA")),
        ("select $1", ("node", "PARAMETER")),
        ("delete from staging.x", ("syntax", "error")),
    ],
)
def test_what_is_not_allowed_is_named(sql: str, row: tuple[str, str]) -> None:
    assert row in found(sql, ["staging.x"], ["upper"])


def test_what_is_allowed_passes() -> None:
    sql = "with t as (select upper(a) as b from staging.x) select b::text from t"
    assert found(sql, ["staging.x"], ["upper"]) == []


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_texts_are_refused_by_the_guard(sql: str) -> None:
    """With the guard, on either engine. What it lets pass is nothing but a plain query."""
    try:
        query = translate(sql, concept="device", index=None, key=None, names=NAMES)
    except BadInput:
        return
    assert found(query.sql_plain, query.tables, list(query.functions)) == []
