"""The folder of a backup: written whole or not at all, and read without trusting it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tippers_dagster.backup.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    BackupError,
    Manifest,
    parse_manifest,
)
from tippers_dagster.platform.disk import reporting_full

BLOCK = 1 << 20


@contextmanager
def new_folder(target: Path, needed: int) -> Iterator[Path]:
    """A folder to write to, which gets its name when the block ends without error.

    Parameters
    ----------
    needed
        Bytes that will be written, about.

    Raises
    ------
    BackupError
        When there is something of that name, or not enough space.
    """
    draft = target.with_name(f".{target.name}.partial")
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} exists.", "Name a folder that does not exist yet.")
    if not target.parent.is_dir():
        raise BackupError(f"There is no folder {target.parent}.", "Create it first.")
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise BackupError(
            f"The disk of {target.parent} has {free >> 20:,} MB free; the backup needs about "
            f"{needed >> 20:,} MB.",
            "Free some space, or name a folder on a larger disk.",
        )
    try:
        draft.mkdir(mode=0o700)
    except FileExistsError:
        raise BackupError(
            f"{draft} exists: another backup is being written there, or one was killed.",
            "If none is running, delete that folder.",
        ) from None
    try:
        with reporting_full(target.parent, "FOLDER"):
            yield draft
            _sync(draft)
            os.rename(draft, target)
            _sync_one(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(folder: Path, name: str) -> IO[bytes]:
    """A new file of a backup, readable by its owner only."""
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class Sink(io.RawIOBase):
    """Counts and hashes what is written to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._state = file, hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        self._file.write(data)
        self._state.update(data)
        self.bytes += memoryview(data).nbytes
        return memoryview(data).nbytes

    @property
    def sha256(self) -> str:
        """Of everything written."""
        return self._state.hexdigest()


class RowSink(io.RawIOBase):
    """Compresses rows of COPY's text format, and counts them: every line break ends one."""

    def __init__(self, sink: Sink) -> None:
        self._zipped = pa.CompressedOutputStream(pa.PythonFile(sink, "w"), "zstd")
        self.rows = self.text_bytes = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        block = bytes(data)
        self.rows += block.count(b"\n")
        self.text_bytes += len(block)
        self._zipped.write(block)
        return len(block)

    def close(self) -> None:
        """End the compressed stream."""
        if not self.closed:
            self._zipped.close()
        super().close()


# --- reading ------------------------------------------------------------------------------------
class Backup:
    """A finished backup, which may be damaged or hostile."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise BackupError(f"There is no backup {folder}.", "Name the folder of a backup.")
        self._folder = folder.resolve()

    def manifest(self) -> Manifest:
        """The manifest, checked."""
        with self.open(MANIFEST) as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise BackupError(f"{MANIFEST} of the backup is too large.", "Use another backup.")
        return parse_manifest(text)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self._folder / name).exists()

    def open(self, name: str) -> IO[bytes]:
        """A file of the backup.

        Raises
        ------
        BackupError
            When it is missing, or is not a plain file in the backup's own folder.
        """
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise BackupError(
                f"{name} of the backup cannot be read: {error.strerror}.", "Use another backup."
            ) from None
        file = os.fdopen(descriptor, "rb")
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not plain or path.resolve() != path:
            file.close()
            raise BackupError(
                f"{name} of the backup is a link or a special file.", "Use another backup."
            )
        return file

    def check(self, manifest: Manifest) -> None:
        """Check the size and SHA-256 of every file.

        Raises
        ------
        BackupError
            Names the first file that differs from the manifest.
        """
        for name, (size, sha256) in manifest.files.items():
            with self.open(name) as file:
                if os.fstat(file.fileno()).st_size != size:
                    raise _differs(name)
                _drain(Checked(file, name, size, sha256))


class Checked(io.RawIOBase):
    """A file whose size and SHA-256 are checked when its end is read."""

    def __init__(self, file: IO[bytes], name: str, size: int, sha256: str) -> None:
        self._file, self._name, self._left, self._sha256 = file, name, size, sha256
        self._state = hashlib.sha256()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, target: Any) -> int:
        """Read the next bytes."""
        view = memoryview(target).cast("B")
        count = self._file.readinto(view)  # type: ignore[attr-defined]
        self._state.update(view[:count])
        self._left -= count
        if self._left < 0 or (not count and (self._left or self._hash() != self._sha256)):
            raise _differs(self._name)
        return count

    def _hash(self) -> str:
        return self._state.hexdigest()


class RowSource(io.RawIOBase):
    """The rows of COPY's text format in a compressed file; never more than it should hold.

    ``error``: why reading failed, as PostgreSQL's driver does not pass it on.
    """

    error: BackupError | None = None

    def __init__(self, checked: Checked, name: str, text_bytes: int) -> None:
        self._checked, self._name, self._left = checked, name, text_bytes
        self._text = pa.CompressedInputStream(
            pa.PythonFile(io.BufferedReader(checked, BLOCK)), "zstd"
        )

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, target: Any) -> int:
        """Read the next bytes."""
        view = memoryview(target).cast("B")
        try:
            block = self._next(len(view))
        except BackupError as error:
            self.error = error
            raise
        view[: len(block)] = block
        return len(block)

    def _next(self, length: int) -> bytes:
        try:
            block: bytes = self._text.read(length)
        except OSError as error:  # pyarrow's own, of damaged data
            raise _differs(self._name) from error
        self._left -= len(block)
        if self._left < 0 or (not block and self._left):
            raise _differs(self._name)
        return block

    def finish(self) -> None:
        """Check that nothing is left, and the hash of the whole file."""
        if self._left:
            raise _differs(self._name)
        _drain(self._checked)


def _drain(file: io.RawIOBase) -> None:
    buffer = bytearray(BLOCK)
    while file.readinto(buffer):
        pass


def _differs(name: str) -> BackupError:
    return BackupError(
        f"{name} of the backup is not what its manifest says: it is damaged or was changed.",
        "Nothing was restored from it. Use another backup.",
    )
