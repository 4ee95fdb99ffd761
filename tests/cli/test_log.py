"""``tippers log``: what it prints, what it writes, and its exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput

ROWS = (
    "mac_address,sensor_id,start_time,end_time,space_id\n"
    "00:1a:2b:3c:4d:5e,ap1,2025-01-07 09:00:00,Online,12\n"
    "N/A,ap1,2025-01-07 09:00:00,2025-01-07 09:30:00,12\n"
    "too,few\n"
)


@pytest.fixture(autouse=True)
def _wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def tippers(*words: str) -> Result:
    return CliRunner().invoke(build_app(["log"]), ["log", *words], catch_exceptions=True)


def test_preview(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(ROWS)
    done = tippers("preview", "log.csv", "--write", "mapping.yaml")
    assert done.exit_code == 0, done.output
    for words in (
        "log.csv: CSV separated by commas.",
        "Read as tippers: Sessions with the columns of tippers; it has the columns mac_address",
        "universal",
        "open",
        "placeholder instead of a device",
        "malformed, first row 3: 2 fields instead of 5",
        "of all rows",
        "The mapping is in mapping.yaml",
    ):
        assert words in done.output
    written = (tmp_path / "mapping.yaml").read_text()
    assert "# From the preset tippers." in written
    assert "\ndevice: mac_address\nstart: start_time\n" in written
    assert "00:1a" not in written
    again = tippers("preview", "log.csv", "--mapping", "mapping.yaml")
    assert again.exit_code == 0, again.output
    assert "placeholder instead of a device" in again.output


def test_further_columns_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("mac,at,room,net,rssi\na,2025-01-07 09:00,12,eduroam,-60\n")
    said = ("--device", "mac", "--seen", "at", "--space", "room")
    kept = ("--keep", "net", "--keep", "rssi")
    done = tippers("preview", "log.csv", *said, *kept, "--write", "mapping.yaml")
    assert done.exit_code == 0, done.output
    assert '{"net": "eduroam", "rssi": "-60"}' in done.output
    assert "keep:\n- net\n- rssi\n" in (tmp_path / "mapping.yaml").read_text()
    # A mapping keeps what it says unless others are named.
    for words, wanted in (((), "rssi"), (("--keep", "net"), '{"net": "eduroam"}')):
        assert wanted in tippers("preview", "log.csv", "--mapping", "mapping.yaml", *words).output
    refused = tippers("preview", "log.csv", *said, "--keep", "mac")
    assert "only hashes are kept" in str(refused.exception)


def test_a_log_that_no_preset_fits(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a|b\n1|2\n")
    done = tippers("preview", "log.csv")
    assert isinstance(done.exception, BadInput)
    assert done.exception.message == "No preset fits log.csv."
    assert "separated by vertical bars" in done.output
    done = tippers("preview", "log.csv", "--write", "mapping.yaml")
    assert done.exit_code == 0
    assert "# Columns of the log: a, b\n" in (tmp_path / "mapping.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.csv",), "There is no file none.csv."),
        (("log.csv", "--preset", "x"), "There is no preset x."),
        (("log.csv", "--preset", "radacct"), "is no log of the preset radacct"),
        (("log.csv", "--preset", "tippers", "--mapping", "m"), "Give one of --preset, --mapping"),
        (("log.csv", "--timezone", "Mars"), "Mars is no time zone"),
        (("log.csv", "--encoding", "x"), "encoding: Input should be"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "log.csv").write_text(ROWS)
    done = tippers("preview", *words)
    assert isinstance(done.exception, BadInput)
    assert message in done.exception.message


def test_day_first(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("mac_address,time,sensor_id\na,01/07/2025 09:00,ap\n")
    assert "--day-first" in str(tippers("preview", "log.csv").exception)
    assert "2025-07-01 09:00" in tippers("preview", "log.csv", "--day-first").output
    assert "2025-01-07 09:00" in tippers("preview", "log.csv", "--month-first").output


def test_presets() -> None:
    assert "FreeRADIUS accounting table radacct" in tippers("presets").output
    done = tippers("presets", "unifi-sessions")
    for words in ("Source: KoenZomers/UniFiApi", "Not known of such logs:", "duration_unit: s"):
        assert words in done.output


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_process_that_leaves_a_long_log_ends(tmp_path: Path, encoding: str) -> None:
    rows = "aa:bb:cc:dd:ee:ff,1736269200,ap\n" * 600_000
    (tmp_path / "log.csv").write_text("mac_address,time,sensor_id\n" + rows, encoding=encoding)
    done = subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", "log", "preview", "log.csv"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "of the first 100,000 rows" in done.stdout
    assert done.stderr == ""
