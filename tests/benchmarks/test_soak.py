"""A few kills of the long soak (`make soak`), always the same ones."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_what_is_killed_at_random_ends_as_if_undisturbed() -> None:
    options = ["--victims", "run,database,daemon", "--people", "60", "--weeks", "2", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
