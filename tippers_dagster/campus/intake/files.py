"""Reads CSV and Parquet files as batches of rows with row numbers, in bounded memory.

Problems of a *row* are left to the caller, who rejects it with a reason. Problems of the *file*
(missing, wrong format or encoding, a missing column, truncated) raise ``BadInput``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tippers_dagster.campus.log import csv_rows
from tippers_dagster.campus.log.parquet_rows import ParquetRows
from tippers_dagster.campus.log.rows import (
    MAX_VALUE_CHARACTERS,
    Batch,
    Malformed,
    Progress,
    TextFile,
    open_binary,
    watched,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import HEAD_BYTES, table_format
from tippers_dagster.platform.small_tables import column_names

__all__ = [
    "MAX_VALUE_CHARACTERS",
    "Batch",
    "InputFile",
    "Malformed",
    "Progress",
    "file_sha256",
    "open_rows",
]

BLOCK_BYTES = 8 << 20
CSV_ROW_BYTES = 80
UNPACKED_RATIO = 5
"""Typical compression ratio of CSV, for estimates."""


@dataclass
class InputFile:
    """An open file of rows, from ``open_rows``."""

    path: Path
    expected_rows: int
    """For a CSV, an estimate from its size."""
    is_csv: bool
    ignored: list[str]
    """Columns of the file that were not requested."""
    _batches: Iterator[Batch]
    _position: Callable[[], int]
    _malformed: list[Malformed] = field(default_factory=list)

    def batches(self, progress: Progress | None = None) -> Iterator[Batch]:
        """The rows, in the file's order."""
        return watched(self.path, self._batches, self._position, progress)

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
    with open_binary(path) as stream:
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
    with open_binary(path) as stream:
        found = table_format(stream.read(HEAD_BYTES), path)
    if not found.is_csv:
        yield _open_parquet(path, columns)
        return
    with _open_csv(TextFile(path, found.compression), columns) as file:
        yield file


@contextmanager
def _open_csv(file: TextFile, columns: Mapping[str, str | None]) -> Iterator[InputFile]:
    header, start = _csv_header(file)
    chosen, ignored = _choose(file.path, header, columns)
    wanted = {at: chosen[name] for at, name in enumerate(header) if name in chosen}
    size = os.path.getsize(file.path)
    rows = size // CSV_ROW_BYTES * (1 if file.compression is None else UNPACKED_RATIO)
    with file.opened() as (stream, position):
        stream.read(start)
        bad: list[Malformed] = []
        batches = csv_rows.read_batches(
            file, stream, len(header), wanted, bad, block_bytes=BLOCK_BYTES
        )
        yield InputFile(file.path, rows, True, ignored, batches, position, bad)


def _csv_header(file: TextFile) -> tuple[list[str], int]:
    """The column names, and where the rows begin."""
    with csv_rows.csv_errors(file):
        head = file.head()
        for start, end, fields in csv_rows.first_rows(head):
            if fields:
                head[start:end].decode()  # refuses what is not UTF-8
                return fields, end
    return [], len(head)


def _open_parquet(path: Path, columns: Mapping[str, str | None]) -> InputFile:
    file = ParquetRows(path)
    chosen, ignored = _choose(path, file.names, columns)
    return InputFile(path, file.rows, False, ignored, file.batches(chosen), file.position)


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


def named_columns(ours: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The name in the file of each of a table's columns, including names that the user chose.

    Raises
    ------
    BadInput
        When a chosen column is not one of the table's.
    """
    if unknown := sorted(set(chosen).difference(ours)):
        raise BadInput(f"There is no column {', '.join(unknown)}.", f"Columns: {', '.join(ours)}.")
    return {**ours, **chosen}
