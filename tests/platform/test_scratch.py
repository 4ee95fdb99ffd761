"""Temporary folders: removed at the end, also those of killed processes, not of running ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tippers_dagster.platform.scratch import scratch_folder

DIES = """
import os, sys
from pathlib import Path
from tippers_dagster.platform.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "spilled").write_text("rows")
    os._exit(9)
"""


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    process = subprocess.run([sys.executable, "-c", DIES, str(root)], check=False)
    assert process.returncode == 9
    assert len(list(root.iterdir())) == 1
    (root / f"{os.getppid()}-alive").mkdir()
    (root / "somebody's own").mkdir()
    with scratch_folder(root) as mine, scratch_folder(root) as another:
        assert {p.name for p in root.iterdir()} == {
            mine.name,
            another.name,
            f"{os.getppid()}-alive",
            "somebody's own",
        }
    assert not mine.exists()
