"""Head counts and people counts from a shell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.people.counts.campus import MONDAY, head_counts, make
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.cli import build_app
from tippers_dagster.people.counts.reading import NotCounted
from tippers_dagster.people.counts.work import calibrate_people, write_calibrated
from tippers_dagster.settings import Settings


def tippers(*arguments: str) -> Result:
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_from_head_counts_to_people(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    make(stack)
    assert "no head counts" in tippers("calibrate", "show").stdout
    assert "phones: PHONE of device.device_type; not mat" in tippers("people-count", "list").stdout
    out = tmp_path / "people.csv"
    asked = ["--start", str(MONDAY), "--end", "2025-01-07", "--interval", "3600", "--by", "phones"]
    with pytest.raises(NotCounted):
        tippers("people-count", "export", "--space", "hall", *asked, "--out", str(out))
    assert not out.exists()

    file = head_counts(tmp_path / "heads.csv")
    file.write_text(file.read_text() + "\nnowhere,2025-01-06,3,900\n")
    done = tippers("calibrate", "import", str(file), "--by", "ada")
    assert "505 rows: 504 new, 0 changed." in done.stdout
    assert "1 x there is no such space" in done.output
    body = PeopleCount(by="device.device_type", labels=("PHONE",))
    write_calibrated(stack, "phones", "1", "run", calibrate_people(stack, body))
    shown = tippers("calibrate", "show").stdout
    assert "R1" in shown
    assert "90%" in shown
    tippers("people-count", "export", "--space", "hall", *asked, "--out", str(out))
    with out.open() as rows:
        found = list(csv.DictReader(rows))
    assert len(found) == 24
    noon = found[12]
    assert noon["interval_begin_time"].startswith("2025-01-06T12:00:00")
    low, people, high = (float(noon[n]) for n in ("people_low", "people", "people_high"))
    assert low <= people <= high
    assert float(noon["devices_counted"]) <= people <= float(noon["number_connections"])

    assert "504 head counts written" in tippers("calibrate", "export", str(out)).stdout
    assert (
        "252 head counts removed" in tippers("calibrate", "clear", "--space", "r1", "--yes").stdout
    )
    assert "252 head counts removed" in tippers("calibrate", "clear", "--yes").stdout
