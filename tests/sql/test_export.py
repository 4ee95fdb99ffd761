"""Exports of warehouse tables to the lake: complete, readable, and without MAC addresses."""

from __future__ import annotations

import datetime as dt
import decimal

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.sql.definitions import MACS
from tippers_dagster.errors import LakeError, TippersError
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql import export as module
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.export import export_table

KEY = "rules/device__x/data.parquet"


def make(settings: Settings, query: str) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS rules"))
        connection.execute(sa.text(f"CREATE TABLE rules.device__x AS {query}"))


def export(settings: Settings) -> pa.Table:
    done = export_table(settings, "rules", "device__x", KEY)
    table = open_lake(settings).read_table(KEY)
    assert done.rows == table.num_rows
    return table


def test_every_type_of_postgresql_is_readable(stack: Settings) -> None:
    make(
        stack,
        f"SELECT '{MACS[0]}' AS mac_address, 1.5::numeric AS n, 'NaN'::numeric AS nan, "
        "interval '90 minutes' AS span, date '2025-01-06' AS day, "
        "timestamp '2025-01-06 09:00' AS at, time '09:00' AS clock, true AS yes, "
        "'x'::varchar(3) AS word, 'y'::char(2) AS letters, 7::smallint AS few, 7::real AS real, "
        "ARRAY['a', 'b'] AS list, '{\"a\": 1}'::jsonb AS document, "
        "'3a3c4d7e-0000-4000-8000-000000000000'::uuid AS id, NULL::numeric AS nothing, "
        '1 AS "Od""d"',
    )
    (row,) = export(stack).to_pylist()
    assert isinstance(row.pop("device_id"), int)
    nan = row.pop("nan")
    assert nan != nan
    assert row == {
        "n": 1.5,
        "span": 5400.0,
        "day": dt.date(2025, 1, 6),
        "at": dt.datetime(2025, 1, 6, 9),
        "clock": "09:00:00",
        "yes": True,
        "word": "x",
        "letters": "y",
        "few": 7,
        "real": 7.0,
        "list": "{a,b}",
        "document": '{"a": 1}',
        "id": "3a3c4d7e-0000-4000-8000-000000000000",
        "nothing": None,
        'Od"d': 1,
    }
    assert not isinstance(row["n"], decimal.Decimal)


def test_an_empty_table_is_a_file_with_its_columns(stack: Settings) -> None:
    make(stack, "SELECT ''::text AS mac_address, 1.0 AS hours WHERE false")
    table = export(stack)
    assert table.schema == pa.schema({"device_id": pa.uint64(), "hours": pa.float64()})


def test_the_result_describes_the_export(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    make(stack, "SELECT 'm' || n AS mac_address, n FROM generate_series(1, 1000) n")
    monkeypatch.setattr(module, "STATISTICS_BYTES", 1)  # one batch
    done = export_table(stack, "rules", "device__x", KEY)
    assert done.columns == [Column("mac_address", "text"), Column("n", "integer")]
    assert [s.column for s in done.statistics] == ["device_id", "n"]
    assert done.statistics[1].maximum == 1000
    assert 0 < done.statistics_rows <= done.rows == 1000


def test_a_table_of_many_batches_is_complete(stack: Settings) -> None:
    make(
        stack,
        "SELECT 'm' || n AS mac_address, n, repeat('x', 200) AS text "
        "FROM generate_series(1, 200000) n",
    )
    table = export(stack)
    assert table.num_rows == 200_000
    assert len(set(table["device_id"].to_pylist())) == 200_000


def test_a_refused_table_leaves_the_older_file(stack: Settings) -> None:
    make(stack, f"SELECT '{MACS[0]}' AS mac_address")
    before = export(stack)
    with warehouse_engine(stack).begin() as connection:
        connection.execute(sa.text("ALTER TABLE rules.device__x ADD other text"))
        connection.execute(sa.text(f"UPDATE rules.device__x SET other = '{MACS[1]}'"))
    with pytest.raises(LakeError, match="other contains MAC addresses"):
        export_table(stack, "rules", "device__x", KEY)
    assert open_lake(stack).read_table(KEY) == before


def test_a_missing_table_is_reported(stack: Settings) -> None:
    with pytest.raises(TippersError, match=r"no table rules\.nothing"):
        export_table(stack, "rules", "nothing", KEY)
