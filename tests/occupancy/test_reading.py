"""Reading small handmade lakes, compared with a plain oracle."""

import datetime as dt
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from numpy.testing import assert_equal

from tests.occupancy.lake import put_counts, rows_of
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, chunk_bounds, chunk_keys
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import BadInput, LakeError, MissingPartitions
from tippers_dagster.occupancy import files, reading, staleness
from tippers_dagster.occupancy.files import PRESENCE, SOURCE_COUNTS
from tippers_dagster.occupancy.reading import (
    ALL_DEVICES,
    DeviceGroups,
    missing_chunks,
    read_counts,
    read_groups,
    read_occupancy,
)
from tippers_dagster.occupancy.sharing import read_shared_occupancy
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import SPACE_COLUMNS, Settings, get_settings

ZONE = ZoneInfo("America/Los_Angeles")
Intervals = list[tuple[int, int, int]]  # device, start, end


def at(text: str) -> int:
    """UTC seconds of a local time, or of one with an offset."""
    when = dt.datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=ZONE)).timestamp())


def day_begins(day: dt.date, width: int) -> list[int]:
    """Computed plainly, by stepping through a local day."""
    midnight = dt.datetime.combine(day, dt.time(), ZONE)
    begin, end = at(day.isoformat()), at((day + dt.timedelta(1)).isoformat())
    if width <= 3600:
        return list(range(begin, end, width))
    wall = [int((midnight + dt.timedelta(seconds=s)).timestamp()) for s in range(0, 86400, width)]
    return sorted({begin, *(t for t in wall if begin < t < end)})


def recount(intervals: Intervals, chunk: str, width: int, size: str = "week") -> dict[int, int]:
    """Distinct devices of every bin of a chunk, zeros included."""
    first, last = chunk_bounds(chunk, size)
    days = [first + dt.timedelta(i) for i in range((last - first).days)]
    begins = [t for day in days for t in day_begins(day, width)]
    ends = [*begins[1:], at(last.isoformat())]
    return {
        b: len({d for d, start, end in intervals if start < e and end > b})
        for b, e in zip(begins, ends, strict=True)
    }


def publish(lake: Lake, space: str, chunk: str, intervals: Intervals, size: str = "week") -> None:
    """Write presence and published counts of one space and chunk."""
    rows = [
        (width, begin, n)
        for width in PUBLISHED_WIDTHS
        for begin, n in recount(intervals, chunk, width, size).items()
        if n
    ]
    table = {
        "interval_seconds": pa.array([r[0] for r in rows], pa.int32()),
        "interval_begin_time": files.times([r[1] for r in rows]),
        "number_connections": pa.array([r[2] for r in rows], pa.int32()),
    }
    put_counts(lake, space, chunk, pa.table(table))
    publish_presence(lake, space, chunk, intervals)


def publish_presence(lake: Lake, space: str, chunk: str, intervals: Intervals) -> None:
    columns = list(zip(*sorted(intervals), strict=True)) or [[], [], []]
    types = {"device": pa.uint64(), "start": pa.int64(), "end": pa.int64()}
    table = pa.table([list(c) for c in columns], schema=pa.schema(list(types.items())))
    files.replace(lake, PRESENCE, chunk, rows_of({space: table}))


def rows(table: pa.Table) -> dict[int, int | None]:
    begins = table["interval_begin_time"].cast(pa.int64()).to_pylist()
    return dict(zip(begins, table["number_connections"].to_pylist(), strict=True))


@pytest.fixture
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spaces of the handmade lakes, without a database."""
    ids = ["r1", "b", "../x", "..", "é/☃", "a b", "a,b", "é 1", "=1+1"]
    none = pa.nulls(len(ids), pa.string())
    table = pa.table([ids, ids, none, none], names=SPACE_COLUMNS)
    monkeypatch.setattr(reading, "load_tree", lambda _: SpaceTree.from_table(table))


@pytest.fixture
def lake(tmp_path: Path, spaces: None, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("TIPPERS_LAKE_URL", str(tmp_path / "lake"))
    # A handmade lake has no records of its inputs.
    monkeypatch.setattr(staleness, "stale_chunks", lambda *_: [])
    monkeypatch.setattr(reading, "occupancy_lake", open_lake)
    get_settings.cache_clear()
    return open_lake(get_settings())


WEEK = "2025-01-06"
MONDAY: Intervals = [
    (1, at("2025-01-06T09:00"), at("2025-01-06T10:00")),
    (1, at("2025-01-06T10:05"), at("2025-01-06T10:06")),
    (2**64 - 1, at("2025-01-06T09:59"), at("2025-01-06T10:16")),
    (3, at("2025-01-08T23:50"), at("2025-01-09T00:10")),
]


def test_published_bins_by_hand(lake: Lake) -> None:
    publish(lake, "r1", WEEK, MONDAY)
    table = read_occupancy("r1", "2025-01-06T09:45", "2025-01-06T10:45", 900)
    assert table.schema.field("interval_begin_time").type == pa.timestamp("s", ZONE.key)
    assert table.schema.field("number_connections").type == pa.int32()
    assert rows(table) == {
        at("2025-01-06T09:45"): 2,
        at("2025-01-06T10:00"): 2,
        at("2025-01-06T10:15"): 1,
        at("2025-01-06T10:30"): 0,
    }
    assert missing_chunks(table) == []


@pytest.mark.parametrize("width", PUBLISHED_WIDTHS)
def test_dense_and_sparse(lake: Lake, width: int) -> None:
    publish(lake, "r1", WEEK, MONDAY)
    expected = recount(MONDAY, WEEK, width)
    assert rows(read_occupancy("r1", "2025-01-06", "2025-01-13", width)) == expected
    sparse = read_occupancy("r1", "2025-01-06", "2025-01-13", width, dense=False)
    assert rows(sparse) == {b: n for b, n in expected.items() if n}


def test_bins_that_begin_in_the_range(lake: Lake) -> None:
    publish(lake, "r1", WEEK, MONDAY)

    def begins(start: object, end: object) -> list[int]:
        return list(rows(read_occupancy("r1", start, end, 3600)))  # type: ignore[arg-type]

    nine_to_eleven = [at("2025-01-06T09:00"), at("2025-01-06T10:00")]
    assert begins("2025-01-06T08:30", "2025-01-06T10:00:01") == nine_to_eleven
    assert begins("2025-01-06T09:00", "2025-01-06T11:00") == nine_to_eleven
    assert begins("2025-01-06T17:00Z", "2025-01-06T14:00-05:00") == nine_to_eleven
    aware = dt.datetime(2025, 1, 6, 17, tzinfo=dt.UTC)
    assert begins(aware, dt.datetime(2025, 1, 6, 11)) == nine_to_eleven
    assert begins(aware + dt.timedelta(microseconds=1), "2025-01-06T11:00") == nine_to_eleven[1:]
    assert begins("2025-01-06T09:10", "2025-01-06T09:20") == []
    assert len(begins(dt.date(2025, 1, 6), dt.date(2025, 1, 7))) == 24


@pytest.mark.parametrize(
    ("day", "bins"), [("2025-03-09", (92, 23, 6)), ("2025-11-02", (100, 25, 6))]
)
def test_days_on_which_the_clocks_change(lake: Lake, day: str, bins: tuple[int, ...]) -> None:
    date = dt.date.fromisoformat(day)
    chunk = chunk_keys(date, date + dt.timedelta(1), "week")[0]
    midnight = at(day)
    present = [
        (1, midnight, midnight + 5400),
        (2, midnight + 3600, midnight + 4 * 3600),
        (3, midnight + 3 * 3600 - 1, midnight + 3 * 3600 + 1),
    ]
    publish(lake, "r1", chunk, present)
    for width, n in zip((900, 3600, 14400), bins, strict=True):
        found = rows(read_occupancy("r1", date, date + dt.timedelta(1), width))
        assert len(found) == n
        expected = recount(present, chunk, width)
        assert found == {b: expected[b] for b in day_begins(date, width)}
    assert rows(read_occupancy("r1", date, date + dt.timedelta(1), 86400)) == {midnight: 3}


def test_the_repeated_hour(lake: Lake) -> None:
    publish(lake, "r1", "2025-10-27", [(1, at("2025-11-02T01:30-08:00"), at("2025-11-02T02:00"))])
    table = read_occupancy("r1", "2025-11-02T01:00", "2025-11-02T02:00", 3600)
    assert rows(table) == {at("2025-11-02T01:00-07:00"): 0, at("2025-11-02T01:00-08:00"): 1}


def test_several_chunks_of_which_some_are_missing(lake: Lake) -> None:
    publish(lake, "r1", "2025-01-06", MONDAY)
    publish(lake, "r1", "2025-01-20", [])
    with pytest.raises(MissingPartitions, match="2025-01-13") as caught:
        read_occupancy("r1", "2025-01-06", "2025-02-03", 86400)
    assert caught.value.missing == ["2025-01-13", "2025-01-27"]
    assert "2 of 4 chunks" in caught.value.message

    table = read_occupancy("r1", "2025-01-06", "2025-02-03", 86400, on_missing="report")
    assert missing_chunks(table) == ["2025-01-13", "2025-01-27"]
    counts = table["number_connections"].to_pylist()
    assert counts == [2, 0, 1, 1, 0, 0, 0] + [None] * 7 + [0] * 7 + [None] * 7

    sparse = read_occupancy(
        "r1", "2025-01-06", "2025-02-03", 86400, on_missing="report", dense=False
    )
    assert sparse["number_connections"].to_pylist() == [2, 1, 1]
    assert missing_chunks(sparse) == ["2025-01-13", "2025-01-27"]


def test_only_chunks_with_bins_of_the_range_are_needed(lake: Lake) -> None:
    publish(lake, "r1", WEEK, MONDAY)
    assert read_occupancy("r1", "2025-01-12T23:00", "2025-01-13", 900).num_rows == 4
    # The range reaches a second into the next chunk's first day, before any of its bins begin.
    assert read_occupancy("r1", "2025-01-05T23:50", "2025-01-06T00:00:01", 3600).num_rows == 1


@pytest.mark.parametrize("size", ["day", "month"])
def test_other_chunk_lengths(lake: Lake, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv("TIPPERS_CHUNK", size)
    get_settings.cache_clear()
    lake = open_lake(get_settings())
    expected = {}
    for chunk in chunk_keys(dt.date(2025, 3, 1), dt.date(2025, 4, 1), size):  # type: ignore[arg-type]
        start = at(chunk) + 7 * 3600
        publish(lake, "r1", chunk, [(1, start, start + 60)], size)
        expected |= recount([(1, start, start + 60)], chunk, 7200, size)
    assert rows(read_occupancy("r1", "2025-03-01", "2025-04-01", 7200)) == expected


def test_pandas(lake: Lake) -> None:
    publish(lake, "r1", WEEK, MONDAY)
    frame = read_occupancy(
        "r1", "2025-01-06", "2025-01-20", 3600, as_pandas=True, on_missing="report"
    )
    assert str(frame["interval_begin_time"].dt.tz) == ZONE.key
    assert frame["interval_begin_time"][9].hour == 9
    assert frame["number_connections"].sum() == sum(recount(MONDAY, WEEK, 3600).values())
    assert frame.attrs["missing_chunks"] == ["2025-01-13"]


def test_files_of_another_time_zone_are_noticed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, "r1", WEEK, MONDAY)
    monkeypatch.setenv("TIPPERS_TIMEZONE", "Asia/Kolkata")
    get_settings.cache_clear()
    with pytest.raises(LakeError, match="TIPPERS_TIMEZONE"):
        read_occupancy("r1", "2025-01-06", "2025-01-13", 86400)


def test_a_corrupt_file_is_named(lake: Lake) -> None:
    lake.write_bytes(SOURCE_COUNTS.key(WEEK), b"PAR1")
    with pytest.raises(LakeError, match=r"source/chunk=2025-01-06\.parquet"):
        read_occupancy("r1", "2025-01-06", "2025-01-13", 900)


@pytest.mark.parametrize("width", [0, 59, 61, -900, 86460])
def test_widths_that_bins_cannot_have(lake: Lake, width: int) -> None:
    with pytest.raises(BadInput, match="multiple of 60"):
        read_occupancy("r1", "2025-01-06", "2025-01-13", width)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-01-06", "2025-01-06"),
        ("2025-01-07", "2025-01-06"),
        ("yesterday", "2025-01-06"),
        ("2025-01-06", "2025-13-01"),
        ("0001-01-01", "9999-01-01"),
        ("2025-01-06", "9999-12-31"),
    ],
)
def test_unusable_ranges(lake: Lake, start: str, end: str) -> None:
    with pytest.raises(BadInput):
        read_occupancy("r1", start, end, 60)


def test_odd_ids(lake: Lake) -> None:
    for i, space in enumerate(("../x", "..", "é/☃", "a b")):
        publish(lake, space, WEEK, MONDAY[: i + 1])
    for i, space in enumerate(("../x", "..", "é/☃", "a b")):
        found = rows(read_occupancy(space, "2025-01-06", "2025-01-13", 900))
        assert found == recount(MONDAY[: i + 1], WEEK, 900)


def test_a_year_is_read_whole(lake: Lake) -> None:
    for chunk in chunk_keys(dt.date(2025, 1, 1), dt.date(2026, 1, 1), "week"):
        begins = range(at(chunk), at(chunk) + 7 * 86400 - 3600, 900)
        table = {
            "interval_seconds": pa.array([900] * len(begins), pa.int32()),
            "interval_begin_time": files.times(list(begins)),
            "number_connections": pa.array([7] * len(begins), pa.int32()),
        }
        put_counts(lake, "b", chunk, pa.table(table))
    table = read_occupancy("b", "2025-01-01", "2026-01-01", 900)
    assert table.num_rows == 365 * 96


def test_dagster_is_not_needed(campus: Lake) -> None:
    publish(campus, "r1", WEEK, MONDAY)
    code = (
        "import sys\n"
        "from tippers_dagster.occupancy.reading import read_occupancy\n"
        "print(read_occupancy('r1', '2025-01-06', '2025-01-13', 86400).num_rows)\n"
        "print([m for m in ('dagster', 'boto3') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n[]\n"


def test_from_s3(s3, spaces: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness, "stale_chunks", lambda *_: [])
    monkeypatch.setattr(reading, "occupancy_lake", open_lake)
    lake = open_lake(get_settings())
    publish(lake, "r1", WEEK, MONDAY)
    assert rows(read_occupancy("r1", "2025-01-06", "2025-01-13", 900)) == recount(MONDAY, WEEK, 900)


# --- widths that are counted on demand, for which the tree is read ------------------------------
@pytest.fixture
def campus(stack: Settings) -> Lake:
    """campus > building > rooms r1 and r2; the building also has its own sessions."""
    load_spaces(
        stack, [("campus", None), ("building", "campus"), ("r1", "building"), ("r2", "building")]
    )
    return open_lake(stack)


def load_spaces(settings: Settings, spaces: list[tuple[str, str | None]]) -> None:
    from tippers_dagster.campus.source.creation import create_source_schema

    create_source_schema(settings)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.text("INSERT INTO source.space (space_id, parent_space_id) VALUES (:id, :parent)"),
            [{"id": space, "parent": parent} for space, parent in spaces],
        )


R1, R2 = MONDAY[:2], [*MONDAY[2:], (1, at("2025-01-06T09:30"), at("2025-01-06T09:40"))]


@pytest.mark.parametrize("width", [60, 300, 5400, 18000, 86340, 900])
def test_any_width_of_a_room_and_of_a_parent(campus: Lake, width: int) -> None:
    publish(campus, "r1", WEEK, R1)
    publish(campus, "r2", WEEK, R2)
    publish(campus, "campus", WEEK, R1 + R2)
    for space, present in (("r1", R1), ("r2", R2), ("campus", R1 + R2)):
        found = rows(read_occupancy(space, "2025-01-06", "2025-01-13", width))
        assert found == recount(present, WEEK, width)


def test_a_part_of_a_chunk_counts_only_what_overlaps(campus: Lake) -> None:
    publish(campus, "r1", WEEK, R1)
    table = read_occupancy("r1", "2025-01-06T09:58", "2025-01-06T10:06", 120)
    assert table["number_connections"].to_pylist() == [1, 0, 0, 1]


def test_a_parents_own_sessions_count(campus: Lake) -> None:
    publish(campus, "r1", WEEK, R1)
    publish(campus, "r2", WEEK, [])
    publish_presence(campus, "building", WEEK, R2)
    found = rows(read_occupancy("building", "2025-01-06", "2025-01-13", 300))
    assert found == recount(R1 + R2, WEEK, 300)


def test_presence_that_is_missing_below_a_parent(campus: Lake, stack: Settings) -> None:
    from tippers_dagster.occupancy.tables import session_space

    publish(campus, "r1", WEEK, R1)
    with pytest.raises(MissingPartitions, match=WEEK):
        read_occupancy("campus", "2025-01-06", "2025-01-13", 300)
    publish(campus, "r2", WEEK, R2)
    assert read_occupancy("campus", "2025-01-06", "2025-01-13", 300).num_rows == 7 * 288
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.insert(session_space).values(
                chunk=WEEK, space="building", rows=1, fingerprint=1, known=True
            )
        )
    table = read_occupancy("campus", "2025-01-06", "2025-01-20", 300, on_missing="report")
    assert missing_chunks(table) == [WEEK, "2025-01-13"]
    assert table["number_connections"].null_count == table.num_rows


@pytest.mark.parametrize("pieces", [1, 1 << 24])
def test_many_spaces_are_read_as_each_alone(
    campus: Lake, stack: Settings, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    from tippers_dagster.occupancy.tables import session_space

    monkeypatch.setattr("tippers_dagster.occupancy.reading.CELLS_AT_ONCE", pieces)
    publish(campus, "r1", WEEK, R1)
    publish(campus, "r2", WEEK, R2)
    publish(campus, "r2", "2025-01-13", [])
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.insert(session_space).values(
                chunk=WEEK, space="building", rows=1, fingerprint=1, known=True
            )
        )
    spaces = ["r2", "campus", "r1", "r2", "building"]
    range_ = ("2025-01-06", "2025-01-20", 300)
    devices = np.unique([device for device, _, _ in R1 + R2]).astype(np.uint64)[::2]
    groups = DeviceGroups(devices, np.zeros(len(devices), np.int32), 1)
    together = list(read_groups(spaces, *range_, groups))
    assert len(together) == len(spaces)
    assert any(found.counts.any() for found in together)
    for space, found in zip(spaces, together, strict=True):
        (alone,) = read_groups([space], *range_, groups)
        assert found.missing == alone.missing
        assert_equal(found.computed, alone.computed)
        assert_equal(found.counts, alone.counts)
    every = read_counts(spaces, *range_)
    for counts, found in zip(every.counts, together, strict=True):
        assert_equal(counts, found.counts.sum(axis=0))


@pytest.mark.parametrize("width", [900, 300])
def test_an_unknown_space_is_refused_with_similar_ids(campus: Lake, width: int) -> None:
    with pytest.raises(BadInput, match="building"):
        read_occupancy("bilding", "2025-01-06", "2025-01-13", width)
    with pytest.raises(MissingPartitions):
        read_occupancy("building", "2025-01-06", "2025-01-13", width)


@pytest.mark.parametrize("width", [900, 300])
def test_a_deleted_space_is_unknown_even_if_the_lake_has_its_files(
    campus: Lake, stack: Settings, width: int
) -> None:
    for space in ("r1", "r2", "building"):
        publish(campus, space, WEEK, MONDAY)
    assert read_occupancy("r1", "2025-01-06", "2025-01-13", width).num_rows
    with warehouse_engine(stack).begin() as connection:
        connection.execute(sa.text("DELETE FROM source.space WHERE space_id = 'r1'"))
    for read in (read_occupancy, read_shared_occupancy):
        with pytest.raises(BadInput, match="There is no space 'r1'"):
            read("r1", "2025-01-06", "2025-01-13", width, on_missing="report")
    with pytest.raises(BadInput, match="There is no space 'r1'"):
        read_counts(["building", "r1"], "2025-01-06", "2025-01-13", width)
    with pytest.raises(BadInput, match="There is no space 'r1'"):
        next(read_groups(["r1"], "2025-01-06", "2025-01-13", width, ALL_DEVICES))
    assert read_counts(["building"], "2025-01-06", "2025-01-13", width).computed.all()
