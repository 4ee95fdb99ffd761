"""Logs as campuses have them, from a file to exact counts."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pytest

from tests.occupancy.campus import compute_all, look_again
from tippers_dagster.campus.intake.entries import list_ingests
from tippers_dagster.campus.intake.ingest import FileOptions, ingest_file
from tippers_dagster.campus.intake.journal import IngestReport
from tippers_dagster.campus.intake.log import LOG, ingest_log
from tippers_dagster.campus.intake.observations import ingest_observations
from tippers_dagster.campus.intake.repeat import Changes, ingest_again
from tippers_dagster.campus.intake.undo import undo_ingests
from tippers_dagster.campus.log.guessing import find_mapping
from tippers_dagster.campus.log.mapping import read_mapping
from tippers_dagster.campus.log.presets import preset
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.settings import Settings

SPACES = """\
space_id,space_name,parent_space_id,building_room
campus,Campus,,
hall,Hall,campus,
12,Hall 12,hall,H 12
13,Hall 13,hall,H 13
"""
COVERAGE = """\
region_id,space_name,wapcov_id,sensor,intersection_percentage
12,Hall 12,1,02-11-22-33-44-01,0.9
13,Hall 13,2,0211.2233.4402,0.8
"""
"""In other spellings than the log's."""
COLUMNS = "mac_address,sensor_id,start_time,end_time,space_id"
DAY = dt.date(2025, 1, 7)


@pytest.fixture
def campus(stack: Settings, tmp_path: Path) -> Settings:
    for kind, text in (("spaces", SPACES), ("region_to_coverage", COVERAGE)):
        ingest_file(stack, kind, write(tmp_path / f"{kind}.csv", text))
    return stack


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line.rstrip("\n") + "\n" for line in lines))
    return path


def load(settings: Settings, path: Path, *lines: str, **fields: str) -> IngestReport:
    """Load a log as `tippers ingest log FILE` does."""
    found = find_mapping(write(path, *lines), fields=fields).mapping
    assert found is not None
    return ingest_log(settings, path, found)


def counts(settings: Settings, space: str, day: dt.date = DAY, width: int = 900) -> dict[str, int]:
    """Devices by the local time of bins that are not empty."""
    week = day - dt.timedelta(days=day.weekday())
    track(settings, space="campus", start=week, end=week + dt.timedelta(days=7))
    look_again(settings)
    compute_all(settings)
    found = read_occupancy(
        space, day, day + dt.timedelta(days=1), width, dense=False, settings=settings
    )
    assert isinstance(found, pa.Table)
    begins = found["interval_begin_time"].to_pylist()
    return {
        f"{begin:%H:%M%z}": devices
        for begin, devices in zip(begins, found["number_connections"].to_pylist(), strict=True)
    }


def at(times: str, devices: int) -> dict[str, int]:
    return {f"{time}-0800": devices for time in times.split()}


# --- devices --------------------------------------------------------------------------------
def test_a_device_in_seven_spellings_is_one(campus: Settings, tmp_path: Path) -> None:
    spellings = (
        *("00:1a:2b:3c:4d:5e", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e", "001A2B3C4D5E"),
        *("00:1A:2B:3C:4D:5E", "001a2b-3c4d5e", "001a-2b3c-4d5e"),
    )
    rows = [
        f"{mac},ap1,2025-01-07 09:00:00,2025-01-07 09:30:00,{12 + n % 2}"
        for n, mac in enumerate(spellings)
    ]
    load(campus, tmp_path / "log.csv", COLUMNS, *rows)
    for space in ("campus", "hall", "12", "13"):
        assert counts(campus, space) == at("09:00 09:15", 1)


def test_rows_that_name_no_device_are_rejected(campus: Settings, tmp_path: Path) -> None:
    nobody = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "unknown", "N/A", "-", "00:1a:2b:00:04")
    ids = (*nobody, "1.1E+12", "00:1a:2b:3c:4d:5f", "pseudonym-7")
    rows = [f"{mac},ap1,2025-01-07 09:00:00,2025-01-07 09:30:00,12" for mac in ids]
    report = load(campus, tmp_path / "log.csv", COLUMNS, *rows)
    assert (report.loaded, report.rejected.total()) == (2, 7)
    assert counts(campus, "12") == at("09:00 09:15", 2)


# --- open sessions --------------------------------------------------------------------------
def test_the_next_export_closes_what_was_open(campus: Settings, tmp_path: Path) -> None:
    first = "00:1a:2b:3c:4d:60,ap1,2025-01-07 09:00:00,{},12"
    load(campus, tmp_path / "1.csv", COLUMNS, first.format(""))
    assert len(counts(campus, "12")) == 48
    second = "00:1a:2b:3c:4d:61,ap1,2025-01-07 10:00:00,,12"
    report = load(campus, tmp_path / "2.csv", COLUMNS, first.format("2025-01-07 09:30:00"), second)
    found = counts(campus, "12")
    assert {time: n for time, n in found.items() if time < "10:00"} == at("09:00 09:15", 1)
    assert len(found) == 2 + 48
    undo_ingests(campus, [report.ingest_id or 0])
    assert len(counts(campus, "12")) == 48


@pytest.mark.parametrize("command", ["log", "sessions"])
def test_what_means_not_ended_is_an_open_session(
    campus: Settings, tmp_path: Path, command: str
) -> None:
    ends = (
        *("0000-00-00 00:00:00", "1970-01-01 00:00:00", "9999-12-31 23:59:59"),
        *("2038-01-19 03:14:07", "None", "NaT", "infinity", "-", "Online"),
    )
    rows = [f"00:1a:2b:3c:4e:{n:02},ap1,2025-01-07 09:00:00,{e},12" for n, e in enumerate(ends)]
    path = write(tmp_path / "log.csv", COLUMNS, *rows)
    if command == "log":
        load(campus, path, COLUMNS, *rows)
    else:
        assert ingest_file(campus, "sessions", path).loaded == 9
    found = counts(campus, "12")
    assert set(found.values()) == {9}
    assert len(found) == 48


# --- times ----------------------------------------------------------------------------------
def test_twelve_spellings_of_one_instant(campus: Settings, tmp_path: Path) -> None:
    starts = (
        *("2025-01-07T17:00:00Z", "2025-01-07 09:00:00-08", "2025-01-07T09:00:00.000-0800"),
        *("1736269200", "1736269200000", "Tue Jan 07 09:00:00 PST 2025", "20250107T090000"),
        *("2025/01/07 09:00:00", "2025-01-07 9:00:00", '"2025-01-07 09:00:00,000"'),
        *("07-Jan-2025 09:00:00", '"Jan 7, 2025 9:00:00 AM"'),
    )
    rows = [f"00:1a:2b:3c:4f:{n:02x},ap1,{s},,12" for n, s in enumerate(starts)]
    load(campus, tmp_path / "log.csv", COLUMNS, *rows)
    found = counts(campus, "12")
    assert next(iter(found.items())) == ("09:00-0800", 12)
    assert set(found.values()) == {12}


@pytest.mark.parametrize("command", ["log", "sessions", "observations"])
def test_day_or_month_first_has_to_be_said(campus: Settings, tmp_path: Path, command: str) -> None:
    path = tmp_path / "log.csv"
    row = "00:1a:2b:3c:50:01,ap1,01/07/2025 09:00,01/07/2025 09:30,12"
    if command == "observations":
        lines = ["mac_address,time,sensor_id", "00:1a:2b:3c:50:01,01/07/2025 09:00,12"]
    else:
        lines = [COLUMNS, row]

    def ingest(order: str | None) -> IngestReport:
        said = {} if order is None else {"order": order}
        write(path, *lines)
        if command == "log":
            return load(campus, path, *lines, **said)
        if command == "sessions":
            return ingest_file(campus, "sessions", path, options=FileOptions(**said))  # type: ignore[arg-type]
        return ingest_observations(campus, path, **said)  # type: ignore[arg-type]

    with pytest.raises(BadInput, match="can be read both ways") as refused:
        ingest(None)
    assert refused.value.hint == "Say which it is with --day-first or --month-first."
    report = ingest("month first")
    assert next(iter(counts(campus, "12"))) == "09:00-0800"
    ingest_again(campus, report.ingest_id or 0, Changes(order="day first"))
    assert counts(campus, "12") == {}
    assert next(iter(counts(campus, "12", dt.date(2025, 7, 1)))) == "09:00-0700"


def test_other_rows_decide_the_order_of_day_and_month(campus: Settings, tmp_path: Path) -> None:
    rows = [
        "00:1a:2b:3c:50:01,ap1,01/07/2025 09:00,01/07/2025 09:30,12",
        "00:1a:2b:3c:50:02,ap1,01/31/2025 09:00,01/31/2025 09:30,12",
    ]
    assert load(campus, tmp_path / "log.csv", COLUMNS, *rows).loaded == 2
    assert counts(campus, "12") == at("09:00 09:15", 1)
    assert load(campus, tmp_path / "log.csv", COLUMNS, *rows).already


def test_the_hour_that_happens_twice(campus: Settings, tmp_path: Path) -> None:
    rows = [
        "00:1a:2b:3c:51:01,ap1,2024-11-03T08:30:00Z,2024-11-03T08:45:00Z,12",
        "00:1a:2b:3c:51:02,ap1,2024-11-03T09:30:00Z,2024-11-03T09:45:00Z,12",
        # One device twice at one local time, in sessions that are not the same.
        "00:1a:2b:3c:51:03,ap1,2024-11-03T08:45:00Z,2024-11-03T08:50:00Z,13",
        "00:1a:2b:3c:51:03,ap1,2024-11-03T09:45:00Z,2024-11-03T09:50:00Z,13",
    ]
    load(campus, tmp_path / "log.csv", COLUMNS, *rows)
    sunday = dt.date(2024, 11, 3)
    assert counts(campus, "12", sunday) == {"01:30-0700": 1, "01:30-0800": 1}
    assert counts(campus, "13", sunday) == {"01:45-0700": 1, "01:45-0800": 1}


# --- FreeRADIUS -----------------------------------------------------------------------------
RADACCT = Path(__file__).with_name("radacct.csv").read_text()


def test_radacct(campus: Settings, tmp_path: Path) -> None:
    report = load(campus, tmp_path / "radacct.csv", *RADACCT.splitlines())
    assert (report.rows, report.loaded) == (7, 7)
    assert counts(campus, "12") == at("09:00", 2) | at("09:15", 2)
    assert counts(campus, "13") == at("09:00 09:15", 4) | at("09:30", 2) | at("09:45", 1)
    assert counts(campus, "campus")["09:15-0800"] == 6


def test_user_names_are_kept_nowhere(campus: Settings, tmp_path: Path) -> None:
    """Neither with sessions, nor with rows that are rejected or cannot be taken apart."""
    header, kim, *_ = RADACCT.splitlines()
    unusable = kim.replace("00-1A-2B-3C-52-01", "unknown").replace("kim", "lee")
    malformed = kim.replace("kim", "ray") + ",more"
    report = load(campus, tmp_path / "radacct.csv", header, kim, unusable, malformed)
    assert (report.loaded, report.rejected.total()) == (1, 2)
    kept = [
        text
        for table in ("source.user_ap_trajectory", "tippers.reject", "tippers.ingested_file")
        for text in read_source(campus, f"SELECT t::text FROM {table} t").column(0).to_pylist()
    ]
    assert len(kept) >= 4
    assert not [text for text in kept if any(name in text for name in ("kim", "lee", "ray"))]


def test_a_session_with_an_id_may_start_later_than_was_said_first(
    campus: Settings, tmp_path: Path
) -> None:
    """Interim records give the start to the second; the last row of a session has what is known."""
    header = "acctuniqueid,acctstarttime,acctstoptime,calledstationid,callingstationid"
    row = "{},2025-01-07 09:00:0{},{},02-11-22-33-44-01:eduroam,00-1A-2B-3C-52-01"
    rows = [row.format("u1", 0, ""), row.format("u1", 2, "2025-01-07 09:10:00")]
    load(campus, tmp_path / "log.csv", header, *rows)
    assert counts(campus, "12") == at("09:00", 1)
    # Without ids these are two sessions, of which one is still open.
    other = [row.format("", 0, ""), row.format("", 2, "2025-01-07 09:10:00")]
    load(campus, tmp_path / "other.csv", header, *other)
    assert len(counts(campus, "12")) == 48


def test_access_points_without_a_space_are_named_with_their_rows(
    campus: Settings, tmp_path: Path
) -> None:
    lines = RADACCT.replace("44-02", "44-03").splitlines()
    report = load(campus, tmp_path / "radacct.csv", *lines)
    assert dict(report.rejected) == {"access point 02:11:22:33:44:03 covers no space": 4}


# --- observations ---------------------------------------------------------------------------
def test_observations_keep_the_hour_that_happens_twice(campus: Settings, tmp_path: Path) -> None:
    rows = [
        f"00:1a:2b:3c:51:01,2024-11-03T0{hour}:{minute}:00Z,02:11:22:33:44:01"
        for hour, minute in ((8, 30), (8, 40), (9, 30), (9, 50))
    ]
    report = ingest_observations(
        campus,
        write(tmp_path / "seen.csv", "mac_address,time,sensor_id", *rows),
        gap_seconds=1200,
    )
    assert report.loaded == 2
    found = counts(campus, "12", dt.date(2024, 11, 3))
    assert found == {"01:30-0700": 1, "01:30-0800": 1, "01:45-0800": 1}


# --- what is said ---------------------------------------------------------------------------
def test_a_mapping_with_columns_of_ones_own(campus: Settings, tmp_path: Path) -> None:
    path = write(
        tmp_path / "log.csv",
        "who;from;minutes;room",
        "00:1a:2b:3c:51:01;2025-01-07 09:00;20;12",
    )
    mapping = read_mapping(
        {
            "device": "who",
            "start": "from",
            "duration": "minutes",
            "duration_unit": "min",
            "space": "room",
        }
    )
    report = ingest_log(campus, path, mapping)
    assert counts(campus, "12") == at("09:00 09:15", 1)
    # The mapping is kept: the file can be read again as it was.
    again = ingest_again(campus, report.ingest_id or 0, Changes(timezone="America/New_York"))
    assert again.loaded == 1
    assert counts(campus, "12") == at("06:00 06:15", 1)


def test_how_long_an_open_session_lasts(campus: Settings, tmp_path: Path) -> None:
    lines = [COLUMNS, "00:1a:2b:3c:51:01,ap1,2025-01-07 09:00,,12"]
    path = write(tmp_path / "log.csv", *lines)
    found = find_mapping(path, fields={"open_hours": 0.5}).mapping
    assert found is not None
    ingest_log(campus, path, found)
    assert counts(campus, "12") == at("09:00 09:15", 1)


def test_a_session_is_open_as_long_as_it_was_last_seen(campus: Settings, tmp_path: Path) -> None:
    """Also beyond the limit of sessions of which nothing is heard, and into the next week."""
    lines = [
        "callingstationid,acctstarttime,acctupdatetime,acctstoptime,calledstationid",
        "00-1A-2B-3C-52-01,2025-01-12 10:00:00,2025-01-13 02:00:00,,02-11-22-33-44-01",
    ]
    report = load(campus, tmp_path / "radacct.csv", *lines)
    assert max(report.dates) == dt.date(2025, 1, 13)
    sunday, monday = (counts(campus, "12", DAY + dt.timedelta(days=n), 3600) for n in (5, 6))
    assert (len(sunday), len(monday)) == (14, 2)


def test_rejected_rows_are_kept_whatever_their_columns_are_called(
    campus: Settings, tmp_path: Path
) -> None:
    deep = f"{'a' * 40}.{'b' * 40}"
    names = ["r", f"{deep}.start", f"{deep}.end", "number"]
    good = "aa:bb:cc:50:00:01,2025-01-07 09:00,2025-01-07 09:15,12"
    path = write(tmp_path / "log.csv", ",".join(names), good, good.replace("aa:bb:cc:50:00:01", ""))
    roles = ("device", "start", "end", "space")
    found = find_mapping(path, fields=dict(zip(roles, names, strict=True))).mapping
    assert found is not None
    assert ingest_log(campus, path, found).loaded == 1
    rows = read_source(campus, "SELECT row::text AS row FROM tippers.reject")["row"].to_pylist()
    (row,) = map(json.loads, rows)
    assert list(row) == sorted(names, key=len)
    assert row["number"] == "12"


def test_the_same_content_is_loaded_once_however_it_is_read(
    campus: Settings, tmp_path: Path
) -> None:
    lines = [COLUMNS, "00:1a:2b:3c:51:01,ap1,2025-01-07 09:00,2025-01-07 09:15,12"]
    path = write(tmp_path / "log.csv", *lines)
    ingest_file(campus, "sessions", path)
    with pytest.raises(BadInput, match="was ingested as sessions") as refused:
        load(campus, path, *lines)
    assert "`tippers ingest undo" in (refused.value.hint or "")


def test_a_log_is_read_again_by_another_mapping(campus: Settings, tmp_path: Path) -> None:
    lines = ["who,on,off,where", "00:1a:2b:3c:51:01,2025-01-07 09:00,2025-01-07 09:30,12"]
    report = load(campus, tmp_path / "log.csv", *lines, device="who", seen="on", space="where")
    assert counts(campus, "12") == at("09:00", 1)
    better = read_mapping({"device": "who", "start": "on", "end": "off", "space": "where"})
    ingest_again(campus, report.ingest_id or 0, Changes(mapping=better))
    assert counts(campus, "12") == at("09:00 09:15", 1)


def test_a_region_that_is_no_space_is_named(campus: Settings, tmp_path: Path) -> None:
    ingest_file(
        campus,
        "region_to_coverage",
        write(tmp_path / "more.csv", COVERAGE.splitlines()[0], "r1,Hall 12,3,AP-101,0.9"),
    )
    lines = [
        "mac_address,time,sensor_id",
        "00:1a:2b:3c:51:01,2025-01-07 09:00,AP-101",
        "00:1a:2b:3c:51:01,2025-01-07 09:00,02:11:22:33:44:01",
    ]
    report = load(campus, tmp_path / "seen.csv", *lines)
    assert dict(report.rejected) == {"the region r1 of access point AP-101 is no space": 1}


def test_rows_that_all_do_not_count(campus: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", COLUMNS + ",type", "aa,ap,2025-01-07 09:00,,12,wired")
    found = find_mapping(path).mapping
    assert found is not None
    wireless = {"where": [{"column": "type", "equals": "wifi"}]}
    with pytest.raises(BadInput, match=r"No row of .* counts"):
        ingest_log(campus, path, read_mapping(found.as_fields() | wireless))


@pytest.mark.parametrize("observed", [False, True])
def test_the_rows_read_are_left_out_rejected_or_taken(
    campus: Settings, tmp_path: Path, observed: bool
) -> None:
    start = "2025-01-07 09:00"
    kinds = [("00:1a:2b:3c:51:01", "wifi")] * 3 + [("n/a", "wifi")] * 2 + [("n/a", "wired")] * 4
    lines = [f"{device},{start},,12,{kind}" for device, kind in kinds]
    path = write(tmp_path / "log.csv", "mac,on,off,room,type", *lines, "too,few")
    times = {"seen": "on"} if observed else {"start": "on", "end": "off"}
    wireless = {"where": [{"column": "type", "equals": "wifi"}]}
    mapping = read_mapping({"device": "mac", "space": "room"} | times | wireless)
    report = ingest_log(campus, path, mapping)
    assert (report.rows, report.left_out, report.rejected.total(), report.taken) == (10, 4, 3, 3)
    assert report.loaded == (1 if observed else 3)
    entry = list_ingests(campus, (LOG,))[-1]
    numbers = (entry.rows, entry.left_out, entry.rejected, entry.loaded)
    assert numbers == (10, 4, 3, report.loaded)


def test_records_without_items_are_not_lost(campus: Settings, tmp_path: Path) -> None:
    stays = '"roaming_sessions":[{"start_time":1736269200,"duration":900,"ap_mac":"021122334401"}]'
    none = '"roaming_sessions":[]'
    lines = [f'{{"mac":"aabbcc04100{n}",{one}}}' for n, one in enumerate((stays, none))]
    path = write(tmp_path / "log.jsonl", *lines)
    found = find_mapping(path, preset=preset("unifi-roaming")).mapping
    assert found is not None
    report = ingest_log(campus, path, found)
    assert (report.rows, report.loaded, report.rejected.total()) == (2, 1, 1)


def test_only_columns_that_are_not_used_are_named_as_ignored(
    campus: Settings, tmp_path: Path
) -> None:
    lines = [COLUMNS + ",rssi,noise", "00:1a:2b:3c:51:01,ap1,2025-01-07 09:00,,12,-60,-90"]
    path = write(tmp_path / "log.csv", *lines)
    found = find_mapping(path).mapping
    assert found is not None
    report = ingest_log(campus, path, found.model_copy(update={"keep": ("rssi",)}))
    assert report.ignored == ["noise"]


def test_named_columns_are_found_below_titles(campus: Settings, tmp_path: Path) -> None:
    """Also below lines as wide as the table, and among numbers."""
    lines = [
        "Report,WiFi sessions,,,",
        "Filter:,Building 1,,,",
        "mac,from,until,room,802.11",
        "aa:bb:cc:00:00:11,2025-01-07 09:00,2025-01-07 09:15,12,ac",
    ]
    columns = {"device": "mac", "start": "from", "end": "until", "space": "room"}
    assert load(campus, tmp_path / "log.csv", *lines, **columns).loaded == 1


def test_options_that_do_not_apply(campus: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", COLUMNS, "aa,ap1,2025-01-07 09:00,,12")
    found = find_mapping(path).mapping
    assert found is not None
    with pytest.raises(BadInput, match="only to observations"):
        ingest_log(campus, path, found, 60)


def kept_of(settings: Settings) -> list[tuple[str, str | None]]:
    found = read_source(
        settings,
        "SELECT mac_address, kept::text AS kept FROM source.user_ap_trajectory ORDER BY 1, 2",
    )
    return list(zip(*(found[name].to_pylist() for name in found.column_names), strict=True))


def test_further_columns_are_kept_with_sessions(campus: Settings, tmp_path: Path) -> None:
    lines = [COLUMNS + ",rssi,Net", "00:1a:2b:3c:51:01,ap1,2025-01-07 09:00,,12,-60,eduroam"]
    lines += ["00:1a:2b:3c:51:02,ap1,2025-01-07 09:00,,12,,"]
    path = write(tmp_path / "log.csv", *lines)
    found = find_mapping(path).mapping
    assert found is not None
    ingest_log(campus, path, found.model_copy(update={"keep": ("rssi", "net")}))
    kept = '{"net": "eduroam", "rssi": "-60"}'
    assert kept_of(campus) == [("00:1a:2b:3c:51:01", kept), ("00:1a:2b:3c:51:02", None)]


def test_sessions_of_observations_have_what_the_last_ones_have(
    campus: Settings, tmp_path: Path
) -> None:
    seen = [("09:00", "a"), ("09:01", "b"), ("09:02", ""), ("11:00", ""), ("11:01", "")]
    lines = [f"00:1a:2b:3c:51:01,12,2025-01-07 {time},{net}" for time, net in reversed(seen)]
    path = write(tmp_path / "log.csv", "mac,room,at,net", *lines)
    fields = {"device": "mac", "space": "room", "seen": "at", "keep": "net"}
    assert ingest_log(campus, path, read_mapping(fields)).loaded == 2
    assert [kept for _, kept in kept_of(campus)] == ['{"net": "b"}', None]
