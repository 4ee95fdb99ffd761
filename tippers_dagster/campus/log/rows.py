"""Batches of rows of a file, whatever its format, and what all formats have in common.

Problems of a *row* are left to the caller, who rejects it with a reason. Problems of the *file*
(missing, wrong format or encoding, truncated) raise ``BadInput``.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import UTF8, Compression

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the size of the file."""

BLOCK_BYTES = 8 << 20
"""Bytes of text read at once; no line may be longer."""
MAX_UNPACKED_RATIO = 200
MIN_UNPACKED_LIMIT = 1 << 30
"""An unpacked file may have this many times its compressed size, or this many bytes."""
MAX_VALUE_CHARACTERS = 500
"""Longer values and lines of rejected rows are cut."""


@dataclass(frozen=True)
class Batch:
    """Some rows: ``columns`` has the requested columns by their requested names.

    Columns of a CSV are all text; those of a Parquet file keep their types. ``row_numbers`` (int64)
    start from 1, and do not count the header and blank lines of a CSV.
    """

    columns: pa.Table
    row_numbers: NDArray[np.int64]


@dataclass(frozen=True)
class Malformed:
    """A row that cannot be taken apart, such as one with more fields than the header."""

    row_number: int
    reason: str
    text: str


@dataclass(frozen=True)
class TextFile:
    """A file of text: how it is compressed and encoded, and what to do if it is not so."""

    path: Path
    compression: Compression | None = None
    encoding: str = UTF8
    hint: str = "Save it as UTF-8."
    """Shown when the encoding is wrong."""

    @contextmanager
    def opened(self) -> Iterator[tuple[pa.NativeFile, Callable[[], int]]]:
        """The content as UTF-8, and the position in the file.

        Not a Python file: pyarrow's threads would need the interpreter, even during its shutdown.
        """
        with pa.OSFile(str(self.path)) as raw:
            stream = raw
            if self.compression is not None:
                stream = pa.CompressedInputStream(raw, self.compression)
            if self.encoding != UTF8:
                stream = pa.transcoding_input_stream(stream, self.encoding, UTF8)
            yield stream, raw.tell

    def head(self, size: int = BLOCK_BYTES) -> bytes:
        """The first bytes of the content, as UTF-8: never a line, which can have any length."""
        with self.errors(), self.opened() as (stream, _):
            return stream.read(size)

    @property
    def unpacked_limit(self) -> float:
        """How many bytes of content there may be, as UTF-8."""
        if self.compression is None:
            return float("inf")
        return max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_RATIO * os.path.getsize(self.path))

    def check_unpacked(self, size: int) -> None:
        """Refuse a small file that becomes a huge one.

        Raises
        ------
        BadInput
            When ``size`` bytes of content are more than there may be.
        """
        if size > self.unpacked_limit:
            raise BadInput(
                f"{self.path} has {os.path.getsize(self.path):,} bytes, but more than "
                f"{int(self.unpacked_limit):,} when unpacked.",
                "Is it damaged? If not, unpack it first.",
            )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Report wrong encodings and damaged files as ``BadInput``."""
        try:
            yield
        except (UnicodeDecodeError, pa.ArrowInvalid) as error:
            if self.encoding == UTF8 and (
                isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
            ):
                raise self._not_utf8() from error
            if isinstance(error, UnicodeDecodeError):
                raise BadInput(f"{self.path} is not {self.encoding}: {error}.", self.hint) from None
            raise
        except OSError as error:
            raise BadInput(
                f"{self.path} cannot be read: {error}", "Is it damaged or truncated?"
            ) from error

    def _not_utf8(self) -> BadInput:
        return BadInput(f"{self.path} is not UTF-8: {self._first_bad_byte()}.", self.hint)

    def _first_bad_byte(self) -> str:
        """The position of the first byte that is not UTF-8, for a message."""
        offset, line, rest = 0, 1, b""
        with self.opened() as (stream, _):
            while block := stream.read(BLOCK_BYTES):
                data = rest + block
                try:
                    _, used = codecs.utf_8_decode(data, "strict", False)
                except UnicodeDecodeError as error:
                    line += data.count(b"\n", 0, error.start)
                    return (
                        f"byte 0x{data[error.start]:02x} at offset {offset + error.start}, "
                        f"line {line}"
                    )
                line += data.count(b"\n", 0, used)
                offset += used
                rest = data[used:]
        return f"it ends in the middle of a character, line {line}"


def open_binary(path: Path) -> io.FileIO:
    """A file's bytes.

    Raises
    ------
    BadInput
        When it does not exist, is a folder, or cannot be read.
    """
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder, not a file.")
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}.", "Check the path.") from None
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def watched(
    path: Path, batches: Iterator[Batch], position: Callable[[], int], progress: Progress | None
) -> Iterator[Batch]:
    """The batches, with progress reported.

    Raises
    ------
    BadInput
        When the file has changed when all are read.
    """
    before = os.stat(path)
    for batch in batches:
        yield batch
        if progress is not None:
            progress(min(position(), before.st_size), before.st_size)
    after = os.stat(path)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BadInput(f"{path} changed while it was read.", "Try again when it is complete.")
