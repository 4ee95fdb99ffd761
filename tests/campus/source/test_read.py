"""Reading the source database: spaces, spans of sessions, fingerprints of chunks."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.source import checks
from tippers_dagster.campus.source.observed import Observed, Span
from tippers_dagster.campus.source.read import read_spaces, source_snapshot
from tippers_dagster.errors import SourceError
from tippers_dagster.settings import Settings

W1, W2, W3 = "2025-01-06", "2025-01-13", "2025-01-20"
SPAN: Span = (dt.date(2025, 1, 6), dt.date(2025, 1, 27))


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


ROWS = [
    Seen("m1", "r1", at("2025-01-07T09:00"), at("2025-01-07T10:00")),
    Seen("m2", "r1", at("2025-01-12T23:00"), at("2025-01-13T01:00")),
    Seen("m3", None, at("2025-01-14T09:00"), at("2025-01-14T10:00")),
    Seen(None, "r1", at("2025-01-15T09:00"), None),
]


@pytest.fixture
def settings(stack: Settings) -> Settings:
    campus.fill(stack, {"hall": None, "r1": "hall"}, ROWS)
    return stack


def observe(settings: Settings, chunks: list[str] | None = None) -> dict[str, Observed]:
    chunks = chunks or [W1, W2, W3]
    span = chunk_bounds(chunks[0], "week")[0], chunk_bounds(chunks[-1], "week")[1]
    with source_snapshot(settings) as source:
        return source.observe(span, chunks)


def read(settings: Settings, span: Span) -> pa.Table:
    with source_snapshot(settings) as source:
        return pa.Table.from_batches(list(source.sessions(span)))


def test_a_chunk_has_the_rows_that_touch_it(settings: Settings) -> None:
    assert {chunk: seen.rows for chunk, seen in observe(settings).items()} == {W1: 2, W2: 3, W3: 0}


def test_a_chunk_is_the_same_alone_or_with_others(settings: Settings) -> None:
    together = observe(settings)
    for chunk in (W1, W2, W3):
        assert observe(settings, [chunk]) == {chunk: together[chunk]}
    assert len({seen.fingerprint for seen in together.values()}) == 3


def test_the_order_of_rows_and_the_database_s_zone_do_not_matter(settings: Settings) -> None:
    before = observe(settings)
    change(settings, "DELETE FROM source.user_ap_trajectory")
    campus.add_sessions(settings, ROWS[::-1])
    change(
        settings,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', "
        "current_database(), 'Asia/Tokyo'); END $$",
    )
    assert observe(settings) == before


@pytest.mark.parametrize(
    ("sql", "touched"),
    [
        ("SET mac_address = 'M1' WHERE mac_address = 'm1'", {W1}),
        ("SET space_id = 'hall' WHERE mac_address = 'm1'", {W1}),
        ("SET space_id = NULL WHERE mac_address = 'm2'", {W1, W2}),
        ("SET end_time = end_time + interval '1 s' WHERE mac_address = 'm2'", {W1, W2}),
        ("SET end_time = '2025-01-12 23:30' WHERE mac_address = 'm2'", {W1, W2}),
        ("SET end_time = '2025-01-20 00:00:01' WHERE mac_address = 'm3'", {W2, W3}),
        ("SET end_time = NULL WHERE mac_address = 'm3'", {W2}),
        ("SET start_time = start_time - interval '1 week' WHERE mac_address IS NULL", {W1, W2}),
        ("SET start_time = start_time + interval '1 us' WHERE mac_address IS NULL", {W2}),
    ],
)
def test_a_changed_row_changes_the_chunks_that_it_touches(
    settings: Settings, sql: str, touched: set[str]
) -> None:
    before = observe(settings)
    assert change(settings, f"UPDATE source.user_ap_trajectory {sql}") == 1
    after = observe(settings)
    assert {chunk for chunk in after if after[chunk] != before[chunk]} == touched


def test_duplicates_count(settings: Settings) -> None:
    before = observe(settings)
    campus.add_sessions(settings, [ROWS[0]] * 2)
    after = observe(settings)
    assert after[W1].rows == 4
    assert after[W1].fingerprint != before[W1].fingerprint
    assert after[W2] == before[W2]


def test_a_span_has_every_row_that_may_touch_it(settings: Settings) -> None:
    campus.add_sessions(
        settings,
        [
            Seen("open", "r1", at("2025-01-12T20:00"), None),
            Seen("long", "r1", at("2024-12-20T00:00"), at("2025-01-13T00:00:01")),
            Seen("closed", "r1", at("2025-01-12T20:00"), at("2025-01-12T21:00")),
            Seen("before", "r1", at("2025-01-12T10:00"), at("2025-01-12T11:00")),
            Seen("after", "r1", at("2025-01-20T00:00"), at("2025-01-20T01:00")),
        ],
    )
    table = read(settings, (dt.date(2025, 1, 13), dt.date(2025, 1, 20)))
    assert set(table["mac_address"].to_pylist()) == {"m2", "m3", None, "open", "long", "closed"}
    assert table.schema.field("start_time").type == pa.timestamp("us")


def test_one_view_for_rows_and_fingerprints(settings: Settings) -> None:
    with source_snapshot(settings) as source:
        first = source.observe(SPAN, [W1])
        campus.add_sessions(settings, [ROWS[0]])
        assert source.observe(SPAN, [W1]) == first
        rows = sum(batch.num_rows for batch in source.sessions(SPAN))
    assert rows == len(ROWS)
    assert observe(settings)[W1].rows == 3


def test_a_deployment_s_names_and_types(settings: Settings) -> None:
    change(settings, 'CREATE SCHEMA "Campus"')
    change(
        settings,
        'CREATE TABLE "Campus"."user location" ("MAC" macaddr, began timestamp(0), '
        '"ended" timestamp, place integer)',
    )
    change(
        settings,
        'CREATE TABLE "Campus".places (id integer, name varchar(20), above integer, room text)',
    )
    change(
        settings, "INSERT INTO \"Campus\".places VALUES (1, 'Hall', NULL, NULL), (2, 'R', 1, 'x')"
    )
    change(
        settings,
        'INSERT INTO "Campus"."user location" VALUES '
        "('08:00:2b:01:02:03', '2025-01-07 09:00', NULL, 2)",
    )
    theirs = settings.model_copy(
        update={
            "source_schema": "Campus",
            "session_table": "user location",
            "space_table": "places",
            "session_columns": {
                "mac_address": "MAC",
                "start_time": "began",
                "end_time": "ended",
                "space_id": "place",
            },
            "space_columns": {
                "space_id": "id",
                "space_name": "name",
                "parent_space_id": "above",
                "building_room": "room",
            },
        }
    )
    assert read_spaces(theirs).to_pylist() == [
        {"space_id": "1", "space_name": "Hall", "parent_space_id": None, "building_room": None},
        {"space_id": "2", "space_name": "R", "parent_space_id": "1", "building_room": "x"},
    ]
    assert observe(theirs)[W1].rows == 1
    (row,) = read(theirs, SPAN).to_pylist()
    assert row["mac_address"] == "08:00:2b:01:02:03"
    assert row["space_id"] == "2"
    assert row["sensor_id"] is None


def test_times_may_have_a_zone(settings: Settings) -> None:
    local, before = read(settings, SPAN), observe(settings)
    zone = settings.timezone
    for name in ("start_time", "end_time"):
        change(
            settings,
            f"ALTER TABLE source.user_ap_trajectory ALTER {name} TYPE timestamptz "
            f"USING {name} AT TIME ZONE '{zone}'",
        )
    checks._checked.clear()
    found = read(settings, SPAN)
    names = ["mac_address", "start_time", "end_time"]
    assert sorted(found.select(names).to_pylist(), key=str) == sorted(
        local.select(names).to_pylist(), key=str
    )
    starts = pc.local_timestamp(found["started_at"].cast(pa.timestamp("us", zone)))
    assert starts.equals(found["start_time"])
    after = observe(settings)
    assert {chunk: seen.rows for chunk, seen in after.items()} == {
        chunk: seen.rows for chunk, seen in before.items()
    }


def test_a_missing_table(settings: Settings) -> None:
    other = settings.model_copy(update={"session_table": "nowhere"})
    with pytest.raises(SourceError, match="nowhere") as caught:
        observe(other)
    assert "tippers doctor" in (caught.value.hint or "")


def test_it_is_never_written(settings: Settings) -> None:
    with pytest.raises(SourceError, match="read-only"), source_snapshot(settings) as source:
        source._cursor.execute("DELETE FROM source.user_ap_trajectory")
    assert change(settings, "SELECT FROM source.user_ap_trajectory") == len(ROWS)
