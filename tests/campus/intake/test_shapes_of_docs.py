"""The commands of docs/data.md lead from each shape of a log to counts."""

from __future__ import annotations

import csv
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from tippers_dagster.cli import build_app
from tippers_dagster.settings import Settings, get_settings

DOCS = (REPOSITORY / "docs" / "data.md").read_text()
SHAPES = dict(
    re.findall(r"^### ([^\n]+)\n(?:(?!^##).)*?```bash\n(.*?)```", DOCS, re.MULTILINE | re.DOTALL)
)
SESSIONS = """\
client;connected;disconnected;room
00-1A-2B-3C-4D-5E;2025-01-07T17:00:00Z;07-Jan-2025 09:30;12
"""
SIGHTINGS = """\
{"mac": "001a2b3c4d5e", "time": 1736269200, "ap": "0211.2233.4401", "rssi": -60}
{"mac": "001a2b3c4d5e", "time": 1736270400, "ap": "0211.2233.4401", "rssi": -61}
"""
SPACES = """\
space_id,space_name,parent_space_id,building_room
campus,Campus,,
12,Hall 12,campus,H 12
13,Hall 13,campus,H 13
"""
COVERAGE = """\
region_id,space_name,wapcov_id,sensor,intersection_percentage
12,Hall 12,1,02:11:22:33:44:01,0.9
13,Hall 13,2,02:11:22:33:44:02,0.8
"""
FILES = {
    "spaces.csv": SPACES,
    "coverage.csv": COVERAGE,
    "sessions.csv": SESSIONS,
    "sightings.jsonl": SIGHTINGS,
    "radacct.csv": Path(__file__).with_name("radacct.csv").read_text(),
}
RADACCT = [6, 6, 2, 1]
DEVICES = {
    "FreeRADIUS": RADACCT,
    "A database": RADACCT,
    "Observations": [1, 1],
    "Sessions": [1, 1],
}
"""Of the campus, in bins of 15 minutes from 9 o'clock."""
PEOPLE = [(2, 3), (2, 3)]
"""People and other devices in ``radacct``, likewise."""


def test_each_shape_has_an_answer() -> None:
    assert sorted(name.partition(":")[0] for name in SHAPES) == sorted(DEVICES)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_commands_of_each_shape_lead_to_counts(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    app = build_app(["ingest", "occupancy", "connections", "log"])
    lines = SHAPES[shape].splitlines()
    for command in [*lines, f"{lines[-1]} --count people"]:
        program, *words = shlex.split(command)
        if program == "export":
            name, _, value = words[0].partition("=")
            monkeypatch.setenv(name, value)
            get_settings.cache_clear()
            continue
        assert program == "tippers"
        if words[:2] == ["connections", "add"]:
            words = _to_a_file(words)
        if words[-2:] == ["--count", "people"]:
            words[words.index("counts.csv")] = "people.csv"
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (command, done.output, done.exception)
    with Path("counts.csv").open() as file:
        counts = [int(row["number_connections"]) for row in csv.DictReader(file)]
    begins = 9 * 4
    devices = DEVICES[shape.partition(":")[0]]
    assert counts[begins : begins + len(devices)] == devices
    assert sum(counts) == sum(devices)
    if devices is RADACCT:
        with Path("people.csv").open() as file:
            rows = list(csv.DictReader(file))[begins : begins + len(PEOPLE)]
        found = [(int(r["number_people"]), int(r["number_other_devices"])) for r in rows]
        assert found == PEOPLE


def _to_a_file(words: list[str]) -> list[str]:
    """The command for a SQLite file instead of a server, with radacct as a table."""
    with Path("radacct.csv").open() as file, closing(sqlite3.connect("radius.db")) as database:
        names, *rows = csv.reader(file)
        database.execute(f"CREATE TABLE radacct ({', '.join(f'{name} TEXT' for name in names)})")
        marks = ", ".join("?" * len(names))
        database.executemany(f"INSERT INTO radacct VALUES ({marks})", rows)
        database.commit()
    return [*words[:3], "--dialect", "sqlite", "--database", str(Path("radius.db").absolute())]
