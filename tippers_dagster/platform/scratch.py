"""Temporary folders, removed even after their process was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tippers_dagster.platform.disk import reporting_full


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A folder in ``root``, removed when the block ends; also removes those of killed processes.

    Raises
    ------
    DiskFull
        When the disk is full, also within the block.
    """
    with reporting_full(root):
        root.mkdir(parents=True, exist_ok=True)
        for entry in root.iterdir():
            process = entry.name.partition("-")[0]
            if process.isdigit() and not psutil.pid_exists(int(process)):
                shutil.rmtree(entry, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=root) as folder:
            yield Path(folder)
