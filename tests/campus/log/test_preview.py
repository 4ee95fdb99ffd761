"""Previews: what the first rows are taken for, and why others are not."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tippers_dagster.campus.log import preview as module
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.log.formats import open_log
from tippers_dagster.campus.log.guessing import find_mapping
from tippers_dagster.campus.log.mapping import FileLayout, read_mapping
from tippers_dagster.campus.log.presets import preset
from tippers_dagster.campus.log.preview import Preview, preview
from tippers_dagster.campus.log.reading import Deployment, day_month_order, read_rows
from tippers_dagster.errors import BadInput

DEPLOYMENT = Deployment(
    "America/Los_Angeles", (dt.datetime(2000, 1, 1), dt.datetime(2040, 1, 1)), 31 * 86_400
)
RADACCT = """\
acctsessionid,username,acctstarttime,acctupdatetime,acctstoptime,calledstationid,callingstationid
a1,kim@a.edu,2025-01-07 09:00-08,2025-01-07 09:25-08,2025-01-07 09:30-08,021122334401:e,001A2B3C5201
a2,KIM@a.edu,2025-01-07 09:10-08,2025-01-07 09:20-08,,02-11-22-33-44-01:edu,DA-A1-19-00-00-01
a3,host/pc-1,2025-01-07 09:00-08,,0000-00-00 00:00:00,02-11-22-33-44-02:edu,00-1A-2B-3C-52-03
a4,lee,2025-01-07 10:00-08,,2025-01-07 09:00-08,02-11-22-33-44-02,00-1A-2B-3C-52-04
a5,lee,yesterday,,,02-11-22-33-44-02,00:00:00:00:00:00
a6,lee
"""


def take(path: Path, fields: dict | None = None, **options) -> Preview:
    mapping = None if fields is None else read_mapping(fields)
    told = {name: options.pop(name) for name in ("preset", "layout") if name in options}
    said = {name: options.pop(name) for name in ("timezone", "order") if name in options}
    choice = find_mapping(path, mapping=mapping, fields=said, **told)
    return preview(path, choice, DEPLOYMENT, **options)


def log(folder: Path, content: object, name: str = "log") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_is_understood_of_each_row(tmp_path: Path) -> None:
    made = take(log(tmp_path, RADACCT))
    assert made.preset == preset("radacct")
    assert made.guesses[0][1].startswith("it has the columns acctstarttime")
    assert "session_id" not in made.roles  # acctsessionid is not unique
    assert made.is_whole
    assert (made.read, made.usable, made.left_out, len(made.malformed)) == (5, 3, 0, 1)
    first, second, third, *others = made.rows
    assert first.values["device"] == "001A2B3C5201"
    assert first.understood == {
        "device": "00:1a:2b:3c:52:01",
        "kind": "universal",
        "start": "2025-01-07 09:00:00-08:00",
        "end": "2025-01-07 09:30:00-08:00",
        "access_point": "02:11:22:33:44:01",
        "ssid": "e",
        "person": "yes",
    }
    assert second.understood["kind"] == "randomised"
    assert second.understood["end"] == "open, last seen 2025-01-07 09:20:00-08:00"
    assert third.understood["end"] == "open"
    assert "person" not in third.understood
    assert [(row.number, row.understood) for row in others] == [(4, {}), (5, {})]
    reasons = [row.reason for row in others]
    assert reasons == ["end before start", "placeholder instead of a device"]
    assert made.reasons == dict.fromkeys(reasons, 1)


def test_observations(tmp_path: Path) -> None:
    path = log(tmp_path, "mac_address,time,sensor_id\naa:bb:cc:dd:ee:f0,2025-07-01 09:00,ap1\n")
    made = take(path)
    assert made.rows[0].understood["seen"] == "2025-07-01 09:00:00-07:00"
    assert "start" not in made.rows[0].understood
    made = take(path, timezone="UTC")
    assert made.rows[0].understood["seen"] == "2025-07-01 09:00:00+00:00"


def test_a_log_that_no_preset_fits(tmp_path: Path) -> None:
    made = take(log(tmp_path, "a;b\n;2\n3;4\n"))
    assert (made.mapping, made.preset, made.rows) == (None, None, [])
    assert made.look.names == ["a", "b"]
    assert made.look.example("a") == "3"
    assert made.look.example("c") is None


WIRED = [
    {"mac": "aa:bb:cc:dd:ee:01", "ap": "x", "at": 1736269200, "wired": False},
    {"mac": "aa:bb:cc:dd:ee:02", "ap": "x", "at": 1736269200, "wired": True},
    {"mac": "aa:bb:cc:dd:ee:03", "ap": "x", "at": 1736269200},
]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"differs": True}, ["01", "03"]),
        ({"equals": "FALSE"}, ["01"]),
        ({"equals": ["true", "false"]}, ["01", "02"]),
    ],
)
@pytest.mark.parametrize("parquet", [False, True])
def test_rows_that_do_not_count_are_left_out(
    tmp_path: Path, condition: dict, kept: list[str], parquet: bool
) -> None:
    path = log(tmp_path, WIRED)
    if parquet:
        pq.write_table(pa.Table.from_pylist(WIRED), path)
    where = [{"column": "Wired", **condition}]
    made = take(path, {"device": "mac", "seen": "at", "access_point": "ap", "where": where})
    assert [row.understood["device"][-2:] for row in made.rows] == kept
    assert made.left_out == 3 - len(kept)
    assert [row.number for row in made.rows] == [int(number) for number in kept]


def test_the_first_of_several_columns_that_has_a_value_counts(tmp_path: Path) -> None:
    rows = [
        {"mac": "aa:bb:cc:dd:ee:01", "ap": "x", "iso": "2025-01-07T17:00:00Z", "epoch": 1},
        {"mac": "aa:bb:cc:dd:ee:02", "ap": "x", "iso": " ", "epoch": 1736269200},
    ]
    fields = {"device": "mac", "seen": ["iso", "epoch", "none"], "access_point": "ap"}
    made = take(log(tmp_path, rows), fields)
    assert {row.understood["seen"] for row in made.rows} == {"2025-01-07 09:00:00-08:00"}
    assert made.unseen == ["none"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    made = take(tmp_path / "log.parquet", fields)
    assert {row.understood["seen"] for row in made.rows} == {"2025-01-07 09:00:00-08:00"}
    assert made.roles["seen"] == ("iso", "epoch")


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    path = log(tmp_path, "mac,at,ap\na,1736269200,x\n")
    fields = {"device": "mac", "seen": "at", "access_point": "ap"}
    assert take(path, fields).usable == 1
    for wrong, name in (
        ({"seen": "time"}, "time"),
        ({"ssid": ["s1", "s2"]}, "s1, s2"),
        ({"keep": "floor"}, "floor"),
        ({"where": [{"column": "wired", "differs": "1"}]}, "wired"),
    ):
        with pytest.raises(BadInput, match=f"has no column {name}; its columns are: mac, at, ap"):
            take(path, {**fields, **wrong})
    # In JSON, a column that only few records have is none that is missing, but for the needed ones.
    path = log(tmp_path, WIRED)
    assert take(path, {**fields, "ssid": "ssid"}).unseen == ["ssid"]
    with pytest.raises(BadInput, match="has no column time"):
        take(path, {**fields, "seen": "time"})


DATES = "mac,at,ap\na1,01/07/2025 09:00,x\n"


def test_the_order_of_day_and_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"device": "mac", "seen": "at", "access_point": "ap"}
    path = log(tmp_path, DATES)
    with pytest.raises(BadInput, match="Column at does not show whether") as caught:
        take(path, fields)
    assert "--day-first or --month-first" in str(caught.value)
    made = take(path, fields, order="day first")
    assert made.rows[0].understood["seen"].startswith("2025-07-01")
    assert take(path, {**fields, "order": "month first"}).order == "month first"
    # The file is judged as a whole, also by rows that are not shown.
    monkeypatch.setattr(module, "CHECKED_ROWS", 1)
    path = log(tmp_path, DATES + "a2,02/08/2025 09:00,x\n" * 3 + "a3,31/08/2025 09:00,x\n")
    made = take(path, fields)
    assert (made.order, made.read, made.is_whole) == ("day first", 1, False)
    with open_log(path) as file:
        mapping = read_mapping(fields)
        assert day_month_order(read_rows(file, mapping), mapping) == "day first"


def test_starts_and_ends_decide_the_order_together(tmp_path: Path) -> None:
    path = log(tmp_path, "mac,b,e,ap\na1,01/07/2025 23:00,13/07/2025 01:00,x\n")
    made = take(path, {"device": "mac", "start": "b", "end": "e", "access_point": "ap"})
    assert made.order == "day first"


def test_columns_that_are_kept(tmp_path: Path) -> None:
    path = log(tmp_path, "mac,at,ap,Floor\na,1736269200,x,3\n")
    fields = {"device": "mac", "seen": "at", "access_point": "ap", "keep": ["floor", "ap"]}
    with open_log(path) as file:
        (rows,) = read_rows(file, read_mapping(fields))
    assert rows.kept.to_pylist() == [{"floor": "3", "ap": "x"}]
    assert rows.columns.column_names == ["device", "seen", "access_point"]
    assert take(path, fields).rows[0].understood["kept"] == '{"ap": "x", "floor": "3"}'


def test_a_layout_counts_more_than_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("mac;at;ap\na;1736269200;Caf\xe9\n".encode("latin-1"))
    fields = {"device": "mac", "seen": "at", "access_point": "ap", "file": {"separator": ","}}
    made = take(path, fields, layout=FileLayout(separator=";", encoding="latin-1"))
    assert made.rows[0].understood["access_point"] == "Café"
    assert made.mapping is not None
    assert made.mapping.file == FileLayout(separator=";", encoding="latin-1")


def test_only_some_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKED_ROWS", 50)
    path = log(tmp_path, "mac_address,time,sensor_id\n" + "a,1736269200,ap\n" * 60)
    made = take(path, shown=3)
    assert (made.read, made.usable, len(made.rows), made.is_whole) == (50, 50, 3, False)


def test_a_log_without_rows_that_count(tmp_path: Path) -> None:
    where = [{"column": "wired", "equals": "x"}]
    fields = {"device": "mac", "seen": "at", "access_point": "ap", "where": where}
    made = take(log(tmp_path, WIRED), fields)
    assert (made.read, made.left_out, made.rows) == (0, 3, [])


def test_rows_without_a_space_are_rejected_where_spaces_are_known(tmp_path: Path) -> None:
    def place(rows: pa.Table, checks: Checks) -> pa.Array:
        unknown = np.asarray(pc.equal(rows["access_point"], "02:11:22:33:44:02"))
        checks.reject(unknown, "no space there")
        return pa.array(np.full(rows.num_rows, "12", object), mask=unknown)

    path = log(tmp_path, RADACCT)
    made = preview(path, find_mapping(path), DEPLOYMENT, place=place)
    assert [row.reason for row in made.rows] == [
        *(None, None, "no space there"),
        *("end before start", "placeholder instead of a device"),
    ]
    assert [row.understood.get("space") for row in made.rows[:3]] == ["12", "12", None]
    assert (made.usable, made.reasons["no space there"]) == (2, 1)


def test_long_values_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKED_BYTES", 1)
    made = take(log(tmp_path, RADACCT))
    assert (made.read, made.is_whole) == (5, False)
