"""Copies the lake's files to a backup, and back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tippers_dagster.backup.folder import BLOCK, Backup, Checked, Sink, create
from tippers_dagster.backup.manifest import BackupError, FileCopy
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.backend import Version


class LakeCopy:
    """A copy of a lake that is brought up to date as often as necessary.

    Parameters
    ----------
    name
        The folder of the copy in the backup.
    """

    def __init__(self, lake: Lake, folder: Path, name: str) -> None:
        self._lake, self._folder, self._name = lake, folder, name
        self._copied: dict[str, tuple[Version, FileCopy]] = {}

    def size(self) -> int:
        """Bytes of all files of the lake now."""
        return sum(size for _, size in self._lake.backend.contents("").values())

    def refresh(self) -> None:
        """Copy files that were written since, and drop those that were deleted.

        A file that is replaced meanwhile is copied whole, before or after. It is copied again by
        the next call, which finds another version than was listed here.
        """
        listed = self._lake.backend.contents("")
        for key in self._copied.keys() - listed.keys():
            self._drop(key)
        new = {
            key: version
            for key, version in listed.items()
            if key not in self._copied or self._copied[key][0] != version
        }
        for key in new.keys() & self._copied.keys():
            self._drop(key)
        with ThreadPoolExecutor(self._lake.backend.parallel, "backup") as pool:
            for key, copy in zip(new, pool.map(self._copy, new), strict=True):
                if copy is not None:
                    self._copied[key] = (new[key], copy)

    def files(self) -> list[FileCopy]:
        """The copied files."""
        return [copy for _, (_, copy) in sorted(self._copied.items())]

    def _copy(self, key: str) -> FileCopy | None:
        name = f"{self._name}/{key}"
        with create(self._folder, name) as target:
            sink = Sink(target)
            try:
                with io.BufferedWriter(sink, BLOCK) as buffered:
                    self._lake.backend.copy_to(key, buffered)
            except LakeFileMissing:
                missing = True
            else:
                missing = False
        if missing:  # deleted since it was listed
            (self._folder / name).unlink()
            return None
        return FileCopy(key=key, bytes=sink.bytes, sha256=sink.sha256)

    def _drop(self, key: str) -> None:
        del self._copied[key]
        (self._folder / self._name / key).unlink()


def copy_back(lake: Lake, backup: Backup, name: str, files: Iterable[FileCopy]) -> None:
    """Write the files of a backup to a lake."""

    def write(copy: FileCopy) -> None:
        path = f"{name}/{copy.key}"
        with backup.open(path) as file, lake.backend.create(copy.key) as target:
            for block in _blocks(Checked(file, path, copy.bytes, copy.sha256)):
                target.write(block)

    with ThreadPoolExecutor(lake.backend.parallel, "restore") as pool:
        for _ in pool.map(write, files):
            pass
    lake.sync()


def check_copied(lake: Lake, files: Iterable[FileCopy]) -> None:
    """Read all files of a lake again, and compare them with the backup.

    Raises
    ------
    BackupError
        Names the first file that differs.
    """

    def check(copy: FileCopy) -> None:
        sink = Sink(_Nowhere())  # type: ignore[arg-type]
        lake.backend.copy_to(copy.key, sink)  # type: ignore[arg-type]
        if sink.sha256 != copy.sha256:
            raise BackupError(
                f"{lake.uri(copy.key)} is not what was written to it.",
                "Check the disk or bucket, and restore into a new home and new databases.",
            )

    with ThreadPoolExecutor(lake.backend.parallel, "restore") as pool:
        for _ in pool.map(check, files):
            pass


class _Nowhere:
    write: Callable[[object], None] = staticmethod(lambda _: None)


def _blocks(file: io.RawIOBase) -> Iterator[bytes]:
    buffer = bytearray(BLOCK)
    while count := file.readinto(buffer):
        yield bytes(memoryview(buffer)[:count])
