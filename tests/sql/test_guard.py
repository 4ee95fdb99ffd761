"""Which SQL is refused, with which reason, and which is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from tests.sql.hostile_sql import HOSTILE
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.sql.compose import quoted
from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_CALLS, RESERVED
from tippers_dagster.sql.guard import check
from tippers_dagster.sql.names import NameTable, Place, ref_place
from tippers_dagster.sql.refusals import RefusedSQL
from tippers_dagster.sql.translate import Translated, translate

DEVICES = Ref("device", "devices", Kind.INDEX)
SOURCES = ("user_ap_trajectory", "space", "space_metadata", "faculty_data", "region_to_coverage")
STAGING = {name: Place("staging", f"stg_{name}", f"ref('stg_{name}')") for name in SOURCES}
NAMES = NameTable(
    {
        **STAGING,
        **{f"public.{name}": place for name, place in STAGING.items()},
        "user_location_trajectory": STAGING["user_ap_trajectory"],
        "device.devices": ref_place(DEVICES),
    },
    {"device.lf_always_on": "labelling function"},
)
VALID = [
    block
    for block in (Path(__file__).parent / "valid.sql").read_text().strip().split("\n\n")
    if not block.startswith("-- ")
]

CAMPUS = """
    CREATE SCHEMA IF NOT EXISTS staging;
    CREATE SCHEMA IF NOT EXISTS indexes;
    CREATE SCHEMA IF NOT EXISTS device;
    CREATE TABLE staging.stg_user_ap_trajectory AS SELECT * FROM (VALUES
        ('m1', 's1', timestamp '2025-01-01 10:00', timestamp '2025-01-01 12:00', 'r1'),
        ('m1', 's2', '2025-01-01 23:00', '2025-01-02 01:00', 'r2'),
        ('m2', 's1', '2025-01-02 04:00', '2025-01-02 04:30', 'r1'),
        ('m3', 's1', '2025-01-02 04:00', NULL, 'r1')
    ) v (mac_address, sensor_id, start_time, end_time, space_id);
    CREATE TABLE staging.stg_space AS SELECT * FROM (VALUES
        ('c', 'Campus', NULL, NULL), ('r1', 'Room 1', 'c', 'B1'), ('r2', 'Room 2', 'c', 'B2')
    ) v (space_id, space_name, parent_space_id, building_room);
    CREATE TABLE staging.stg_space_metadata AS SELECT * FROM (VALUES
        ('x', '1', 'office', 'B1')
    ) v (roomid, typeid, type, building_room);
    CREATE TABLE staging.stg_faculty_data AS SELECT 'n' AS name, 'B1' AS office;
    CREATE TABLE staging.stg_region_to_coverage AS SELECT * FROM (VALUES
        ('c', 'x', 'w', 's1', 1.0::float8)
    ) v (region_id, space_name, wapcov_id, sensor, intersection_percentage);
    CREATE TABLE indexes.device__devices AS SELECT unnest(ARRAY['m1', 'm2']) AS mac_address;
    CREATE VIEW device.devices AS TABLE indexes.device__devices;
""" + "\n".join(
    f"CREATE VIEW public.{name} AS TABLE staging.stg_{source};"
    for name, source in (
        *((name, name) for name in SOURCES),
        ("user_location_trajectory", "user_ap_trajectory"),
    )
)


def given(sql: str) -> Translated:
    return translate(sql, concept="device", index=DEVICES, key="mac_address", names=NAMES)


def refusal(sql: str) -> RefusedSQL:
    with pytest.raises(RefusedSQL) as caught:
        given(sql)
    return caught.value


@pytest.fixture
def campus(database: str) -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(CAMPUS)
        yield cursor


@pytest.mark.parametrize(("reason", "sql"), HOSTILE, ids=lambda value: repr(value[:60]))
def test_hostile_sql_is_refused_for_the_right_reason(reason: str, sql: str) -> None:
    error = refusal(sql)
    assert error.reason == reason
    assert error.message.endswith((".", "?"))


def test_there_are_enough_hostile_texts() -> None:
    assert len({sql for _, sql in HOSTILE}) >= 60


def test_rewritten_sql_has_the_same_meaning(campus: psycopg2.extensions.cursor) -> None:
    """User SQL as written, compared with the rewritten one."""
    assert len(VALID) > 50
    for sql in VALID:
        raw = sql.replace("in :index_values", "in (:index_values)")
        raw = raw.replace("(:index_values)", "(SELECT mac_address FROM device.devices)")
        campus.execute("SET search_path = public")
        campus.execute(raw)
        expected = [column[:2] for column in campus.description], campus.fetchall()
        campus.execute("SET search_path = pg_catalog")
        campus.execute(given(sql).sql_plain)
        found = [column[:2] for column in campus.description], campus.fetchall()
        assert found[0] == expected[0], sql
        assert sorted(map(repr, found[1])) == sorted(map(repr, expected[1])), sql


def test_rewritten_sql_passes_the_guard_unchanged() -> None:
    for sql in VALID:
        written = given(sql).sql_plain
        places = {f"{p.schema}.{p.table}": p for p in given(sql).places}
        again = translate(written, concept="device", index=None, key=None, names=NameTable(places))
        assert again.sql_plain.split() == written.split()


def test_every_allowed_function_exists_and_is_not_volatile(
    campus: psycopg2.extensions.cursor,
) -> None:
    """A volatile function could write, wait, or return something else each time."""
    campus.execute(
        "SELECT proname, bool_or(provolatile = 'v') FROM pg_proc "
        "WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s) GROUP BY 1",
        (list(FUNCTIONS),),
    )
    volatile = dict(campus.fetchall())
    grammar = {"coalesce", "greatest", "grouping", "least", "nullif"}
    assert FUNCTIONS - set(volatile) == grammar
    assert [name for name, is_so in volatile.items() if is_so] == []


def test_keywords_are_not_functions_with_effects(
    campus: psycopg2.extensions.cursor,
) -> None:
    campus.execute(
        "SELECT DISTINCT proname FROM pg_proc WHERE proname = ANY(%s)",
        (sorted(GRAMMAR_CALLS - FUNCTIONS),),
    )
    # These have special syntax; all of them only compute.
    assert {name for (name,) in campus.fetchall()} <= {
        *("extract", "interval", "like", "overlaps", "overlay", "position", "substring")
    }


def test_reserved_words_are_quoted(campus: psycopg2.extensions.cursor) -> None:
    campus.execute("SELECT word FROM pg_get_keywords() WHERE catcode <> 'U'")
    assert {word for (word,) in campus.fetchall()} <= RESERVED
    assert [quoted(name) for name in ("mac_address", "select", "Who", "user")] == [
        "mac_address",
        '"select"',
        '"Who"',
        '"user"',
    ]


@pytest.mark.parametrize(
    ("sql", "line", "column"),
    [
        ("select a,\n  pg_sleep(1)", 2, 3),
        ("select a\nfrom space\nwhere b = 'x'::regclass", None, None),
        ("select 1\nfrom nowhere", 2, 6),
        ("select 1;\nselect 2", 1, 9),
        ("select 'x\ny',\n{{ z }}", 3, 1),
        ("select a from space s\nwhere s.ctid = 1", 2, 9),
    ],
)
def test_errors_have_a_place(sql: str, line: int | None, column: int | None) -> None:
    error = refusal(sql)
    if line is not None:
        assert (error.line, error.column) == (line, column)
        assert error.message.startswith(f"Line {line}, column {column}: ")
    assert error.hint


def test_similar_functions_are_suggested() -> None:
    assert "date_trunc()" in str(refusal("select date_truncate('day', now())"))
    assert "percentile_cont()" in str(refusal("select percentile_count(0.5)"))


def test_a_long_query_is_accepted() -> None:
    columns = ", ".join(
        f"count(*) filter (where space_id = 'r{n}' and start_time > '2025-01-01') as c{n}"
        for n in range(250)
    )
    given(f"select mac_address, {columns} from user_ap_trajectory group by mac_address")


def test_columns_of_the_result() -> None:
    assert check("select a, b as c, max(d), 'x', e::text from t").columns == (
        "a",
        "c",
        "",
        "",
        "e",
    )
    assert check("select * from t").columns is None
    assert check("select a from t union select b from t").columns == ("a",)
