"""The check of PostgreSQL's parse tree of a query, besides sqlglot's."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlglot.dialects.postgres import Postgres

from tests.sql.definitions import catalog as small_catalog
from tests.sql.definitions import fill_source, rule
from tests.sql.test_assets import Deployment, failure
from tests.sql.test_guard import CAMPUS, VALID, given
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.sql.functions import FUNCTIONS
from tippers_dagster.sql.names import NameTable, Place
from tippers_dagster.sql.parse_tree import (
    MAKE_VIEW,
    OPERATORS,
    VIEW,
    violation_error,
    violations_query,
)
from tippers_dagster.sql.preview import MAX_TEXT_LENGTH, preview, validate_query
from tippers_dagster.sql.refusals import RefusedSQL
from tippers_dagster.sql.translate import Translated, translate

ATTACKS = [
    "select cast(q.ts_stat as text) as w from unnest(array['select 1']) q",
    "select q.lo_import from unnest(array['/etc/passwd']) q",
    "select q.lo_unlink from unnest(array[1]) q",
    "select q.nextval from unnest(array['tippers.definition_id_seq']) q",
    "select q.current_setting as s from unnest(array['data_directory']) q",
    "select q.to_regclass::text as r from unnest(array['tippers.definition']) q",
    "select q.regclass::text as r from unnest(array['tippers.definition']) q",
    "select q.lo_creat from unnest(array[1]) q",
    "select s.n from (select q.nextval as n from unnest(array['a']) q) s",
    "select 1 as a from unnest(array['a']) q where q.nextval > 0",
    "select 1 as a from unnest(array['a']) q order by q.nextval",
    "select count(q.nextval) as n from unnest(array['a']) q",
    "select g.a from unnest(array['a']) q cross join lateral (select q.nextval as a) g",
    "with w as (select q.nextval as a from unnest(array['a']) q) select a from w",
    "select q.upper as u from unnest(array['a']) q",
]
"""Texts in which sqlglot sees columns, but PostgreSQL calls."""

REPAIRED = [
    "select space_id , from space",
    "select 1 as a from space where 1 in (,2)",
    "select space_id #> from space",
    "select count(*,) as n from space",
    "select 1 as a from space,",
    "select space_id from space where space_id in (select space_id, from space)",
    "select as a from space",
    "select cast as a from space",
    "select space.'x' from space",
]
"""Texts that sqlglot accepts, but that are not SQL."""


@pytest.fixture
def server(database: str) -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(CAMPUS)
        cursor.execute("SET search_path = pg_catalog")
        yield cursor


def batches(rows: list[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    for start in range(0, len(rows), 200):
        yield rows[start : start + 200]


def judged(
    cursor: psycopg2.extensions.cursor,
    sql: str,
    tables: Iterable[str] = (),
    functions: Iterable[str] = FUNCTIONS,
) -> set[tuple[str, str]]:
    cursor.execute(sql.join(MAKE_VIEW))
    cursor.execute(violations_query(tables, functions))
    found = set(cursor.fetchall())
    cursor.execute(f"DROP VIEW {VIEW}")
    return found


def test_allowed_queries_have_the_intended_parse_tree(server: psycopg2.extensions.cursor) -> None:
    for sql in VALID:
        translated = given(sql)
        assert (
            judged(server, translated.sql_plain, translated.tables, translated.functions) == set()
        )


def test_every_other_function_is_found_in_place_of_a_column(
    server: psycopg2.extensions.cursor,
) -> None:
    """All functions with one argument, each called as a column of an alias of its type."""
    server.execute(
        "SELECT p.proname, format_type(p.proargtypes[0], NULL) FROM pg_proc p "
        "JOIN pg_type t ON t.oid = p.proargtypes[0] "
        "WHERE p.pronargs - p.pronargdefaults <= 1 AND p.pronargs >= 1 AND p.prokind = 'f' "
        "AND p.provariadic = 0 AND t.typtype = 'b' AND t.typarray <> 0 "
        "AND p.prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')"
    )
    found = server.fetchall()
    assert len(found) > 500
    for some in batches(found):
        columns = ", ".join(f'q{n}."{name}" AS c{n}' for n, (name, _) in enumerate(some))
        tables = ", ".join(
            f"unnest(CAST(NULL AS {kind}[])) AS q{n}" for n, (_, kind) in enumerate(some)
        )
        seen = {
            name
            for what, name in judged(server, f"SELECT {columns} FROM {tables}", (), ())
            if what == "function"
        }
        assert {name for name, _ in some} - seen <= {
            "btrim",
            "ltrim",
            "rtrim",
            "similar_to_escape",
            "timezone",
        }


def test_every_other_operator_and_type_is_found(server: psycopg2.extensions.cursor) -> None:
    server.execute(
        "SELECT oprname, format_type(oprleft, NULL), format_type(oprright, NULL) "
        "FROM pg_operator WHERE oprkind = 'b' AND oprname <> ALL(%s) "
        "AND oprleft NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p') "
        "AND oprright NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')",
        (list(OPERATORS),),
    )
    found = server.fetchall()
    assert len(found) > 100
    for some in batches(found):
        values = ", ".join(
            f"CAST(NULL AS {left}) OPERATOR(pg_catalog.{name}) CAST(NULL AS {right}) AS c{n}"
            for n, (name, left, right) in enumerate(some)
        )
        seen = judged(server, f"SELECT {values}")
        assert {name for name, _, _ in some} <= {name for what, name in seen if what == "operator"}
    server.execute(
        "SELECT format_type(oid, NULL) FROM pg_type WHERE typtype = ANY('{b,c,d,e,r,m}') "
        "AND typnamespace = 'pg_catalog'::regnamespace AND typisdefined"
    )
    types = [name for (name,) in server.fetchall()]
    values = ", ".join(f"CAST(NULL AS {name}) AS c{n}" for n, name in enumerate(types))
    unseen = set(types) - {
        name for what, name in judged(server, f"SELECT {values}") if what == "type"
    }
    plain = {name.removesuffix("[]") for name in unseen}
    assert len(plain) == len(unseen) / 2
    assert plain <= {
        *("bigint", "boolean", "character", "date", "double precision", "integer", "interval"),
        *("json", "jsonb", "numeric", "real", "smallint", "text", "time without time zone"),
        *("timestamp with time zone", "timestamp without time zone", "uuid", "character varying"),
    }


@pytest.mark.parametrize(
    ("what", "sql"),
    [
        ("relation", "SELECT 1 AS a FROM pg_catalog.pg_authid"),
        ("relation", "SELECT 1 AS a WHERE EXISTS (TABLE pg_catalog.pg_authid)"),
        ("relation", "SELECT 1 AS a FROM staging.stg_space NATURAL JOIN indexes.device__devices"),
        ("node", "SELECT 1 AS a FROM indexes.device__devices FOR UPDATE"),
        ("node", "SELECT 1 AS a FROM indexes.device__devices TABLESAMPLE system (1)"),
        ("system", "SELECT ctid::text AS a FROM staging.stg_space"),
        ("node", "SELECT j.a FROM json_table(jsonb '[1]', '$[*]' COLUMNS (a int PATH '$')) AS j"),
        ("node", "SELECT json_value(jsonb '1', '$') AS a"),
        ("node", "SELECT x.a FROM xmltable('/a' PASSING NULL COLUMNS a int) AS x"),
        ("type", "SELECT current_user::text AS a"),
    ],
)
def test_forms_that_do_more_than_compute(
    server: psycopg2.extensions.cursor, what: str, sql: str
) -> None:
    tables = [] if what == "relation" else ["staging.stg_space", "indexes.device__devices"]
    found = judged(server, sql, tables)
    assert what in {kind for kind, _ in found}
    assert isinstance(violation_error(sql, sorted(found)), RefusedSQL)


def test_names_in_a_query_are_not_mistaken_for_parts_of_its_tree(
    server: psycopg2.extensions.cursor,
) -> None:
    names = ('"x :funcid 1}"', '"{ROWMARKCLAUSE"', '":relid 1260 "')
    columns = ", ".join(f"{n} AS {name}" for n, name in enumerate(names))
    assert judged(server, f"SELECT {columns}") <= {("node", "ROWMARKCLAUSE")}
    hidden = "SELECT q.ts_stat AS \"}) :funcid 2331 \" FROM unnest(ARRAY['a']) AS q"
    assert ("function", "ts_stat") in judged(server, hidden)


def test_mutated_queries_are_refused_or_read_as_intended(
    server: psycopg2.extensions.cursor,
) -> None:
    """Valid queries with words removed or added: refused with a message, or read as intended."""
    chance = random.Random(7)
    tokens = [[q[t.start : t.end + 1] for t in Postgres().tokenize(q)] for q in VALID]
    words = [word for query in tokens for word in query] + ["q.nextval", "q.ts_stat", "::regclass"]
    accepted = 0
    for _ in range(2500):
        query = list(chance.choice(tokens))
        for _ in range(chance.choice([1, 1, 2])):
            at = chance.randrange(len(query))
            query[at : at + chance.choice([0, 1])] = chance.choice([[], [chance.choice(words)]])
        try:
            translated = given(" ".join(query))
        except RefusedSQL:
            continue
        try:
            found = judged(server, translated.sql_plain, translated.tables, translated.functions)
        except psycopg2.Error:
            continue  # no such column, or not SQL: the database reports it
        accepted += not found
        for row in found:
            assert violation_error(translated.user_sql, [row]).message.endswith("here.")
    assert accepted > 100


# --- in previews and dbt ------------------------------------------------------------------------
NAMES = {"space": Place("staging", "int_sessions", "ref('int_sessions')")}


def saved(sql: str) -> Translated:
    return translate(sql, concept="device", index=None, key=None, names=NameTable(NAMES))


@pytest.mark.parametrize("sql", ATTACKS)
def test_a_call_that_looks_like_a_column_is_refused(campus: Settings, sql: str) -> None:
    with pytest.raises(RefusedSQL, match=r"here\."):
        validate_query(campus, saved(sql), None)


@pytest.mark.parametrize("sql", REPAIRED)
def test_text_that_sqlglot_ignores_is_refused(campus: Settings, sql: str) -> None:
    with pytest.raises(RefusedSQL) as caught:
        validate_query(campus, saved(sql), None)
    assert caught.value.reason == "syntax"


def test_all_hostile_texts_are_refused_or_only_compute(campus: Settings, shared_data: Path) -> None:
    """Those that are accepted have been checked for functions, tables and types."""
    texts = (shared_data / "hostile" / "sql.txt").read_text().splitlines()
    assert len(texts) > 100
    accepted = []
    for sql in texts:
        try:
            preview(campus, saved(sql), rows=3)
        except BadInput:
            continue
        accepted.append(sql)
    assert accepted == []


def test_a_preview_cuts_long_texts_in_the_database(campus: Settings) -> None:
    sql = (
        "select repeat(repeat('x', 1000), 1000) as a, array[repeat('y', 1000), 'b'] as b, 'c' as c"
    )
    row = preview(campus, saved(sql)).rows.to_pylist()[0]
    assert row["a"] == "x" * MAX_TEXT_LENGTH + "…"
    assert len(row["b"]) == 1004
    assert row["c"] == "c"
    many = ", ".join(f"repeat(repeat('x', 1000), 1000) as c{n}" for n in range(30))
    rows = preview(campus, saved(f"select {many} from generate_series(1, 3) g")).rows
    assert rows.nbytes < 1_000_000


@pytest.mark.slow
def test_dbt_checks_before_it_creates_a_table(bare: Settings) -> None:
    """For example a definition saved by an earlier version, or without the app."""
    fill_source(bare)
    attack = (
        "select q.nextval::text as mac_address from unnest(array['tippers.definition_id_seq']) q"
    )
    deployment = Deployment(bare, small_catalog(rule(attack)))
    assert not deployment.materialize().success
    result = deployment.materialize("device/long")
    assert "function nextval" in failure(result)
    assert deployment.recorded()["device/devices"]
    assert "device/long" not in deployment.recorded() or not deployment.recorded()["device/long"]
