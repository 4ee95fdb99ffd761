"""A few kills of the long soak (`make soak`), always the same ones.

It waits for what it kills to come back, for minutes, so it needs a word: ``TIPPERS_TEST_SOAK=1``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sql.definitions import bare_project

FAULTS = "run,database,daemon,definitions,paused definitions,connections"


@pytest.mark.slow
@pytest.mark.skipif("TIPPERS_TEST_SOAK" not in os.environ, reason="set TIPPERS_TEST_SOAK=1")
def test_what_is_killed_at_random_ends_as_if_undisturbed(tmp_path: Path) -> None:
    project = bare_project(tmp_path / "project")
    options = ["--faults", FAULTS, "--pause", "20", "--people", "60", "--weeks", "2", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options],
        env={**os.environ, "TIPPERS_DBT_PROJECT": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
