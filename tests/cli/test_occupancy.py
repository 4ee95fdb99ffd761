"""Tracking, computing and exporting from a shell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput, MissingPartitions
from tippers_dagster.settings import Settings

SPACES = """space_id,space_name,parent_space_id,building_room
campus,Campus,,
hall,Hall,campus,
room1,Room 1,hall,H-1
room2,Room 2,hall,H-2
"""
SESSIONS = """mac_address,sensor_id,start_time,end_time,space_id
aa,ap1,2025-01-06 09:00:00,2025-01-06 09:20:00,room1
aa,ap2,2025-01-06 09:20:00,2025-01-06 09:40:00,room2
bb,ap2,2025-01-06 09:05:00,2025-01-06 09:06:00,room2
bb,ap1,2025-01-14 09:05:00,,room1
"""


def tippers(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), arguments, catch_exceptions=False)


@pytest.fixture
def campus(stack: Settings, tmp_path: Path) -> Settings:
    for kind, text in (("spaces", SPACES), ("sessions", SESSIONS)):
        file = tmp_path / f"{kind}.csv"
        file.write_text(text)
        assert tippers("ingest", kind, str(file)).exit_code == 0
    return stack


def track(space: str = "campus", end: str = "2025-01-20") -> Result:
    return tippers("track", "--space", space, "--start", "2025-01-06", "--end", end)


def export(out: Path, end: str = "2025-01-07", *more: str) -> list[dict[str, str]]:
    options = ["--start", "2025-01-06", "--end", end, "--interval", "1800", "--out", str(out)]
    assert tippers("occupancy", "export", "--space", "hall", *options, *more).exit_code == 0
    with out.open() as file:
        return list(csv.DictReader(file))


def test_from_files_to_an_export(campus: Settings, tmp_path: Path) -> None:
    assert "4 spaces (2 with children) in 2 time chunks" in track().stdout
    done = tippers("occupancy", "materialize")
    assert "source_occupancy: 4 partitions, 1 run, " in done.stdout
    rows = export(tmp_path / "hall.csv", "2025-01-07", "--sparse")
    assert rows == [
        {
            "space_id": "hall",
            "interval_begin_time": f"2025-01-06T09:{minute}:00-08:00",
            "number_connections": count,
        }
        for minute, count in (("00", "2"), ("30", "1"))
    ]
    assert len(export(tmp_path / "dense.csv")) == 48
    assert "4 partitions" not in tippers("occupancy", "materialize").stdout  # everything is fresh


def test_spaces_are_listed_as_a_tree(campus: Settings) -> None:
    assert tippers("spaces", "--below", "hall").stdout.splitlines() == [
        "hall  Hall",
        "  room1  Room 1  H-1",
        "  room2  Room 2  H-2",
    ]


def test_status_shows_wanted_and_done_partitions(campus: Settings) -> None:
    assert "Nothing is tracked" in tippers("occupancy", "status").stdout
    track()
    lines = tippers("occupancy", "status").stdout.splitlines()
    assert [n for line in lines if "derived" in line for n in line if n.isdigit()][:2] == ["4", "0"]


def test_the_log_is_tracked_without_a_space(campus: Settings) -> None:
    dates = ("--start", "2025-01-06", "--end", "2025-01-20")
    assert "0 spaces (0 with children) in 2 time chunks" in tippers("track", *dates).stdout
    assert "days_and_encounters: 2 partitions" in tippers("occupancy", "materialize").stdout
    assert "tracked: the log only, 2025-01-06 to 2025-01-20" in (
        tippers("occupancy", "status").stdout
    )
    assert "in 0 time chunks" in tippers("untrack").stdout


def test_untrack_keeps_the_lake_unless_purging(campus: Settings, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    track()
    tippers("occupancy", "materialize")
    files = sorted(lake.rglob("*.parquet"))
    assert "0 spaces" in tippers("untrack", "--space", "campus").stdout
    assert sorted(lake.rglob("*.parquet")) == files
    track()
    assert "source_occupancy: 0 partitions" in tippers("occupancy", "materialize").stdout
    assert "Deleted 6 partitions" in (
        tippers("untrack", "--space", "campus", "--start", "2025-01-13", "--purge").stdout
    )
    assert not [f for f in lake.rglob("*.parquet") if "2025-01-13" in f.name]
    assert [f for f in lake.rglob("*.parquet") if "2025-01-06" in f.name]


def test_damaged_files_are_computed_again(campus: Settings, tmp_path: Path) -> None:
    track()
    tippers("occupancy", "materialize")
    before = export(tmp_path / "before.csv")
    for file in (tmp_path / "lake").rglob("*.parquet"):
        file.write_bytes(b"damaged")
    tippers("occupancy", "materialize", "--again")
    assert export(tmp_path / "after.csv") == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["track", "--space", "camps", "--start", "2025-01-06", "--end", "2025-01-20"], "campus"),
        (["track", "--space", "hall", "--start", "2025-01-06", "--end", "2025-01-06"], "no day"),
        (["track", "--space", "hall", "--start", "1025-01-06", "--end", "2025-01-06"], "20 years"),
        (["untrack", "--space", "hall"], "not a tracked root"),
    ],
)
def test_errors_of_wrong_requests(campus: Settings, arguments: list[str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        tippers(*arguments)


def test_an_export_names_uncomputed_chunks(campus: Settings, tmp_path: Path) -> None:
    track()
    with pytest.raises(MissingPartitions, match="2025-01-06"):
        export(tmp_path / "hall.csv")
    assert not (tmp_path / "hall.csv").exists()


def test_identities_by_week(campus: Settings) -> None:
    assert "No sessions are computed" in tippers("occupancy", "identities").stdout
    track()
    assert tippers("occupancy", "materialize").exit_code == 0
    shown = [line.split() for line in tippers("occupancy", "identities").stdout.splitlines()]
    first, second = ([w for w in line if w != "│"] for line in shown if "2025-01-" in str(line))
    assert first == ["2025-01-06", "2", "0%", "0%", "100%", "2", "2", "3", "0%"]
    assert second == ["2025-01-13", "1", "0%", "0%", "100%", "1", "0", "1", "0%"]
