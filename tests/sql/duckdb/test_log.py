"""The log in the lake, as a sandbox has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.sql.definitions import MACS
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.window import EVERYTHING
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.duckdb.contents import inputs, lake_sandbox
from tippers_dagster.sql.duckdb.log import empty_log_table, log_table
from tippers_dagster.sql.log import LOG_TABLES, window_chunks
from tippers_dagster.sql.project import rendered_project

ANSWERS = ("partners", "company", "crowds")
COVERAGE = (
    "INSERT INTO source.region_to_coverage (region_id, space_name, sensor) "
    "VALUES ('1', 'Room 1', 'ap1')"
)


def test_partners_company_and_crowds(lake: Settings) -> None:
    """All devices are in one room at the same time, each an hour longer than the previous one."""
    with warehouse_engine(lake).begin() as connection:
        connection.execute(sa.text(COVERAGE))
    project = rendered_project(lake, Catalog(()))
    chosen = [f"model.tippers.int_{name}" for name in ANSWERS]
    read = inputs(project.manifest, project.staging_views, chosen)
    assert set(read.log[EVERYTHING]) == {*ANSWERS, "device_address"}
    with lake_sandbox(lake, read, statement_seconds=30) as box:
        partners, company, crowds = (
            box.query(f"SELECT * FROM staging.int_{name} ORDER BY mac_address", 30).to_pylist()
            for name in ANSWERS
        )
    devices = sorted(MACS)
    assert [(r["mac_address"], r["sessions"], r["shared_share"]) for r in partners] == [
        (mac, 3, 1.0) for mac in devices
    ]
    assert [(r["mac_address"], r["accompanied_sessions"]) for r in company] == [
        (mac, 3) for mac in devices
    ]
    assert crowds == [
        {
            "mac_address": mac,
            "space_name": "Room 1",
            "co_located": 3 * (len(MACS) - 1),
            "co_located_share": 1.0,
        }
        for mac in devices
    ]


def test_what_takes_long_is_made_again_only_when_something_changed(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def read(settings: Settings, chunks: Sequence[str]) -> pa.Table:
        made.append(list(chunks))
        return found.read(settings, chunks)

    found = LOG_TABLES["crowds"]
    monkeypatch.setitem(LOG_TABLES, "crowds", replace(found, read=read))
    chunks = window_chunks(lake, ANSWERS)
    first = log_table(lake, "crowds", chunks)
    assert log_table(lake, "crowds", chunks) is first
    with warehouse_engine(lake).begin() as connection:
        connection.execute(sa.text(COVERAGE))
    assert log_table(lake, "crowds", chunks).num_rows > first.num_rows
    assert made == [chunks, chunks]


def test_columns_are_the_same_without_rows(lake: Settings) -> None:
    chunks = window_chunks(lake, ANSWERS)
    for name in (*ANSWERS, "device_address", "devices"):
        found = log_table(lake, name, chunks)
        assert found.schema == empty_log_table(name).schema
        assert found.num_rows > 0 or name == "crowds"


def test_only_the_chunks_of_the_window(lake: Settings) -> None:
    (chunk,) = window_chunks(lake, ["sessions"])
    assert log_table(lake, "sessions", [chunk]).keys == [f"sessions/chunk={chunk}.parquet"]
    assert log_table(lake, "place_days", []).keys == []
    assert window_chunks(lake, ["occupancy", "device_address"]) == [], "nothing of it is by chunk"
