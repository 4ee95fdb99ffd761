"""Trying SQL on DuckDB, and the messages for its author."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.sql.definitions import DEVICES, MACS, catalog
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.duckdb.trying import LakeTrial
from tippers_dagster.sql.names import NameTable, ref_place
from tippers_dagster.sql.preview import NotComputedYet
from tippers_dagster.sql.project import rendered_project
from tippers_dagster.sql.translate import Translated, translate


@pytest.fixture
def trial(lake: Settings) -> LakeTrial:
    with warehouse_engine(lake).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS indexes"))
        connection.execute(sa.text("CREATE TABLE indexes.device__devices (mac_address text)"))
        rows = [{"mac": mac} for mac in MACS[:4]]
        connection.execute(sa.text("INSERT INTO indexes.device__devices VALUES (:mac)"), rows)
    project = rendered_project(lake, Catalog(()))
    return LakeTrial(lake, project.manifest, project.staging_views)


def given(settings: Settings, sql: str) -> Translated:
    names = NameTable.of(catalog(), settings)
    return translate(sql, concept="device", index=DEVICES.ref, key="mac_address", names=names)


def test_columns_rows_and_limits(lake: Settings, trial: LakeTrial) -> None:
    """In one test: each deployment takes seconds."""
    found = given(
        lake,
        "select mac_address, count(*) as n, avg(seconds) as mean, max(start_time) as last, "
        "array_agg(weekday order by weekday) as days, min(start_time)::date as day, "
        "bool_or(weekday > 5) as w, sum(seconds) as total, max(started_at) as t from int_sessions "
        "where mac_address in (:index_values) group by 1 order by 1",
    )
    columns = [
        Column("mac_address", "text"),
        Column("n", "bigint"),
        Column("mean", "double precision"),
        Column("last", "timestamp without time zone"),
        Column("days", "smallint[]"),
        Column("day", "date"),
        Column("w", "boolean"),
        Column("total", "bigint"),
        Column("t", "timestamp with time zone"),
    ]
    assert trial.validate(found, "mac_address") == columns

    shown = trial.preview(found, "mac_address", rows=3)
    assert shown.columns == tuple(columns)
    assert shown.truncated
    assert shown.rows["mac_address"].to_pylist() == list(MACS[:3])
    assert shown.rows["n"].to_pylist() == [3, 3, 3]
    assert shown.rows["total"].to_pylist() == [3 * 3600, 6 * 3600, 9 * 3600]
    assert shown.rows["days"].to_pylist()[0] == "[1, 2, 3]"
    assert shown.rows.schema.field("mean").type == pa.float64()
    assert not trial.preview(found, "mac_address").truncated

    analysts = given(lake, "select mac_address, end_time from user_ap_trajectory")
    assert trial.preview(analysts, "mac_address", rows=100).rows.num_rows == 3 * len(MACS)
    counts = given(lake, "select space_id, beginning, number_of_connections from space_occupancy")
    assert trial.preview(counts, None).rows.num_rows == 0

    # Planned over tables as they will be.
    place = ref_place(DEVICES.ref)
    others = {place: (Column("mac_address", "text"), Column("extra", "integer[]"))}
    assert trial.validate(given(lake, "select * from devices"), None, others) == list(others[place])

    with pytest.raises(NotComputedYet, match=r"device\.chosen has not been computed yet"):
        trial.validate(given(lake, "select mac_address from chosen"), "mac_address")

    slow = "select a.mac_address from int_sessions a, generate_series(1, 100000000) b, "
    slow += "generate_series(1, 1000000) c where b.generate_series % 7 = c.generate_series % 3"
    with pytest.raises(BadInput, match="longer than 2 s") as caught:
        trial.preview(given(lake, f"select count(*) as n from ({slow}) x"), None)
    assert "Filter earlier" in (caught.value.hint or "")


MESSAGES = [
    (
        "select mac_address,\n  secnds from int_sessions",
        ["Line 2, column 3: There is no column secnds.", "Did you mean seconds"],
    ),
    (
        "select s.mac_address, s.room_typ\nfrom int_sessions s",
        ["Line 1, column 23: There is no column room_typ.", "Did you mean room_type"],
    ),
    ("select mac_address, zzzzzz from devices", ["Its tables have: mac_address."]),
    ("select x.mac_address from devices", ["Line 1, column 8", "x", "FROM or JOIN"]),
    ("select mac_address, seconds, count(*) as n from int_sessions group by 1", ["GROUP BY"]),
    ("select mac_address from int_sessions, devices", ["mbiguous", "table.column"]),
    ("select mac_address, upper(weekday) as u from int_sessions", ["upper(", "CAST"]),
    ("select * from int_sessions a join devices b on true", ["mac_address more than once"]),
    ("select mac_address, 1 from devices", ["Column 2", "no name"]),
    ('select mac_address as "Who" from devices', ["'Who'", "lower-case"]),
    ("select mac_address, d from devices d", ["column d is a whole row or a"]),
    ("select mac_address as mac_adress from devices", ["no column mac_address", "mac_adress"]),
    ("select weekday from int_sessions", ["no column mac_address", "Add mac_address"]),
    ("select mac_address, to_char(start_time, 'D') as d from int_sessions", ["to_char", "lack"]),
]


def test_errors_are_messages_with_a_place(lake: Settings, trial: LakeTrial) -> None:
    for sql, parts in MESSAGES:
        query = given(lake, sql)
        with pytest.raises(BadInput, match=re.escape(parts[0])) as caught:
            trial.validate(query, "mac_address")
        message = str(caught.value)
        for part in parts:
            assert part in message, (sql, message)
        assert "staging." not in message.split("\n")[0]

    # Values are computed only when the query runs.
    for sql, message, hint in (
        ("1 / (seconds - seconds)", "Division by zero", "nullif"),
        ("weekday = 'x'", "Could not convert", "type"),
    ):
        query = given(lake, f"select mac_address, {sql} as u from int_sessions")
        with pytest.raises(BadInput, match=message) as caught:
            trial.preview(query, "mac_address")
        assert hint in (caught.value.hint or "")
