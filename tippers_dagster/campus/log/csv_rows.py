"""Rows of a CSV file, in bounded memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from tippers_dagster.campus.log.rows import (
    BLOCK_BYTES,
    MAX_VALUE_CHARACTERS,
    Batch,
    Malformed,
    TextFile,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import UTF8

_LINE = re.compile(rb"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")

NULL_SPELLINGS = ["", "NULL", "null", r"\N"]
"""Spellings of a missing value in CSV; the last is that of PostgreSQL's COPY."""


def read_batches(
    file: TextFile,
    stream: pa.NativeFile,
    columns: int,
    chosen: Mapping[int, str],
    malformed: list[Malformed],
    *,
    separator: str = ",",
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Batch]:
    """Read the rows of a CSV file.

    Parameters
    ----------
    file
        The file, for messages.
    stream
        Its content as UTF-8, from the first row, after the line of column names.
    columns
        The number of columns.
    chosen
        The position and the name of each column that is to be read.
    malformed
        Rows with another number of fields are appended here, and are in no batch.
    separator
        Stands between the fields.
    block_bytes
        Bytes read at once; no row may be longer.

    Raises
    ------
    BadInput
        Names the file and the row of the problem.
    """

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"{row.actual_columns} fields instead of {row.expected_columns}"
        malformed.append(Malformed(row.number, reason, row.text[:MAX_VALUE_CHARACTERS]))
        return "skip"

    # Not those of the file, which may be there twice.
    names = [f"c{at}" for at in range(columns)]
    wanted = [names[at] for at in chosen]
    last, passed = 0, 0
    with (
        csv_errors(file, block_bytes),
        pyarrow.csv.open_csv(
            stream,
            # Only the serial reader numbers invalid rows; it takes 1.2 s for 10 million rows.
            read_options=pyarrow.csv.ReadOptions(
                block_size=block_bytes, use_threads=False, column_names=names
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=keep
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=True,
                null_values=NULL_SPELLINGS,
            ),
        ) as batches,
    ):
        for number, batch in enumerate(batches):  # a block each
            file.check_unpacked(number * block_bytes)
            table = pa.table(batch.columns, names=list(chosen.values()))
            bad = np.array([row.row_number for row in malformed[passed:]], np.int64)
            numbers = _numbers_after(last, table.num_rows, bad)
            last = int(numbers[-1]) if len(numbers) else last
            passed += int(np.searchsorted(bad, last))
            _refuse_line_breaks(file, table, numbers)
            yield Batch(table, numbers)


def first_rows(head: bytes, separator: str = ",") -> Iterator[tuple[int, int, list[str]]]:
    """Where each row begins and ends, in bytes, and its fields.

    Parameters
    ----------
    head
        The beginning of a CSV file in UTF-8; its last row may be cut.
    separator
        Stands between the fields.
    """
    ends: list[int] = []

    def lines() -> Iterator[str]:
        for line in _LINE.finditer(head):
            ends.append(line.end())
            yield line[0].decode("utf-8-sig" if line.start() == 0 else UTF8, "replace")

    start = 0
    reader = csv.reader(lines(), delimiter=separator)
    for fields in reader:
        yield start, ends[reader.line_num - 1], fields
        start = ends[reader.line_num - 1]


@contextmanager
def csv_errors(file: TextFile, block_bytes: int = BLOCK_BYTES) -> Iterator[None]:
    """Report what is wrong with a CSV file as ``BadInput``."""
    try:
        with file.errors():
            yield
    except (pa.ArrowInvalid, csv.Error, EOFError) as error:
        message = str(error)
        if "straddling" in message:
            raise BadInput(
                f"{file.path} has a row of more than {block_bytes >> 20} MiB.",
                "Is a quote left open, or is this not a CSV file?",
            ) from error
        if "Empty CSV" in message:
            raise BadInput(
                f"{file.path} has no rows.", "Expected a header line and rows."
            ) from error
        raise BadInput(f"{file.path} cannot be read as CSV: {message}") from error


def _numbers_after(last: int, count: int, skipped: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next ``count`` row numbers after ``last``, without ``skipped`` ones."""
    skipped = skipped[skipped > last]
    numbers = np.arange(last + 1, last + 1 + count + len(skipped))
    if len(skipped):
        numbers = numbers[~np.isin(numbers, skipped)]
    return numbers[:count]


def _refuse_line_breaks(file: TextFile, columns: pa.Table, numbers: NDArray[np.int64]) -> None:
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
                f"{file.path}, row {numbers[broken[0]]}, column {name}: a value with a line "
                f"break: {value[:80]!r}.",
                "Is a quote left open? Values must not contain line breaks.",
            )
