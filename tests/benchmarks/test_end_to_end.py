"""A small end-to-end benchmark: it must run, and touch nothing but its own home."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_it_runs_and_checks_its_counts(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--sessions", "20000"]
    done = subprocess.run(
        [*command, "--weeks", "1", "--json", str(figures)],
        cwd=REPOSITORY,
        env={**os.environ, "TIPPERS_DATABASE_URL": "postgresql://nobody@nowhere.invalid/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert [stage["partitions"] for stage in found["stages"]] == [1, 500, 39, 1]
    assert found["checked_bins"] > 0
    assert "counts equal" in done.stdout
    assert not list((tmp_path / "home").glob("*"))
