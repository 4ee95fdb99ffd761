"""``tippers ingest``: what it prints, and its exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tippers_dagster.settings import Settings

SPACES = "space_id,space_name,parent_space_id,building_room,floor\nb,B,,,\nr,R,b,,\n,x,,,\n"


def _tippers(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", "ingest", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "120"},
    )


def test_summary_and_repetition(stack: Settings, tmp_path: Path) -> None:
    path = tmp_path / "spaces.csv"
    path.write_text(SPACES)
    first = _tippers("spaces", path)
    assert first.returncode == 0, first.stderr
    for words in ("loaded", "no space id", "`tippers rejects`", "Ignored columns: floor"):
        assert words in first.stdout
    again = _tippers("spaces", path)
    assert again.returncode == 0
    assert "already ingested on" in again.stdout
    assert "nothing to do" in again.stdout


@pytest.mark.parametrize(
    ("command", "content", "message"),
    [
        ("sessions", None, "There is no file"),
        ("spaces", "", "is empty"),
        ("space_metadata", "a,b\n1,2\n", "has no column roomid"),
        ("observations", "mac_address,time,sensor_id\na,2025-01-06,ap\n", "All rows of"),
    ],
)
def test_failures_are_reported_without_a_traceback(
    stack: Settings, tmp_path: Path, command: str, content: str | None, message: str
) -> None:
    path = tmp_path / "file.csv"
    if content is not None:
        path.write_text(content)
    done = _tippers(command, path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_wrong_usage() -> None:
    assert _tippers("sessions").returncode == 2
    assert _tippers("nonsense", "file").returncode == 2
