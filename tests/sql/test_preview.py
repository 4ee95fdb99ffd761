"""Trying SQL on the database, and the messages for its author."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.sql.definitions import DEVICES, catalog
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.preview import NotComputedYet, preview, validate_query
from tippers_dagster.sql.translate import Translated, translate


def given(settings: Settings, sql: str) -> Translated:
    names = NameTable.of(catalog(), settings)
    return translate(sql, concept="device", index=DEVICES.ref, key="mac_address", names=names)


def told(settings: Settings, sql: str, key: str | None = "mac_address") -> str:
    with pytest.raises(BadInput) as caught:
        validate_query(settings, given(settings, sql), key)
    return str(caught.value)


def test_columns_are_known_without_running(campus: Settings) -> None:
    found = given(
        campus,
        "select mac_address, count(*) as n, avg(seconds) as mean, max(start_time) as last, "
        "array_agg(weekday) as days, min(start_time)::date as day, bool_or(weekday > 5) as w, "
        "max(seconds)::float as f from int_sessions where mac_address in (:index_values) "
        "group by 1",
    )
    assert validate_query(campus, found, "mac_address") == [
        Column("mac_address", "text"),
        Column("n", "bigint"),
        Column("mean", "numeric"),
        Column("last", "timestamp without time zone"),
        Column("days", "integer[]"),
        Column("day", "date"),
        Column("w", "boolean"),
        Column("f", "double precision"),
    ]
    slow = given(campus, "select a.mac_address from int_sessions a, int_sessions b, int_sessions c")
    assert validate_query(campus, slow, "mac_address") == [Column("mac_address", "text")]


def test_a_preview_has_rows_and_an_estimate(campus: Settings) -> None:
    sql = (
        "select mac_address, count(*) as n, sum(seconds) as total, interval '1 day' as i, "
        "jsonb_build_object('a', 1) as j, '{a}'::text[] as l from int_sessions "
        "where mac_address in (:index_values) group by mac_address order by mac_address"
    )
    found = preview(campus, given(campus, sql), "mac_address", rows=3)
    assert found.rows.num_rows == 3
    assert found.truncated
    assert found.rows["mac_address"].to_pylist() == ["m0", "m1", "m10"]
    assert found.rows["n"].to_pylist() == [50, 50, 50]
    assert found.rows.schema.field("total").type == pa.float64()
    assert found.rows["j"].to_pylist()[0] == '{"a": 1}'
    assert found.rows["l"].to_pylist()[0] == "{a}"
    assert 10 <= found.estimated_rows <= 200
    assert found.total_cost > 1
    assert 0 < found.seconds < 2
    assert not preview(campus, given(campus, sql)).truncated


def test_a_preview_times_out(campus: Settings) -> None:
    sql = (
        "select a.mac_address, count(*) as n from int_sessions a, int_sessions b, int_sessions c "
        "group by a.mac_address"
    )
    with pytest.raises(BadInput, match="longer than 2 s") as caught:
        preview(campus, given(campus, sql))
    assert "Filter earlier" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        (
            "select mac_address,\n  secnds from int_sessions",
            ["Line 2, column 3: There is no column secnds.", "Did you mean seconds"],
        ),
        (
            "select s.mac_address, s.room_typ\nfrom int_sessions s",
            ["Line 1, column 23: There is no column room_typ.", "Did you mean room_type"],
        ),
        ("select mac_address, zzzzzz from devices", ["Its tables have: mac_address."]),
        ("select x.mac_address from devices", ["Line 1, column 8", "missing FROM-clause entry"]),
        ("select mac_address, seconds, count(*) as n from int_sessions group by 1", ["GROUP BY"]),
        ("select mac_address from int_sessions, devices", ["ambiguous", "table.column"]),
        ("select mac_address, upper(weekday) as u from int_sessions", ["upper(", "CAST"]),
        ("select mac_address, weekday = 'x' as u from int_sessions", ["invalid input syntax"]),
        ("select mac_address, 1 / 0 as u from devices", ["division by zero", "nullif"]),
        ("select * from int_sessions a join devices b on true", ["mac_address more than once"]),
        ("select mac_address, 1 from devices", ["Column 2", "no name"]),
        ('select mac_address as "Who" from devices', ["'Who'", "lower-case"]),
        ("select mac_address, d from devices d", ["column d is a whole row or a"]),
        ("select mac_address as mac_adress from devices", ["no column mac_address", "mac_adress"]),
        ("select weekday from int_sessions", ["no column mac_address", "Add mac_address"]),
        ("select from devices", ["no column"]),
        ("select 1 as mac_address union select 'x'", ["The database says"]),
    ],
)
def test_errors_are_messages_with_a_place(campus: Settings, sql: str, parts: list[str]) -> None:
    message = told(campus, sql)
    for part in parts:
        assert part in message
    assert "staging." not in message.split("\n")[0]


def test_tables_that_do_not_exist_yet(campus: Settings) -> None:
    with pytest.raises(NotComputedYet, match=r"device\.chosen has not been computed yet") as caught:
        validate_query(campus, given(campus, "select mac_address from chosen"), "mac_address")
    assert [place.table for place in caught.value.places] == ["device__chosen"]
