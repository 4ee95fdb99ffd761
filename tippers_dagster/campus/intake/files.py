"""CSV and Parquet files as batches of rows, in bounded memory, with row numbers.

What is wrong with a *row* is left to the caller, who rejects it with a reason. What is wrong with
the *file* (not there, another format or encoding, a column missing, cut short) is ``BadInput``.
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
"""Called with the bytes read so far and the bytes in all."""

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 1 << 18
CSV_ROW_BYTES = 80
UNPACKED_RATIO = 5
"""Typical compression ratio of CSV, for estimates."""
MOST_UNPACKED_RATIO = 200
LARGEST_SURELY_UNPACKED = 1 << 30
"""Limits on an unpacked CSV: this many times its compressed size, or this many bytes."""
NULL_SPELLINGS = ["", "NULL", "null", r"\N"]
"""What a CSV may write for "no value"; the last is PostgreSQL's COPY."""
SHOWN_CHARACTERS = 500
"""How much of a long value or line is kept in a reject."""


@dataclass(frozen=True)
class Batch:
    """Some rows: ``columns`` has the wanted columns by the names they were asked for by.

    A CSV's columns are all text; a Parquet file's have its own types. ``row_numbers`` (int64)
    counts the file's rows from 1, a CSV's header and its blank lines not counted.
    """

    columns: pa.Table
    row_numbers: NDArray[np.int64]


@dataclass(frozen=True)
class Malformed:
    """A CSV row that has another number of fields than the header."""

    row_number: int
    reason: str
    text: str


@dataclass
class InputFile:
    """An open file of rows. Made by ``open_rows``."""

    path: Path
    size: int
    expected_rows: int
    """Of a CSV a guess by its size."""
    is_csv: bool
    ignored: list[str]
    """Columns of the file that nobody asked for."""
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
            raise BadInput(f"{self.path} changed while it was read.", "Try again when it is whole.")

    @property
    def malformed(self) -> list[Malformed]:
        """The rows that are in no batch. Complete when the batches have been read."""
        return self._malformed


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes.

    Raises
    ------
    BadInput
        When there is no such file, or it cannot be read.
    """
    with _open_binary(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def open_rows(path: Path, columns: Mapping[str, str | None]) -> Iterator[InputFile]:
    """Open a CSV (also compressed with gzip, zstd, bzip2 or lz4) or Parquet file by its content.

    Parameters
    ----------
    path
        The file.
    columns
        Wanted columns; the value is another name that the file may use for one, or ``None``.
        Upper and lower case are not told apart.

    Raises
    ------
    BadInput
        Naming the file, and the column or place where it goes wrong, also while batches are read.
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
            raise BadInput(f"{path} is a folder; a file is expected.")
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}.", "Check the path.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check its rights.") from error


# --- CSV ------------------------------------------------------------------------------------
@contextmanager
def _open_csv(
    path: Path, compression: Compression | None, columns: Mapping[str, str | None]
) -> Iterator[InputFile]:
    malformed: list[Malformed] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"{row.actual_columns} fields, {row.expected_columns} expected"
        # The header is pyarrow's row 1.
        malformed.append(Malformed(row.number - 1, reason, row.text[:SHOWN_CHARACTERS]))
        return "skip"

    def batches(stream: pa.NativeFile) -> Iterator[pa.Table]:
        most = max(LARGEST_SURELY_UNPACKED, MOST_UNPACKED_RATIO * size)
        with _csv_errors(path, compression), _csv_reader(stream, keep, list(chosen)) as reader:
            for number, batch in enumerate(reader):  # a block each
                if compression is not None and number * BLOCK_BYTES > most:
                    raise BadInput(
                        f"{path} has {size:,} bytes, but more than {most:,} when unpacked.",
                        "Is it damaged? If not, unpack it first.",
                    )
                yield pa.table(batch.columns, names=[chosen[n] for n in batch.schema.names])

    chosen, ignored = _choose(path, _csv_header(path, compression), columns)
    # Not a Python file: pyarrow's threads would need the interpreter, also while it shuts down.
    with pa.OSFile(str(path)) as raw:
        stream = raw if compression is None else pa.CompressedInputStream(raw, compression)
        size = raw.size()
        rows = size // CSV_ROW_BYTES * (1 if compression is None else UNPACKED_RATIO)
        yield InputFile(path, size, rows, True, ignored, batches(stream), raw.tell, malformed)


def _csv_header(path: Path, compression: Compression | None) -> list[str]:
    with _csv_errors(path, compression), _unpacked(path, compression) as stream:
        # Not read line by line: a line of a compressed file can have any length.
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
        # Only a serial reader knows the numbers of invalid rows; it takes 1.2 s for 10 M rows.
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
                "Is a quote left open, or is this no CSV file?",
            ) from error
        if "Empty CSV" in message:
            raise BadInput(f"{path} has no rows.", "A header and rows are expected.") from error
        raise BadInput(f"{path} cannot be read as CSV: {message}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error}", "Is it damaged or cut short?") from error


def _first_bad_byte(path: Path, compression: Compression | None) -> str:
    """Where the first byte is that is not UTF-8: line and offset, for a message."""
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
    return f"it ends within a character, line {line}"


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
            f"{path} cannot be read as Parquet: {error}", "Is it damaged or cut short?"
        ) from error


# --- both -----------------------------------------------------------------------------------
def _choose(
    path: Path, header: list[str], columns: Mapping[str, str | None]
) -> tuple[dict[str, str], list[str]]:
    """Which of the file's columns is which wanted one, and those that are not wanted."""
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
            "Columns are separated by commas, and named in the first line."
            if len(header) == 1
            else "Rename its columns; their order does not matter, and others are ignored.",
        )
    return chosen, [theirs for theirs in header if theirs not in chosen]


def _numbers_after(last: int, count: int, skipped: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next ``count`` row numbers after ``last`` that are not ``skipped`` ones."""
    skipped = skipped[skipped > last]
    numbers = np.arange(last + 1, last + 1 + count + len(skipped))
    if len(skipped):
        numbers = numbers[~np.isin(numbers, skipped)]
    return numbers[:count]


def _refuse_line_breaks(path: Path, columns: pa.Table, numbers: NDArray[np.int64]) -> None:
    """An open quote swallows all rows up to the next one: they would vanish without a trace."""
    for name, column in zip(columns.column_names, columns.columns, strict=True):
        # One look at the bytes is a hundred times cheaper than a search per value.
        buffers = [chunk.buffers()[2] for chunk in column.chunks]
        if not any((np.frombuffer(b, np.uint8) == ord("\n")).any() for b in buffers if b):
            continue
        broken = np.flatnonzero(pc.fill_null(pc.match_substring(column, "\n"), False).to_numpy())
        if len(broken):
            value = column[int(broken[0])].as_py()
            raise BadInput(
                f"{path}, row {numbers[broken[0]]}, column {name}: a value with a line break: "
                f"{value[:80]!r}.",
                "Is a quote left open? Values may not have line breaks.",
            )
