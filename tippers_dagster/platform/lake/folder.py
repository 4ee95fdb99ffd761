"""The lake in a local or mounted folder."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, Self
from urllib.parse import quote

import pyarrow as pa

from tippers_dagster.errors import LakeError, LakeFileMissing, LakeFull
from tippers_dagster.platform.disk import disk_full, is_full
from tippers_dagster.platform.lake.backend import Span, Version

Keys = list[str]
FEW_FILES = 16
"""Up to this many files are synced one by one; with more, syncing everything is faster."""
COPIED_AT_ONCE = 1 << 20
"""Bytes."""
STALE_SECONDS = 86_400
"""Age at which a temporary file of another machine counts as left over."""


class LocalFile:
    """An open file, which stays the same when another takes its name."""

    def __init__(self, source: pa.OSFile) -> None:
        self._source = source

    @property
    def source(self) -> pa.OSFile:
        """The file."""
        return self._source

    version = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def prefetch(self, spans: Sequence[Span]) -> None:
        """Nothing to do: reading a part is as cheap as reading a larger one."""


class FolderBackend:
    """Files below ``root``; temporary ones in ``<root>/.tmp``, on the same file system.

    A file is written there and renamed, which is atomic. It is not synced immediately, as that
    costs more than writing it: ``sync`` syncs everything that this process has written since the
    last call.
    """

    remote = False
    batch = 32

    def __init__(self, root: Path, parallel: int = 2) -> None:
        self.root = root
        self.parallel = parallel
        self._tmp = root / ".tmp"
        # Includes the machine's name, as process ids mean nothing on another machine.
        self._host = quote(socket.gethostname(), safe="").replace("~", "%7E")
        self._counter = itertools.count()
        self._unsynced: deque[str] = deque(maxlen=FEW_FILES + 1)
        self._syncing = Lock()

    # --- writing ----------------------------------------------------------------------------
    def put(self, key: str, data: Any) -> None:
        """Write a whole file."""
        temporary = self._temporary_path()
        try:
            with self._open_temporary(temporary) as file:
                file.write(data)
            self._publish(temporary, key)
        except OSError as error:
            _remove(temporary)
            raise self._failed("written", key, error) from error

    @contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """A file that is published when the block ends without error."""
        temporary = self._temporary_path()
        try:
            file = self._open_temporary(temporary)
        except OSError as error:
            raise self._failed("written", key, error) from error
        try:
            with file:
                yield file
        except BaseException as error:
            _remove(temporary)
            if isinstance(error, OSError) and is_full(error):
                raise self._failed("written", key, error) from error
            raise
        try:
            self._publish(temporary, key)
        except OSError as error:
            _remove(temporary)
            raise self._failed("written", key, error) from error

    def _temporary_path(self) -> str:
        return f"{self._tmp}/{self._host}~{os.getpid()}~{id(self):x}-{next(self._counter)}"

    def _open_temporary(self, temporary: str) -> IO[bytes]:
        try:
            return open(temporary, "xb")
        except FileNotFoundError:
            self._tmp.mkdir(parents=True, exist_ok=True)
            return open(temporary, "xb")

    def _publish(self, temporary: str, key: str) -> None:
        target = f"{self.root}/{key}"
        try:
            os.replace(temporary, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(temporary, target)
        with self._syncing:
            self._unsynced.append(target)

    # --- reading ----------------------------------------------------------------------------
    def get(self, key: str) -> bytes:
        """A whole file."""
        try:
            with open(f"{self.root}/{key}", "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            raise self._missing(key) from None
        except OSError as error:
            raise self._failed("read", key, error) from error

    def copy_to(self, key: str, target: IO[bytes]) -> None:
        """Write a file's content to another one."""
        try:
            with open(f"{self.root}/{key}", "rb") as file:
                shutil.copyfileobj(file, target, COPIED_AT_ONCE)
        except FileNotFoundError:
            raise self._missing(key) from None
        except OSError as error:
            if is_full(error):
                raise  # the other file's disk
            raise self._failed("read", key, error) from error

    def open(self, key: str, known: Version | None = None) -> LocalFile:
        """A file to read parts of."""
        try:
            return LocalFile(pa.OSFile(f"{self.root}/{key}"))
        except FileNotFoundError:
            raise self._missing(key) from None
        except OSError as error:
            raise self._failed("read", key, error) from error

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        return os.path.isfile(f"{self.root}/{key}")

    def list(self, prefix: str) -> Keys:
        """The keys below a folder, sorted."""
        top = os.path.join(self.root, prefix)
        skip = len(os.path.join(self.root, ""))
        keys: Keys = []
        for folder, folders, files in os.walk(top, onerror=self._listing_failed):
            if folder.rstrip("/") == str(self.root):
                folders[:] = [name for name in folders if name != ".tmp"]
            keys.extend(os.path.join(folder, name)[skip:] for name in files)
        return sorted(keys)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """The keys and sizes of all files; one that is deleted meanwhile is left out."""
        folders = [""]
        while folders:
            prefix = folders.pop()
            try:
                with os.scandir(f"{self.root}/{prefix}") as entries:
                    for entry in entries:
                        key = f"{prefix}{entry.name}"
                        if not entry.is_dir(follow_symlinks=False):
                            with suppress(FileNotFoundError):
                                yield key, entry.stat(follow_symlinks=False).st_size
                        elif key != ".tmp":
                            folders.append(f"{key}/")
            except OSError as error:
                self._listing_failed(error)

    def contents(self, prefix: str) -> dict[str, Version]:
        """The versions of all files below a folder: a replaced file has another inode or time."""
        found: dict[str, Version] = {}
        for key in self.list(prefix):
            with suppress(FileNotFoundError):
                status = os.stat(f"{self.root}/{key}")
                found[key] = f"{status.st_ino}:{status.st_mtime_ns}", status.st_size
        return found

    # --- removing ---------------------------------------------------------------------------
    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        try:
            os.unlink(f"{self.root}/{key}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("deleted", key, error) from error

    def delete_prefix(self, prefix: str) -> None:
        """Remove a folder, if it is there."""
        temporary = self._temporary_path()
        try:
            self._tmp.mkdir(parents=True, exist_ok=True)
            # Renamed first, so readers see the whole folder or nothing.
            os.rename(self.root / prefix, temporary)
            shutil.rmtree(temporary)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("deleted", prefix, error) from error

    def clean(self) -> int:
        """Remove temporary files of dead processes, and those of other machines after a day."""
        removed = 0
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._tmp) as entries:
            for entry in entries:
                if self._left_over(entry):
                    _remove(entry.path)
                    removed += 1
        return removed

    def _left_over(self, entry: os.DirEntry[str]) -> bool:
        host, _, rest = entry.name.partition("~")
        process = rest.partition("~")[0]
        if host == self._host and process.isdigit():
            return not _alive(int(process))
        with suppress(FileNotFoundError):
            return time.time() - entry.stat().st_mtime > STALE_SECONDS
        return False

    # --- the rest ---------------------------------------------------------------------------
    def uri(self, key: str) -> str:
        """Where a file is."""
        return str(self.root / key)

    def location(self) -> dict[str, Any]:
        """The folder."""
        return {"root": str(self.root)}

    def sync(self) -> None:
        """Sync everything written: a few files one by one, otherwise all file systems."""
        with self._syncing:
            written = list(self._unsynced)
            self._unsynced.clear()
        if len(written) > FEW_FILES:
            os.sync()
            return
        folders = {os.path.dirname(target) for target in written}
        for path in [*written, *folders]:
            with suppress(FileNotFoundError):  # deleted since
                _force(path)

    def _missing(self, key: str) -> LakeFileMissing:
        return LakeFileMissing(
            f"{key} is not in the lake ({self.root})",
            "Materialise it, or check TIPPERS_LAKE_URL and TIPPERS_HOME.",
        )

    def _failed(self, verb: str, key: str, error: OSError) -> LakeError:
        if is_full(error):
            return disk_full(self.root, LakeFull, "TIPPERS_LAKE_URL")
        return LakeError(
            f"{key or 'the lake'} could not be {verb} in {self.root}: {error.strerror}",
            "Check that the folder is writable and has free space, or set TIPPERS_LAKE_URL.",
        )

    def _listing_failed(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise self._failed("listed", "", error) from error


def _force(path: str) -> None:
    """Sync a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
