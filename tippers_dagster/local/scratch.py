"""Folders for what a process needs while it works, and nobody after it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tippers_dagster.local.disk import reporting_full


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A folder below ``root`` that is removed when the block ends.

    What killed processes have left there is removed first.

    Raises
    ------
    DiskFull
        Also in the place of an OSError of the block that says so.
    """
    with reporting_full(root):
        root.mkdir(parents=True, exist_ok=True)
        for left in root.iterdir():
            process = left.name.partition("-")[0]
            if process.isdigit() and not psutil.pid_exists(int(process)):
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=root) as folder:
            yield Path(folder)
