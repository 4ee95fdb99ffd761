"""The whole way: rows in PostgreSQL, one pass a level, counts read back; equal to the oracle."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.occupancy import oracle
from tests.occupancy.campus import Seen, compute_all, fill, forget_all, stale
from tippers_dagster.campus.local_time import chunk_bounds, chunk_keys
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.state import DERIVED, SESSIONS, SOURCE
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import ChunkSize, Settings

WIDTHS = (60, 900, 3600, 5400, 14400, 86400)

# Both changes of clocks, a month's and a year's end, and a zone whose clock moves by half an hour
# at midnight of the source's wall, another where it moves at midnight.
MOMENTS = [
    ("America/Los_Angeles", dt.date(2025, 3, 9)),
    ("America/Los_Angeles", dt.date(2025, 11, 2)),
    ("America/Los_Angeles", dt.date(2024, 12, 31)),
    ("Australia/Lord_Howe", dt.date(2025, 4, 6)),
    ("America/Havana", dt.date(2025, 11, 2)),
    ("Asia/Beirut", dt.date(2025, 3, 30)),
    ("UTC", dt.date(2025, 6, 1)),
]


@dataclass(frozen=True)
class Case:
    """What hypothesis makes up."""

    zone: str
    day: dt.date
    chunk: ChunkSize
    parents: dict[int, int | None]
    rows: list[tuple[int, int, dt.datetime, dt.datetime | None]]  # space, device, local times
    open_seconds: int

    @property
    def tracked(self) -> tuple[dt.date, dt.date]:
        return self.day - dt.timedelta(2), self.day + dt.timedelta(3)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    zone, day = draw(st.sampled_from(MOMENTS))
    n = draw(st.integers(1, 9))
    parents = {
        i: None if i == 0 else draw(st.one_of(st.none(), st.integers(0, i - 1))) for i in range(n)
    }
    minutes = st.one_of(
        st.integers(-4 * 1440, 4 * 1440),
        st.integers(-6 * 60, 6 * 60),  # about the change of clocks
        st.sampled_from([-2880, -1440, 0, 60, 90, 120, 180, 1440]),  # on midnights and changes
    )
    micros = st.sampled_from([0, 0, 1, 30_000_000, 59_999_999])
    lengths = st.one_of(
        st.none(),
        st.just(0),
        st.integers(0, 240),
        st.integers(0, 3 * 1440),
        st.integers(-90, 0),
    )
    rows = []
    for _ in range(draw(st.integers(0, 25))):
        start = dt.datetime.combine(day, dt.time()) + dt.timedelta(
            minutes=draw(minutes), microseconds=draw(micros)
        )
        length = draw(lengths)
        end = None
        if length is not None:
            end = start + dt.timedelta(minutes=length, microseconds=draw(micros) if length else 0)
        rows.append((draw(st.integers(0, n - 1)), draw(st.integers(0, 5)), start, end))
    rows += rows[: draw(st.integers(0, 2))]
    chunk = draw(st.sampled_from(["day", "week", "month"]))
    return Case(zone, day, chunk, parents, rows, draw(st.sampled_from([600, 43200])))


@pytest.fixture
def warehouse(stack: Settings) -> Iterator[Settings]:
    """A deployment whose database says another time zone to those who connect."""
    with closing(psycopg2.connect(databases(stack).warehouse)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', "
                "current_database(), 'Asia/Kolkata'); END $$"
            )
    return stack


@given(case=cases())
@examples(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes
)
def test_every_space_equals_the_oracle(warehouse: Settings, case: Case) -> None:
    lake = Path(warehouse.lake_url or "")
    settings = warehouse.model_copy(
        update={
            "timezone": case.zone,
            "chunk": case.chunk,
            "open_session_seconds": case.open_seconds,
            "memory_budget_mb": 16,
        }
    )
    open_lake.cache_clear()
    shutil.rmtree(lake, ignore_errors=True)
    forget_all(settings)
    fill(
        settings,
        {name(s): None if p is None else name(p) for s, p in case.parents.items()},
        [Seen(f"mac{device}", name(space), a, b) for space, device, a, b in case.rows],
    )
    first, last = case.tracked
    for space, parent in case.parents.items():
        if parent is None:
            track(settings, space=name(space), start=first, end=last)

    compute_all(settings)
    assert stale(settings) == {}
    assert compute_all(settings) == {SESSIONS: 0, SOURCE: 0, DERIVED: 0}

    zone = ZoneInfo(case.zone)
    known = [
        (space, device, *bounds)
        for space, device, a, b in case.rows
        if (bounds := oracle.session(a, b, zone, case.open_seconds))
    ]
    chunks = chunk_keys(first, last, case.chunk)
    begin, end = chunk_bounds(chunks[0], case.chunk)[0], chunk_bounds(chunks[-1], case.chunk)[1]
    for width in WIDTHS:
        edges = oracle.edges(begin, end, width, zone)
        for space in case.parents:
            found = read_occupancy(name(space), begin, end, width, dense=False, settings=settings)
            expected = oracle.sparse(known, oracle.descendants(space, case.parents), edges)
            assert counts(found) == expected, (name(space), width)


def name(space: int) -> str:
    return f"space {space}"


def counts(table: pa.Table) -> dict[int, int]:
    begins = table["interval_begin_time"].cast(pa.int64()).to_pylist()
    return dict(zip(begins, table["number_connections"].to_pylist(), strict=True))
