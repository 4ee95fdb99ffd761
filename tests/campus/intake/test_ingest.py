"""Loading files into the source tables: loaded rows, rejected rows, and rejected files."""

import csv
import datetime as dt
import io
import multiprocessing
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.intake.undo import undo_ingests
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.settings import Settings

HEADER = ["mac_address", "sensor_id", "start_time", "end_time", "space_id"]
GOOD = ["aa", "ap", "2025-01-06 10:00:00", "2025-01-06 11:00:00", "room"]
SPACES = [
    ["space_id", "space_name", "parent_space_id", "building_room"],
    ["campus", "The campus", "", ""],
    ["b1", "Building 1", "campus", ""],
    ["r1", "Room 1", "b1", "B1 100"],
]


def _file(folder: Path, rows: list[list[str]], name: str = "file.csv") -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path = folder / name
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _rows(settings: Settings, sql: str) -> list[tuple]:
    found = read_source(settings, sql)
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def _sessions(settings: Settings) -> list[tuple]:
    return _rows(
        settings,
        "SELECT mac_address, sensor_id, start_time, end_time, space_id "
        "FROM source.user_ap_trajectory ORDER BY 1, 2, 3, 4",
    )


def _rejects(settings: Settings) -> list[tuple]:
    return _rows(
        settings,
        "SELECT row_number, reason, row::text FROM tippers.reject ORDER BY row_number",
    )


# --- sessions ---------------------------------------------------------------------------------
def test_sessions_with_every_kind_of_reject(stack: Settings, tmp_path: Path) -> None:
    def changed(**values: str) -> list[str]:
        return [values.get(name, good) for name, good in zip(HEADER, GOOD, strict=True)]

    cases: list[tuple[list[str], str | None]] = [
        (GOOD, None),
        (changed(end_time=""), None),
        (changed(mac_address="  "), "no device"),
        (changed(space_id="NULL"), "access point ap covers no space"),
        (changed(start_time=""), "no start_time"),
        (changed(start_time="soon"), "start_time is not a time"),
        (changed(end_time="2025-01-06 11:00 CET"), "end_time has a zone that is not one of "
                                                   "America/Los_Angeles"),
        (changed(start_time="1963-01-06 10:00"), "start_time is outside the plausible range "
                                                 "2010-01-01 to 2026-01-01"),
        (changed(end_time="2026-06-06 10:00"), "end_time is outside the plausible range "
                                               "2010-01-01 to 2026-01-01"),
        (changed(end_time="2025-01-06 09:59:59"), "end before start"),
        (changed(end_time="2025-03-06 11:00"), "longer than 2678400 s"),
        (changed(mac_address="a\0b"), "mac_address has a NUL character"),
        (changed(sensor_id="x" * 1_000_000), "sensor_id is longer than 500 bytes"),
        ([*GOOD, "more"], "6 fields instead of 5"),
        (changed(mac_address="é漢 'q\"", sensor_id=""), None),
        (changed(start_time="2025-01-06T10:00:00.123456"), None),
    ]  # fmt: skip
    path = _file(tmp_path, [HEADER, *(row for row, _ in cases)])
    settings = stack.model_copy(update={"latest_time": dt.datetime(2026, 1, 1)})
    report = ingest_file(settings, "sessions", path)

    assert (report.rows, report.loaded, report.already) == (len(cases), 4, False)
    expected = [(n, why) for n, (_, why) in enumerate(cases, 1) if why]
    assert [(n, why) for n, why, _ in _rejects(stack)] == expected
    assert dict(report.rejected) == {why: 1 for _, why in expected}
    assert '"mac_address": "a\N{SYMBOL FOR NULL}b"' in _rejects(stack)[9][2]
    assert len(_rejects(stack)[10][2]) < 1_000
    start = dt.datetime(2025, 1, 6, 10)
    assert _sessions(stack) == [
        ("aa", "ap", start, start + dt.timedelta(hours=1), "room"),
        ("aa", "ap", start, None, "room"),
        ("aa", "ap", start.replace(microsecond=123456), start + dt.timedelta(hours=1), "room"),
        ("é漢 'q\"", None, start, start + dt.timedelta(hours=1), "room"),
    ]


def test_the_same_content_is_loaded_once(stack: Settings, tmp_path: Path) -> None:
    path = _file(tmp_path, [HEADER, GOOD])
    assert ingest_file(stack, "sessions", path).loaded == 1
    again = ingest_file(stack, "sessions", path.rename(tmp_path / "other name"))
    assert again.already
    assert again.when is not None
    assert len(_sessions(stack)) == 1
    # Another line makes it different content.
    more = _file(tmp_path, [HEADER, GOOD, GOOD])
    assert not ingest_file(stack, "sessions", more).already
    assert len(_sessions(stack)) == 3


def test_parquet_sessions(stack: Settings, tmp_path: Path) -> None:
    moment = dt.datetime(2025, 1, 6, 10)
    table = pa.table(
        {
            "space_id": [1, 2, None],
            "mac_address": pa.array(["aa", "bb", "cc"]).dictionary_encode(),
            "start_time": pa.array([moment] * 3, pa.timestamp("ns")),
            "end_time": pa.array([None, moment, moment], pa.timestamp("ms")),
            "sensor_id": [1.0, None, 3.0],
            "rssi": [-50, -60, -70],
        }
    )
    path = tmp_path / "sessions.parquet"
    pq.write_table(table, path)
    report = ingest_file(stack, "sessions", path)
    assert report.ignored == ["rssi"]
    assert dict(report.rejected) == {"access point 3 covers no space": 1}
    assert _sessions(stack) == [("aa", "1", moment, None, "1"), ("bb", None, moment, moment, "2")]
    assert _rejects(stack)[0][0] == 3


def test_without_a_usable_row_nothing_changes(stack: Settings, tmp_path: Path) -> None:
    ingest_file(stack, "sessions", _file(tmp_path, [HEADER, GOOD]))
    bad = _file(tmp_path, [HEADER, ["", *GOOD[1:]], [*GOOD[:4], ""]], "bad.csv")
    with pytest.raises(BadInput, match=r"All rows of .*bad.csv were rejected") as caught:
        ingest_file(stack, "sessions", bad)
    assert "1 x no device" in caught.value.message
    assert len(_sessions(stack)) == 1
    assert _rejects(stack) == []
    with pytest.raises(BadInput, match="has no rows"):
        ingest_file(stack, "sessions", _file(tmp_path, [HEADER], "none.csv"))


def test_a_file_with_a_late_error_changes_nothing(stack: Settings, tmp_path: Path) -> None:
    path = _file(tmp_path, [HEADER, *([GOOD] * 200_000)])
    path.write_bytes(path.read_bytes() + b"\xff,ap,2025-01-06 10:00:00,,room\n")
    with pytest.raises(BadInput, match=r"not UTF-8: byte 0xff at offset .*, line 200002"):
        ingest_file(stack, "sessions", path)
    assert _sessions(stack) == []


def _ingest_and_die(path: Path) -> None:
    def die(done: int, total: int) -> None:
        if done > total // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    ingest_file(Settings(), "sessions", path, die)


def test_a_killed_ingest_leaves_nothing_and_can_be_repeated(
    stack: Settings, tmp_path: Path
) -> None:
    path = _file(tmp_path, [HEADER, *([GOOD] * 300_000)])
    process = multiprocessing.get_context("spawn").Process(target=_ingest_and_die, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert ingest_file(stack, "sessions", path).loaded == 300_000
    assert _rows(stack, "SELECT count(*) FROM source.user_ap_trajectory") == [(300_000,)]


def test_wrong_columns_are_named(stack: Settings, tmp_path: Path) -> None:
    path = _file(tmp_path, [["mac", "start_time"], ["a", "2025-01-06"]])
    with pytest.raises(BadInput, match="has no column mac_address, end_time, sensor_id, space_id"):
        ingest_file(stack, "sessions", path)


def test_progress_reaches_the_end(stack: Settings, tmp_path: Path) -> None:
    path = _file(tmp_path, [HEADER, *([GOOD] * 1000)])
    ticks: list[tuple[int, int]] = []
    ingest_file(stack, "sessions", path, lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (path.stat().st_size, path.stat().st_size)


def test_a_deployments_own_database_is_refused(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.database_url is not None
    monkeypatch.setenv("TIPPERS_SOURCE_URL", stack.database_url.get_secret_value())
    with pytest.raises(SourceError, match="is read only"):
        ingest_file(Settings(), "sessions", _file(tmp_path, [HEADER, GOOD]))


# --- spaces -----------------------------------------------------------------------------------
def _spaces(settings: Settings) -> list[tuple]:
    return _rows(settings, "SELECT * FROM source.space ORDER BY space_id")


def test_spaces_are_inserted_and_updated(stack: Settings, tmp_path: Path) -> None:
    first = _file(tmp_path, SPACES, "first.csv")
    assert ingest_file(stack, "spaces", first).details["new"] == "3"
    assert _spaces(stack)[0] == ("b1", "Building 1", "campus", None)

    changed = [SPACES[0], *SPACES[1:3], ["r1", "The lab", "b1", ""], ["r2", "Room 2", "b1", ""]]
    report = ingest_file(stack, "spaces", _file(tmp_path, changed, "second.csv"))
    assert report.details == {"new": "1", "changed": "1", "unchanged": "2"}
    assert report.loaded == 2
    assert ("r1", "The lab", "b1", None) in _spaces(stack)

    # Loading the first file again is a change, not a repetition.
    back = ingest_file(stack, "spaces", first)
    assert back.details == {"new": "0", "changed": "1", "unchanged": "2"}
    assert ingest_file(stack, "spaces", first).already


def test_spaces_that_cannot_be_used(stack: Settings, tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        [
            *SPACES,
            ["", "nameless", "", ""],
            ["a|b", "", "", ""],
            ["a...b", "", "", ""],
            ["a,b", "", "", ""],
            ["a\x07b", "", "", ""],
            ["O'Brien", "", "", ""],
            ['"A"', "", "", ""],
            ["a\u200bb", "", "", ""],
            ["é" * 45, "", "", ""],
            ["in O'Brien", "", "O'Brien", ""],
            ["desk", "", "a|b", ""],
            ["=1+1", "", "b1", ""],
            ["r9", "before", "b1", ""],
            ["r9", "after", "b1", ""],
        ],
    )
    report = ingest_file(stack, "spaces", path)
    assert dict(report.rejected) == {
        "no space id": 1,
        "space_id has '|'": 1,
        "space_id has '...'": 1,
        "space_id has ','": 1,
        "space_id has a control or invisible character": 2,
        "space_id has a quote": 3,
        "space_id is longer than 249 bytes when encoded for the lake": 1,
        "it is below 'a|b', which cannot be used": 1,
        "a later row of the file has the same space_id": 1,
    }
    assert ("r9", "after", "b1", None) in _spaces(stack)
    assert ("=1+1", None, "b1", None) in _spaces(stack)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["b1", "", "r1", ""]], "own ancestors.*b1"),
        ([["b2", "", "nowhere", ""]], r"parent does not exist: b2 \(parent nowhere\)"),
    ],
    ids=["cycle", "orphan"],
)
def test_broken_trees_change_nothing(
    stack: Settings, tmp_path: Path, rows: list[list[str]], message: str
) -> None:
    ingest_file(stack, "spaces", _file(tmp_path, SPACES))
    before = _spaces(stack)
    with pytest.raises(BadInput, match=message):
        ingest_file(stack, "spaces", _file(tmp_path, [SPACES[0], *rows], "bad.csv"))
    assert _spaces(stack) == before


def test_integer_ids_become_text(stack: Settings, tmp_path: Path) -> None:
    path = tmp_path / "spaces.parquet"
    table = pa.table(
        {
            "space_id": [1, 2],
            "parent_space_id": [None, 1.0],
            "space_name": ["a", "b"],
            "building_room": pa.nulls(2),
        }
    )
    pq.write_table(table, path)
    ingest_file(stack, "spaces", path)
    assert _spaces(stack) == [("1", "a", None, None), ("2", "b", "1", None)]


# --- the other tables -------------------------------------------------------------------------
def test_space_metadata_and_faculty_replace_their_keys(stack: Settings, tmp_path: Path) -> None:
    header = ["roomid", "typeid", "type", "building_room"]
    first = [header, ["1", "1", "office", "B 1"], ["2", "2", "kitchen", "B 2"]]
    ingest_file(stack, "space_metadata", _file(tmp_path, first))
    second = [header, ["2", "3", "lab", "B 2"], ["", "", "", "B 3"]]
    report = ingest_file(stack, "space_metadata", _file(tmp_path, second))
    assert dict(report.rejected) == {"no roomid": 1}
    assert _rows(stack, "SELECT roomid, type FROM source.space_metadata ORDER BY 1") == [
        ("1", "office"),
        ("2", "lab"),
    ]
    offices = [["name", "office"], ["Ann", "B 1"], ["Ann", "B 2"]]
    assert ingest_file(stack, "faculty_data", _file(tmp_path, offices)).loaded == 2


def test_the_registry_of_vendor_prefixes(stack: Settings, tmp_path: Path) -> None:
    header = ["Registry", "Assignment", "Organization Name", "Organization Address"]
    rows = [
        ["MA-L", "080030", "CERN", "Geneva"],
        ["MA-L", "3C22FB", "Apple, Inc.", "Cupertino"],
        ["MA-L", "080030", "ROYAL MELBOURNE INST OF TECH", "Melbourne"],
        ["MA-M", "3C22FB0", "A small maker", ""],
        ["MA-L", "", "Nobody", ""],
        ["MA-L", "001BA9", "Brother industries, LTD.", "Nagoya"],
        ["MA-L", "001BA9", "", ""],
    ]
    report = ingest_file(stack, "vendor_prefixes", _file(tmp_path, [header, *rows]))
    assert dict(report.rejected) == {
        "a later row of the file has the same prefix": 1,
        "prefix is not three octets": 1,
        "no prefix": 1,
        "no maker": 1,
    }
    ours = [["prefix", "maker"], ["3c:22:fb", "Apple"]]
    assert ingest_file(stack, "vendor_prefixes", _file(tmp_path, ours)).loaded == 1
    assert _rows(stack, "SELECT * FROM tippers.vendor_prefix ORDER BY 1") == [
        ("00:1b:a9", "Brother industries, LTD."),
        ("08:00:30", "ROYAL MELBOURNE INST OF TECH"),
        ("3c:22:fb", "Apple"),
    ]


def test_the_registry_is_loaded_whatever_the_source_is(stack: Settings, tmp_path: Path) -> None:
    elsewhere = stack.model_copy(update={"source_url": stack.database_url})
    file = _file(tmp_path, [["prefix", "maker"], ["3C-22-FB", "Apple"]])
    report = ingest_file(elsewhere, "vendor_prefixes", file)
    assert _rows(stack, "SELECT * FROM tippers.vendor_prefix") == [("3c:22:fb", "Apple")]
    assert report.ingest_id is not None
    assert undo_ingests(elsewhere, [report.ingest_id]).changed == {"vendor_prefixes": 1}
    assert _rows(stack, "SELECT * FROM tippers.vendor_prefix") == []


def test_coverage_has_numbers(stack: Settings, tmp_path: Path) -> None:
    header = ["region_id", "space_name", "wapcov_id", "sensor", "intersection_percentage"]
    rows = [
        ["1", "a", "w", "ap1", "12.5"],
        ["1", "a", "w", "ap2", ""],
        ["2", "b", "w", "ap3", "much"],
        ["2", "b", "w", "ap3", "nan"],
    ]
    report = ingest_file(stack, "region_to_coverage", _file(tmp_path, [header, *rows]))
    assert dict(report.rejected) == {"intersection_percentage is not a number": 2}
    sql = "SELECT sensor, intersection_percentage FROM source.region_to_coverage ORDER BY 1"
    assert _rows(stack, sql) == [("ap1", 12.5), ("ap2", None)]
