"""A short soak, with a few kills."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_random_kills_lose_nothing() -> None:
    options = ["--victims", "run,database,daemon", "--people", "150", "--weeks", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
