"""What is answered of a window's chunks equals plain SQL over all its sessions, row by row."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pyarrow as pa
import pytest

from tests.conftest import SessionServer
from tests.occupancy import company
from tests.occupancy.company import Session
from tests.occupancy.test_encounters import DAYS, window
from tippers_dagster.occupancy import windows
from tippers_dagster.occupancy.days import device_days, place_days

QUERIES = Path(__file__).with_name("sql")
SEEDS = range(40)

TABLES = """
CREATE TEMP TABLE int_sessions (
    mac_address text, sensor_id text, space_id text, start_time timestamp, end_time timestamp,
    started_at timestamptz, ended_at timestamptz, seconds integer, local_date date,
    is_room boolean, room_type text, is_faculty_office boolean
);
CREATE TEMP TABLE int_regions (sensor_id text, space_id text, space_name text);
"""


@pytest.fixture(scope="module")
def cursor(session_server: SessionServer) -> Iterator[psycopg2.extras.RealDictCursor]:
    url = session_server.create()
    link = psycopg2.connect(url)
    with link.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(TABLES)
        yield cursor
    link.close()
    session_server.drop(url)


def fill(cursor: psycopg2.extras.RealDictCursor, sessions: Sequence[Session]) -> None:
    cursor.execute("TRUNCATE int_sessions, int_regions")
    psycopg2.extras.execute_values(
        cursor,
        "INSERT INTO int_sessions SELECT mac, sensor, space, to_timestamp(began) AT TIME ZONE "
        "'UTC', to_timestamp(ended) AT TIME ZONE 'UTC', to_timestamp(began), to_timestamp(ended), "
        "ended - began, (to_timestamp(began) AT TIME ZONE 'UTC')::date FROM (VALUES %s) "
        "AS given (mac, sensor, space, began, ended)",
        [(company.address(s.device), s.sensor, s.space, s.start, s.end) for s in sessions],
    )
    psycopg2.extras.execute_values(
        cursor,
        "INSERT INTO int_regions VALUES %s",
        [(*place, name) for place, name in company.REGIONS.items()],
    )


def rows_of(cursor: psycopg2.extras.RealDictCursor, query: str) -> list[dict[str, Any]]:
    cursor.execute((QUERIES / f"{query}.sql").read_text())
    return [dict(row) for row in cursor.fetchall()]


def assert_same(found: pa.Table, rows: list[dict[str, Any]]) -> None:
    """The rows of a query, whose devices are addresses; PostgreSQL's mean intervals are rounded to
    microseconds.
    """
    answers = [
        {"mac_address": company.address(row.pop("device")), **row} for row in found.to_pylist()
    ]
    names = sorted(rows[0]) if rows else []
    answers, rows = (
        sorted(([row[name] for name in names] for row in these), key=str)
        for these in (answers, rows)
    )
    assert len(answers) == len(rows)
    for answer, row in zip(answers, rows, strict=True):
        for value, wanted in zip(answer, row, strict=True):
            close = isinstance(wanted, float) and math.isclose(value, wanted, abs_tol=1e-9)
            assert close or value == wanted, (names, answer, row)


@pytest.mark.parametrize("chunks", [set(range(DAYS)), {1, 2}, {0, 3}], ids=str)
def test_windows_answer_as_sql_does(
    cursor: psycopg2.extras.RealDictCursor, chunks: set[int]
) -> None:
    for seed in SEEDS:
        sessions = company.campus(random.Random(seed), DAYS)
        fill(cursor, [s for s in sessions if s.chunk in chunks])
        chosen = window(sessions, chunks)
        days = [partial(place_days, chunk.sessions()) for chunk in chosen]
        assert_same(
            windows.best_partners(chosen, company.addresses(sessions)),
            rows_of(cursor, "co_paired"),
        )
        assert_same(windows.accompanied(chosen), rows_of(cursor, "company"))
        assert_same(
            windows.co_located(days, company.regions()),
            rows_of(cursor, "co_located_room"),
        )


def test_days_are_those_of_sql(cursor: psycopg2.extras.RealDictCursor) -> None:
    for seed in SEEDS:
        sessions = company.campus(random.Random(seed), DAYS)
        fill(cursor, sessions)
        tables = [company.table(sessions, chunk) for chunk in range(DAYS)]
        found = pa.concat_tables(map(place_days, tables))
        names = {"space": "space_id", "sensor": "sensor_id"}
        found = found.rename_columns([names.get(name, name) for name in found.column_names])
        rows = rows_of(cursor, "place_days")
        facts = ("is_room", "room_type", "is_faculty_office")
        assert_same(found, [{k: v for k, v in row.items() if k not in facts} for row in rows])
        # Rules do not read who is known.
        found = pa.concat_tables(map(device_days, tables)).drop_columns(["known"])
        assert_same(found, rows_of(cursor, "device_days"))
