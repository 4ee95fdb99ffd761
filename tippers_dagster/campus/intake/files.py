"""Reads CSV and Parquet files as batches of rows with row numbers, in bounded memory.

Problems of a *row* are left to the caller, who rejects it with a reason. Problems of the *file*
(missing, wrong format or encoding, a missing column, truncated) raise ``BadInput``.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import HEAD_BYTES, Compression, table_format
from tippers_dagster.platform.small_tables import column_names

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the size of the file."""

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 1 << 18
CSV_ROW_BYTES = 80
UNPACKED_RATIO = 5
"""Typical compression ratio of CSV, for estimates."""
MAX_UNPACKED_RATIO = 200
MIN_UNPACKED_LIMIT = 1 << 30
"""An unpacked CSV may have this many times its compressed size, or this many bytes."""
NULL_SPELLINGS = ["", "NULL", "null", r"\N"]
"""Spellings of a missing value in CSV; the last is that of PostgreSQL's COPY."""
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
    """A CSV row whose number of fields differs from the header's."""

    row_number: int
    reason: str
    text: str


@dataclass
class InputFile:
    """An open file of rows, from ``open_rows``."""

    path: Path
    size: int
    expected_rows: int
    """For a CSV, an estimate from its size."""
    is_csv: bool
    ignored: list[str]
    """Columns of the file that were not requested."""
    _batches: Iterator[pa.Table]
    _position: Callable[[], int]
    _malformed: list[Malformed] = field(default_factory=list)

    def batches(self, progress: Progress | None = None) -> Iterator[Batch]:
        """The rows, in the file's order."""
        before = os.stat(self.path)
        last = 0
        for columns in self._batches:
            bad = np.array([row.row_number for row in self._malformed], np.int64)
            numbers = _numbers_after(last, columns.num_rows, bad)
            last = int(numbers[-1]) if len(numbers) else last
            if self.is_csv:
                _refuse_line_breaks(self.path, columns, numbers)
            yield Batch(columns, numbers)
            if progress is not None:
                progress(min(self._position(), self.size), self.size)
        after = os.stat(self.path)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise BadInput(
                f"{self.path} changed while it was read.", "Try again when it is complete."
            )

    @property
    def malformed(self) -> list[Malformed]:
        """The malformed rows, which are in no batch; complete once all batches have been read."""
        return self._malformed


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes.

    Raises
    ------
    BadInput
        When the file does not exist or cannot be read.
    """
    with _open_binary(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def open_rows(path: Path, columns: Mapping[str, str | None]) -> Iterator[InputFile]:
    """Open a CSV file, which may be compressed with gzip, zstd, bzip2 or lz4, or a Parquet file.

    Parameters
    ----------
    path
        The file; its format is detected from its content.
    columns
        Requested columns; the value is another name that the file may use for the column, or
        ``None``. Upper and lower case are equal.

    Raises
    ------
    BadInput
        Names the file and the column or position of the problem; also raised while batches are
        read.
    """
    with _open_binary(path) as stream:
        found = table_format(stream.read(HEAD_BYTES), path)
    if not found.is_csv:
        yield _open_parquet(path, columns)
        return
    with _open_csv(path, found.compression, columns) as file:
        yield file


def _open_binary(path: Path) -> io.FileIO:
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


# --- CSV ------------------------------------------------------------------------------------
@contextmanager
def _open_csv(
    path: Path, compression: Compression | None, columns: Mapping[str, str | None]
) -> Iterator[InputFile]:
    malformed: list[Malformed] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"{row.actual_columns} fields instead of {row.expected_columns}"
        # The header is pyarrow's row 1.
        malformed.append(Malformed(row.number - 1, reason, row.text[:MAX_VALUE_CHARACTERS]))
        return "skip"

    def batches(stream: pa.NativeFile) -> Iterator[pa.Table]:
        limit = max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_RATIO * size)
        with _csv_errors(path, compression), _csv_reader(stream, keep, list(chosen)) as reader:
            for number, batch in enumerate(reader):  # a block each
                if compression is not None and number * BLOCK_BYTES > limit:
                    raise BadInput(
                        f"{path} has {size:,} bytes, but more than {limit:,} when unpacked.",
                        "Is it damaged? If not, unpack it first.",
                    )
                yield pa.table(batch.columns, names=[chosen[n] for n in batch.schema.names])

    chosen, ignored = _choose(path, _csv_header(path, compression), columns)
    # Not a Python file: pyarrow's threads would need the interpreter, even during its shutdown.
    with pa.OSFile(str(path)) as raw:
        stream = raw if compression is None else pa.CompressedInputStream(raw, compression)
        size = raw.size()
        rows = size // CSV_ROW_BYTES * (1 if compression is None else UNPACKED_RATIO)
        yield InputFile(path, size, rows, True, ignored, batches(stream), raw.tell, malformed)


def _csv_header(path: Path, compression: Compression | None) -> list[str]:
    with _csv_errors(path, compression), _unpacked(path, compression) as stream:
        # Reads a block, not a line: a line of a compressed file can have any length.
        text = io.TextIOWrapper(io.BytesIO(stream.read(BLOCK_BYTES)), "utf-8-sig", newline="")
        return next((fields for fields in csv.reader(text) if fields), [])


def _unpacked(path: Path, compression: Compression | None) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=compression)


def _csv_reader(
    stream: pa.NativeFile,
    on_invalid: Callable[[pyarrow.csv.InvalidRow], str],
    columns: list[str],
) -> pyarrow.csv.CSVStreamingReader:
    return pyarrow.csv.open_csv(
        stream,
        # Only the serial reader numbers invalid rows; it takes 1.2 s for 10 million rows.
        read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(
            newlines_in_values=True, invalid_row_handler=on_invalid
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=columns,
            strings_can_be_null=True,
            null_values=NULL_SPELLINGS,
        ),
    )


@contextmanager
def _csv_errors(path: Path, compression: Compression | None) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error, EOFError) as error:
        message = str(error)
        if isinstance(error, UnicodeDecodeError) or "UTF8" in message:
            raise BadInput(
                f"{path} is not UTF-8: {_first_bad_byte(path, compression)}.",
                "Save it as UTF-8.",
            ) from error
        if "straddling" in message:
            raise BadInput(
                f"{path} has a row of more than {BLOCK_BYTES >> 20} MiB.",
                "Is a quote left open, or is this not a CSV file?",
            ) from error
        if "Empty CSV" in message:
            raise BadInput(f"{path} has no rows.", "Expected a header line and rows.") from error
        raise BadInput(f"{path} cannot be read as CSV: {message}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error}", "Is it damaged or truncated?") from error


def _first_bad_byte(path: Path, compression: Compression | None) -> str:
    """The position of the first byte that is not UTF-8, for a message."""
    offset, line, rest = 0, 1, b""
    with _unpacked(path, compression) as stream:
        while block := stream.read(BLOCK_BYTES):
            data = rest + block
            try:
                codecs.utf_8_decode(data, "strict", False)
            except UnicodeDecodeError as error:
                line += data.count(b"\n", 0, error.start)
                return (
                    f"byte 0x{data[error.start]:02x} at offset {offset + error.start}, line {line}"
                )
            _, used = codecs.utf_8_decode(data, "strict", False)
            line += data.count(b"\n", 0, used)
            offset += used
            rest = data[used:]
    return f"it ends in the middle of a character, line {line}"


# --- Parquet --------------------------------------------------------------------------------
def _open_parquet(path: Path, columns: Mapping[str, str | None]) -> InputFile:
    with _parquet_errors(path):
        file = pq.ParquetFile(path)
        chosen, ignored = _choose(path, file.schema_arrow.names, columns)
    rows, size, done = file.metadata.num_rows, os.path.getsize(path), 0

    def batches() -> Iterator[pa.Table]:
        nonlocal done
        with _parquet_errors(path):
            for batch in file.iter_batches(BATCH_ROWS, columns=list(chosen)):
                done += batch.num_rows
                yield pa.table(batch.columns, names=[chosen[n] for n in batch.schema.names])

    return InputFile(
        path, size, rows, False, ignored, batches(), lambda: size * done // max(rows, 1)
    )


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise BadInput(
            f"{path} has a column whose name is not UTF-8.", "Write the file again without it."
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            f"{path} cannot be read as Parquet: {error}", "Is it damaged or truncated?"
        ) from error


# --- both -----------------------------------------------------------------------------------
def _choose(
    path: Path, header: list[str], columns: Mapping[str, str | None]
) -> tuple[dict[str, str], list[str]]:
    """The requested name of each of the file's columns, and the columns that are not requested."""
    folded = [name.strip().casefold() for name in header]
    chosen: dict[str, str] = {}
    missing = []
    for wanted, other in columns.items():
        names = {wanted.casefold(), (other or wanted).strip().casefold()}
        found = [theirs for theirs, low in zip(header, folded, strict=True) if low in names]
        if len(found) > 1:
            raise BadInput(f"{path} has the column {wanted} {len(found)} times.", "Keep one.")
        if found:
            chosen[found[0]] = wanted
        else:
            missing.append(wanted)
    if missing:
        raise BadInput(
            f"{path} has no column {', '.join(missing)}; its columns are: {column_names(header)}.",
            "The first line must contain the column names, separated by commas."
            if len(header) == 1
            else "Rename its columns. Their order does not matter, and other columns are ignored.",
        )
    return chosen, [theirs for theirs in header if theirs not in chosen]


def _numbers_after(last: int, count: int, skipped: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next ``count`` row numbers after ``last``, without ``skipped`` ones."""
    skipped = skipped[skipped > last]
    numbers = np.arange(last + 1, last + 1 + count + len(skipped))
    if len(skipped):
        numbers = numbers[~np.isin(numbers, skipped)]
    return numbers[:count]


def _refuse_line_breaks(path: Path, columns: pa.Table, numbers: NDArray[np.int64]) -> None:
    """Reject line breaks in values: an open quote would swallow all rows up to the next quote."""
    for name, column in zip(columns.column_names, columns.columns, strict=True):
        # Checking the bytes at once is a hundred times cheaper than a search per value.
        buffers = [chunk.buffers()[2] for chunk in column.chunks]
        if not any((np.frombuffer(b, np.uint8) == ord("\n")).any() for b in buffers if b):
            continue
        broken = np.flatnonzero(pc.fill_null(pc.match_substring(column, "\n"), False).to_numpy())
        if len(broken):
            value = column[int(broken[0])].as_py()
            raise BadInput(
                f"{path}, row {numbers[broken[0]]}, column {name}: a value with a line break: "
                f"{value[:80]!r}.",
                "Is a quote left open? Values must not contain line breaks.",
            )
