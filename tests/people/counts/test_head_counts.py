"""Head counts from files: which rows are imported, and how rejected ones are kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tests.occupancy.campus import fill
from tippers_dagster.campus.intake.tables import reject
from tippers_dagster.errors import BadInput
from tippers_dagster.people.counts.export import write_head_counts
from tippers_dagster.people.counts.head_counts import (
    KIND,
    clear_head_counts,
    counted_spaces,
    import_head_counts,
    read_file,
    read_head_counts,
)
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

GOOD = """space_id,time,people,interval_seconds
r1,2025-01-20T09:00:00-08:00,3,900
r1,2025-01-20 09:15,4,900
r1,2025-01-20T17:30:00Z,7,1800
r1,2025-01-20 23:00+05:30,1,
r2,2025-01-20 09:21,4.0,0
r2,2025-11-02 01:00,2,3600
"""


@pytest.fixture
def campus(stack: Settings) -> Settings:
    fill(stack, {"hall": None, "r1": "hall", "r2": "hall"})
    return stack


def written(folder: Path, text: str, name: str = "heads.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_times_are_local_unless_they_have_an_offset(campus: Settings, tmp_path: Path) -> None:
    done = import_head_counts(campus, written(tmp_path, GOOD), by="ada")
    assert (done.rows, done.new, done.changed, done.rejected) == (6, 6, 0, {})
    found = read_head_counts(campus).to_pylist()
    utc = dt.UTC
    assert [(r["space_id"], r["time"], r["interval_seconds"], r["people"]) for r in found] == [
        ("r1", dt.datetime(2025, 1, 20, 17, 0, tzinfo=utc), 900, 3),
        ("r1", dt.datetime(2025, 1, 20, 17, 15, tzinfo=utc), 900, 4),
        ("r1", dt.datetime(2025, 1, 20, 17, 30, tzinfo=utc), 0, 1),
        ("r1", dt.datetime(2025, 1, 20, 17, 30, tzinfo=utc), 1800, 7),
        ("r2", dt.datetime(2025, 1, 20, 17, 21, tzinfo=utc), 0, 4),
        ("r2", dt.datetime(2025, 11, 2, 8, 0, tzinfo=utc), 3600, 2),
    ]
    assert {r["counted_by"] for r in found} == {"ada"}
    (one, two) = counted_spaces(campus)
    assert (one.space, one.counts, one.people, two.counts) == ("r1", 4, 15, 2)


def test_importing_again_or_from_an_export_changes_nothing(
    campus: Settings, tmp_path: Path
) -> None:
    file = written(tmp_path, GOOD)
    import_head_counts(campus, file, by="ada")
    before = read_head_counts(campus)
    again = import_head_counts(campus, file, by="bob")
    assert (again.new, again.changed) == (0, 0)
    assert read_head_counts(campus).equals(before)
    for name in ("out.csv", "out.parquet"):
        assert write_head_counts(campus, tmp_path / name) == 6
        back = import_head_counts(campus, tmp_path / name, by="bob")
        assert (back.rows, back.new, back.changed) == (6, 0, 0)
    changed = written(tmp_path, GOOD.replace("09:15,4", "09:15,5"))
    assert import_head_counts(campus, changed, by="bob").changed == 1
    assert clear_head_counts(campus, "r1") == 4
    assert clear_head_counts(campus) == 2


BAD = {
    "nowhere,2025-01-20 09:00,4,900": "there is no such space",
    ",2025-01-20 09:00,4,900": "no space id",
    "r1,,4,900": "no time",
    "r1,2025-13-20 09:00,4,900": "is not a local time",
    "r1,noon,4,900": "is not a local time",
    "r1,1850-01-20 09:00,4,900": "plausible range",
    "r1,2025-01-20 09:00,,900": "no people",
    "r1,2025-01-20 09:00,-4,900": "people is not a whole number",
    "r1,2025-01-20 09:00,4.5,900": "people is not a whole number",
    "r1,2025-01-20 09:00,99999999,900": "more than 1,000,000 people",
    "r1,2025-01-20 09:00,4,100": "not a multiple of 60",
    "r1,2025-01-20 09:00,4,x": "interval_seconds is not a whole number",
    "r1,2025-01-20 09:05,4,900": "no bin of this interval begins",
    "r1,2025-01-20 09:00:30,4,60": "no bin of this interval begins",
    "r1,2025-01-20 09:15,9,900": "as an earlier row",
    "r1,2025-01-20 09:00": "2 fields instead of 4",
}


def test_unusable_rows_are_kept_with_their_reason(campus: Settings, tmp_path: Path) -> None:
    file = written(tmp_path, GOOD + "\n".join(BAD))
    given = read_file(campus, file)
    assert given.rows == 6 + len(BAD)
    assert given.usable.num_rows == 6
    assert read_head_counts(campus).num_rows == 0  # reading stores nothing
    for _ in range(2):
        done = import_head_counts(campus, file, by="ada")
        assert done.rejected.total() == len(BAD)
    query = (
        sa.select(reject.c.row_number, reject.c.reason)
        .where(reject.c.kind == KIND)
        .order_by(reject.c.row_number)
    )
    with warehouse_engine(campus).connect() as connection:
        kept = connection.execute(query).all()
    assert [number for number, _ in kept] == list(range(7, 7 + len(BAD)))
    for (row, reason), (_, told) in zip(BAD.items(), kept, strict=True):
        assert reason in told, row


def test_unusable_files_store_nothing(campus: Settings, tmp_path: Path) -> None:
    for text, message in [
        ("space_id,time\nr1,2025-01-20\n", "no column people"),
        ("space_id,time,people\n", "has no rows"),
        ("space_id,time,people\nr9,2025-01-20 09:00,3\n", "has no usable row"),
    ]:
        with pytest.raises(BadInput, match=message):
            import_head_counts(campus, written(tmp_path, text), by="ada")
    assert read_head_counts(campus).num_rows == 0


def test_parquet_has_its_own_types(campus: Settings, tmp_path: Path) -> None:
    zone = pa.timestamp("ms", "UTC")
    times = [dt.datetime(2025, 1, 20, 17, 15, tzinfo=dt.UTC), None]
    table = pa.table(
        {
            "space_id": ["r1", "r1"],
            "time": pa.array(times, zone),
            "people": [4.0, 5.0],
            "interval_seconds": pa.array([900, None], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "heads.parquet")
    given = read_file(campus, tmp_path / "heads.parquet")
    assert given.usable.to_pylist() == [
        {"space_id": "r1", "time": times[0], "interval_seconds": 900, "people": 4}
    ]
    assert given.rejected["reason"].to_pylist() == ["no time"]
