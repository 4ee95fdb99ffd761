"""Loaded rows are counted, also later ones; rejects are listed, and ingests can be undone."""

from __future__ import annotations

import csv
import datetime as dt
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.occupancy.partitions import dagster_keys
from tippers_dagster.occupancy.reading import STALE_METADATA, StaleOccupancy, read_occupancy
from tippers_dagster.occupancy.source_checks import check_quickly
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import Settings, get_settings

SPACES = """space_id,space_name,parent_space_id,building_room
campus,Campus,,
hall,Hall,campus,
annex,Annex,campus,
room1,Room 1,hall,H-1
room2,Room 2,hall,H-2
"""
HEADER = "mac_address,sensor_id,start_time,end_time,space_id\n"
MONDAY = """aa,ap1,2025-01-06 09:00:00,2025-01-06 09:20:00,room1
bb,ap2,2025-01-06 09:05:00,2025-01-06 09:06:00,room2
"""
TUESDAY = "".join(
    f"d{n},ap1,2025-01-07 09:00:00,2025-01-07 09:20:00,room{1 + n % 2}\n" for n in range(22)
)
# As campuses have them: quotes and bars are not allowed in partition keys.
AWKWARD = """space_id,space_name,parent_space_id,building_room
O'Brien,Lecture hall,campus,OB
"A""B",Quoted,campus,Q
a|b,Bar,campus,B
=1+1,Formula,campus,F
"""


def tippers(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(build_app(), arguments, input=answer, catch_exceptions=False)


def said(*arguments: str, answer: str | None = None) -> str:
    done = tippers(*arguments, answer=answer)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def campus(stack: Settings, folder: Path) -> Settings:
    ingest("spaces", SPACES, "spaces.csv")
    return stack


def ingest(kind: str, text: str, name: str, *options: str) -> str:
    Path(name).write_text(text)
    return said("ingest", kind, name, *options)


def track_and_compute() -> None:
    said("track", "--space", "campus", "--start", "2025-01-06", "--end", "2025-01-20")
    said("occupancy", "materialize")


def count(space: str, day: str) -> int:
    options = ["--start", f"{day}T09:00", "--end", f"{day}T10:00", "--interval", "3600"]
    said("occupancy", "export", "--space", space, *options, "--out", "count.csv")
    with Path("count.csv").open() as file:
        (row,) = csv.DictReader(file)
    return int(row["number_connections"])


# --- Monday, then Tuesday -------------------------------------------------------------------------
def test_rows_ingested_later_are_counted(campus: Settings) -> None:
    ingest("sessions", HEADER + MONDAY, "monday.csv")
    track_and_compute()
    assert count("campus", "2025-01-07") == 0
    assert "Counts of 1 time chunk are out of date (2025-01-06)" in ingest(
        "sessions", HEADER + TUESDAY, "tuesday.csv"
    )
    assert "sessions │ 2 │ 1 │ 0 │ 1 │" in said("occupancy", "status")
    options = ["--start", "2025-01-06", "--end", "2025-01-07", "--interval", "900"]
    exported = said("occupancy", "export", "--space", "room1", *options, "--out", "old.csv")
    assert "the counts of these chunks are out of date: 2025-01-06" in exported
    with pytest.warns(StaleOccupancy, match="2025-01-06"):
        table = read_occupancy("hall", "2025-01-06", "2025-01-20", 3600)
    assert table.schema.metadata[STALE_METADATA] == b'["2025-01-06"]'

    assert "sessions: 1 partition, " in said("occupancy", "materialize")
    assert count("campus", "2025-01-07") == 22
    assert count("room1", "2025-01-07") == 11
    with warnings.catch_warnings():
        warnings.simplefilter("error", StaleOccupancy)
        read_occupancy("hall", "2025-01-06", "2025-01-20", 3600)
    assert "sessions: 0 partitions" in said("occupancy", "materialize")


def test_rows_added_without_a_command_are_noticed(campus: Settings) -> None:
    ingest("sessions", HEADER + MONDAY, "monday.csv")
    track_and_compute()
    insertion = "INSERT INTO source.user_ap_trajectory VALUES ('{}', 'ap', '2025-01-08 09:00', "
    insertion += "'2025-01-08 09:30', 'room1')"
    with load_transaction(campus) as load:
        load.execute(insertion.format("x"))
    said("occupancy", "materialize")
    assert count("campus", "2025-01-08") == 1

    with load_transaction(campus) as load:
        load.execute(insertion.format("y"))
    with load_transaction(campus) as load:
        load.execute("UPDATE tippers.source_chunk SET observed_at = observed_at - interval '1 h'")
    status = said("occupancy", "status")
    assert "sessions │ 2 │ 1 │ 0 │ 1 │" in status
    assert "Source last checked: 2" in status


def test_a_quick_check_is_bounded_and_rotates(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    weeks = [f"2025-01-{day:02}" for day in (6, 13, 20, 27)]
    rows = [f"m,ap,{week} 09:00:00,{week} 09:30:00,room1\n" for week in weeks]
    ingest("sessions", HEADER + "".join(rows), "weeks.csv")
    said("track", "--space", "campus", "--start", "2025-01-06", "--end", "2025-02-03")
    said("occupancy", "materialize")
    with load_transaction(campus) as load:
        load.execute("UPDATE tippers.source_chunk SET observed_at = now()")
    monkeypatch.setattr("tippers_dagster.occupancy.source_checks.QUICK_ROWS", 3)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    first = check_quickly(campus, later)
    assert first.looked_at == [weeks[0], weeks[2], weeks[3]]
    assert first.skipped == [weeks[1]]
    assert weeks[1] in check_quickly(campus, later).looked_at


# --- undo and again -------------------------------------------------------------------------------
def test_an_ingest_is_listed_undone_and_redone(campus: Settings) -> None:
    ingest("sessions", HEADER + MONDAY, "monday.csv")
    ingest("sessions", HEADER + TUESDAY, "tuesday.csv")
    track_and_compute()
    listed = said("ingest", "list")
    assert "│ 2 │" in listed
    assert "tuesday.csv" in listed

    assert tippers("ingest", "undo", "3", answer="n\n").exit_code == 1
    assert count("campus", "2025-01-07") == 22
    undone = said("ingest", "undo", "3", answer="y\n")
    assert "22 rows loaded" in undone
    assert "Undone. Rows changed or removed: sessions 22." in undone
    assert "Counts of 1 time chunk are out of date" in undone
    said("occupancy", "materialize")
    assert count("campus", "2025-01-07") == 0
    assert count("campus", "2025-01-06") == 2
    assert "undone 2" in said("ingest", "list")

    again = said("ingest", "again", "3", "--timezone", "America/New_York")
    assert "are out of date" in again
    said("occupancy", "materialize")
    assert count("campus", "2025-01-07") == 0  # nine o'clock there is six o'clock here
    assert "timezone America/New_York" in said("ingest", "list")
    said("ingest", "again", "3", "--timezone", "America/Los_Angeles")
    said("occupancy", "materialize")
    assert count("campus", "2025-01-07") == 22


def test_columns_can_be_named(campus: Settings) -> None:
    text = MONDAY.join(["MAC,ap,from,to,room\n", ""])
    names = ["mac_address=MAC", "sensor_id=ap", "start_time=from", "end_time=to", "space_id=room"]
    options = [word for name in names for word in ("--column", name)]
    assert "loaded │ 2" in ingest("sessions", text, "theirs.csv", *options)
    with pytest.raises(BadInput, match="not OURS=THEIRS"):
        tippers("ingest", "again", "2", "--column", "nonsense")
    with pytest.raises(BadInput, match="no ingest 7"):
        tippers("ingest", "undo", "7", "--yes")


# --- spaces that cannot be keys -------------------------------------------------------------------
def test_ids_that_cannot_be_keys_are_rejected_and_the_rest_is_tracked(campus: Settings) -> None:
    report = ingest("spaces", AWKWARD, "awkward.csv")
    assert "loaded │ 1" in report
    assert "space_id has a quote │ 2" in report
    assert "space_id has '|' │ 1" in report
    track_and_compute()
    found = said("rejects")
    for words in ("O'Brien", "space_id has a quote", "space_id has '|'"):
        assert words in found
    assert "3 rows of files" in said("occupancy", "status")


def test_unusable_spaces_of_a_campus_database_are_left_out_with_everything_below(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load_transaction(campus) as load:
        load.execute(
            "INSERT INTO source.space VALUES ('O''Brien', 'Lecture hall', 'campus', NULL), "
            "('desk', 'Desk', 'O''Brien', NULL), (' edge', 'Edge', 'hall', NULL)"
        )
    ingest("sessions", HEADER + MONDAY.replace("room1", "desk"), "monday.csv")
    assert campus.database_url is not None
    monkeypatch.setenv("TIPPERS_SOURCE_URL", campus.database_url.get_secret_value())
    get_settings.cache_clear()
    track_and_compute()
    assert count("campus", "2025-01-06") == 1
    assert "3 spaces of the source left out" in tippers("spaces").output
    found = said("rejects")
    for words in ("O'Brien", 'it is below "O\'Brien"', "begins or ends with a blank", "desk (1)"):
        assert words in found
    assert "1 row of the source, 3 spaces" in said("occupancy", "status")
    with pytest.raises(BadInput, match="is left out: it is below"):
        tippers("track", "--space", "desk", "--start", "2025-01-06", "--end", "2025-01-07")
    with pytest.raises(SourceError, match="is read only"):
        tippers("spaces", "remove", "desk", "--yes")


# --- removing spaces ------------------------------------------------------------------------------
def test_a_space_is_removed_and_restored(campus: Settings) -> None:
    ingest("sessions", HEADER + MONDAY + TUESDAY, "sessions.csv")
    said("track", "--space", "hall", "--start", "2025-01-06", "--end", "2025-01-13")
    track_and_compute()
    options = ["--space", "hall", "--start", "2025-01-06", "--end", "2025-01-13"]
    said("dataset", "create", "winter", *options, "--interval", "3600")
    refused = tippers("spaces", "remove", "hall", answer="n\n")
    assert refused.exit_code == 1
    for words in (
        "spaces to remove: 3: hall, room",
        "no longer tracked: hall, 2025-01-06 to 2025-01-13",
        "computed partitions to delete: 6",
        "sessions in them: 24",
        "datasets that can no longer be read: winter",
    ):
        assert words in refused.output
    assert "Hall" in said("spaces")

    removed = said("spaces", "remove", "hall", "--yes")
    assert "`tippers ingest undo 3`" in removed
    assert "Hall" not in said("spaces")
    with dagster_instance(campus) as instance:
        keys = dagster_keys(instance)
    assert (keys[SOURCE][0], keys[DERIVED][0]) == (["annex"], ["campus"])
    said("occupancy", "materialize")
    assert count("campus", "2025-01-07") == 0
    assert "24 rows of the source" in said("occupancy", "status")

    said("ingest", "undo", "3", "--yes")
    said("occupancy", "materialize")
    assert count("campus", "2025-01-07") == 22
    assert "tracked: hall" not in said("occupancy", "status")


def test_not_every_space_can_be_removed(campus: Settings) -> None:
    with pytest.raises(BadInput, match="would leave no spaces"):
        tippers("spaces", "remove", "campus", "--yes")
    with pytest.raises(BadInput, match=r"(?s)no space 'hal'.*hall"):
        tippers("spaces", "remove", "hal", "--yes")


# --- rejects --------------------------------------------------------------------------------------
def test_rejects_of_both_kinds_are_listed_and_exported(campus: Settings) -> None:
    assert "No rejected rows or spaces" in said("rejects")
    odd = (
        "=cmd,ap,2025-01-06 09:00:00,2025-01-06 09:20:00,@attic\n"
        "cc,ap,2025-01-06 09:00:00,2025-01-06 08:00:00,room1\n"
        ",ap,2025-01-06 09:00:00,2025-01-06 09:20:00,room1\n"
    )
    report = ingest("sessions", HEADER + MONDAY + odd, "sessions.csv")
    assert (
        "1 session loaded, but not counted until these spaces are ingested too: @attic (1)"
        in report
    )
    track_and_compute()
    found = said("rejects")
    for words in ("end before start", "no device", "unknown space", "@attic (1)", "sessions.csv"):
        assert words in found
    status = said("occupancy", "status")
    assert "Rejected: 2 rows of files, 1 row of the source." in status

    assert "3 rows written" in said("rejects", "--out", "rejects.csv")
    with Path("rejects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["found_at"], row["reason"]) for row in rows} == {
        ("loading", "end before start"),
        ("loading", "no device"),
        ("extraction", "unknown space"),
    }
    (unknown,) = (row for row in rows if row["found_at"] == "extraction")
    assert unknown["space_id"] == "'@attic"
    assert '"mac_address": "=cmd"' in unknown["row"]
    said("rejects", "--out", "rejects.parquet")
    assert "@attic" in pq.read_table("rejects.parquet")["space_id"].to_pylist()
    with pytest.raises(BadInput, match=r"neither a \.csv nor a \.parquet"):
        tippers("rejects", "--out", "rejects.txt")

    # The space is added later: the rows are counted, and are no longer rejects.
    ingest("spaces", "space_id,space_name,parent_space_id,building_room\n@attic,,hall,\n", "a.csv")
    said("occupancy", "materialize")
    assert count("hall", "2025-01-06") == 3
    assert "unknown space" not in said("rejects")
