"""Temporary folders, cleaned up even after killed processes."""

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
    """A folder below ``root`` that is removed when the block ends.

    Folders of killed processes are removed first.

    Raises
    ------
    DiskFull
        Also replaces an OSError of that kind in the block.
    """
    with reporting_full(root):
        root.mkdir(parents=True, exist_ok=True)
        for left in root.iterdir():
            process = left.name.partition("-")[0]
            if process.isdigit() and not psutil.pid_exists(int(process)):
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=root) as folder:
            yield Path(folder)
