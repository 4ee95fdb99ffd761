import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tippers_dagster.errors import LakeError
from tippers_dagster.platform.lake import Lake, folder, open_lake
from tippers_dagster.platform.lake.folder import STALE_SECONDS, FolderBackend
from tippers_dagster.settings import Settings

CHILD = """
import sys, time
import pyarrow as pa
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings
lake = open_lake(Settings(lake_url=sys.argv[1]))
table = pa.table({"x": pa.array(range(100_000), pa.int64())})
with lake.open_writer("big.parquet", table.schema) as writer:
    writer.write(table)
    print("writing", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_leaves_nothing_visible(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    backend = FolderBackend(folder)
    assert backend.clean() == 0, "the file of a live process is not left over"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert backend.list("") == []
    assert not backend.exists("big.parquet")
    assert len(list((folder / ".tmp").iterdir())) == 1
    assert backend.clean() == 1
    assert list((folder / ".tmp").iterdir()) == []


def test_opening_cleans(tmp_path: Path) -> None:
    (tmp_path / ".tmp").mkdir()
    old = tmp_path / ".tmp" / "other-host~1~5-0"
    new = tmp_path / ".tmp" / "other-host~1~5-1"
    folder = tmp_path / ".tmp" / "other-host~1~5-2"
    folder.mkdir()
    (folder / "x").touch()
    for path in (old, new):
        path.touch()
    long_ago = time.time() - STALE_SECONDS - 10
    for path in (old, folder):
        os.utime(path, (long_ago, long_ago))
    open_lake(Settings(lake_url=str(tmp_path)))
    assert list((tmp_path / ".tmp").iterdir()) == [new]


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    lake = Lake(FolderBackend(tmp_path / "lake"))
    with pytest.raises(LakeError, match=r"a/b\.bin could not be written"):
        lake.write_bytes("a/b.bin", b"x")


def test_a_name_too_long_is_an_error(tmp_path: Path) -> None:
    lake = Lake(FolderBackend(tmp_path))
    with pytest.raises(LakeError, match="too long"):
        lake.write_bytes("x" * 300, b"x")
    assert not list((tmp_path / ".tmp").iterdir())


def test_a_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    lake = Lake(FolderBackend(tmp_path))
    (tmp_path / "taken" / "inner").mkdir(parents=True)
    with pytest.raises(LakeError, match="taken"):
        lake.write_bytes("taken", b"x")
    assert not list((tmp_path / ".tmp").iterdir())


def test_syncing_forces_few_files_one_by_one_and_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    every: list[bool] = []
    monkeypatch.setattr(folder, "_force", forced.append)
    monkeypatch.setattr(os, "sync", lambda: every.append(True))
    lake = FolderBackend(tmp_path)
    lake.put("a/one", b"1")
    lake.put("a/two", b"2")
    lake.sync()
    assert sorted(forced) == [str(tmp_path / p) for p in ("a", "a/one", "a/two")]
    lake.sync()
    assert len(forced) == 3, "nothing has been written since"
    for i in range(folder.FEW_FILES + 1):
        lake.put(f"b/{i}", b"")
    lake.sync()
    assert (len(forced), every) == (3, [True])


def test_syncing_skips_deleted_files(tmp_path: Path) -> None:
    lake = FolderBackend(tmp_path)
    lake.put("a/one", b"1")
    lake.delete("a/one")
    lake.sync()
