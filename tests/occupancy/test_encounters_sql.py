"""What is answered of a window's chunks equals the shipped models, row by row.

The models' own text runs on PostgreSQL, with nothing of dbt but the names of tables.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
import psycopg2
import psycopg2.extras
import pyarrow as pa
import pytest

from tests.conftest import REPOSITORY, SessionServer
from tests.occupancy import company
from tests.occupancy.company import Session
from tests.occupancy.test_encounters import DAYS, window
from tippers_dagster.occupancy import windows
from tippers_dagster.occupancy.days import device_days, place_days

PROJECT = REPOSITORY / "dbt_project"
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


def model(path: str) -> str:
    """The SQL of a shipped model."""
    environment = jinja2.Environment(autoescape=False)
    macros = environment.from_string((PROJECT / "macros" / "local_times.sql").read_text()).module
    template = environment.from_string((PROJECT / "models" / path).read_text())
    everybody = "(select distinct mac_address from int_sessions)"
    return template.render(
        target={"type": "postgres"},
        ref=lambda name: name,
        entities=lambda index: everybody,
        share=macros.share,
        config=lambda **_: "",
    )


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


def rows_of(cursor: psycopg2.extras.RealDictCursor, path: str) -> list[dict[str, Any]]:
    cursor.execute(model(path))
    return [dict(row) for row in cursor.fetchall()]


def assert_same(found: pa.Table, rows: list[dict[str, Any]]) -> None:
    """The rows of a model, whose devices are addresses; PostgreSQL's mean intervals are rounded to
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
def test_windows_answer_as_the_models_do(
    cursor: psycopg2.extras.RealDictCursor, chunks: set[int]
) -> None:
    for seed in SEEDS:
        sessions = company.campus(random.Random(seed), DAYS)
        fill(cursor, [s for s in sessions if s.chunk in chunks])
        chosen = window(sessions, chunks)
        days = [place_days(chunk.sessions()) for chunk in chosen]
        assert_same(
            windows.best_partners(chosen, company.addresses(sessions)),
            rows_of(cursor, "device/device__co_paired.sql"),
        )
        assert_same(windows.accompanied(chosen), rows_of(cursor, "student/student__company.sql"))
        assert_same(
            windows.co_located(days, company.regions()),
            rows_of(cursor, "group/group__co_located_room.sql"),
        )


def test_days_are_those_of_the_models(cursor: psycopg2.extras.RealDictCursor) -> None:
    for seed in SEEDS:
        sessions = company.campus(random.Random(seed), DAYS)
        fill(cursor, sessions)
        tables = [company.table(sessions, chunk) for chunk in range(DAYS)]
        found = pa.concat_tables(map(place_days, tables))
        names = {"space": "space_id", "sensor": "sensor_id"}
        found = found.rename_columns([names.get(name, name) for name in found.column_names])
        rows = rows_of(cursor, "staging/int_place_days.sql")
        facts = ("is_room", "room_type", "is_faculty_office")
        assert_same(found, [{k: v for k, v in row.items() if k not in facts} for row in rows])
        found = pa.concat_tables(map(device_days, tables))
        assert_same(found, rows_of(cursor, "staging/int_device_days.sql"))
