"""Tables written to CSV and Parquet files.

CSV is safe to open in a spreadsheet: no text is a formula, see ``small_tables``. A file is written
completely or not at all.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.small_tables import as_text, escape_formulas

Format = Literal["csv", "parquet"]
Quoting = Literal["needed", "none"]
"""In CSV, "needed" quotes every text; "none" quotes none, for text that ``needs_quotes`` denies."""

_STRUCTURAL = frozenset(',"\r\n')


def format_of(out: Path) -> Format:
    """The format of a file by its extension.

    Raises
    ------
    BadInput
        The extension is neither ``.csv`` nor ``.parquet``.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise BadInput(
            f"{out} is neither a .csv nor a .parquet file.", "Give it one of these extensions."
        )
    return cast(Format, out.suffix[1:])


def check_writable(out: Path) -> None:
    """Raise ``BadInput``, before any work, for another extension or a missing folder."""
    format_of(out)
    if not out.absolute().parent.is_dir():
        raise BadInput(f"The folder {out.absolute().parent} does not exist.", "Create it first.")


# --- whole tables -------------------------------------------------------------------------------
def write_table(table: pa.Table, out: Path, quoting: Quoting = "needed") -> None:
    """Write a table to ``FILE.csv`` or ``FILE.parquet``; an existing file is replaced.

    Raises
    ------
    BadInput
        The extension is neither, the file cannot be written, or CSV cannot hold the rows.
    """
    kind = format_of(out)
    with replacing(out) as file:
        _write(table, kind, file, quoting)


def table_bytes(table: pa.Table, kind: Format, quoting: Quoting = "needed") -> bytes:
    """The content of the file that ``write_table`` writes."""
    buffer = io.BytesIO()
    _write(table, kind, buffer, quoting)
    return buffer.getvalue()


def _write(table: pa.Table, kind: Format, file: IO[bytes], quoting: Quoting) -> None:
    if kind == "parquet":
        pq.write_table(table, file, compression="zstd")
        return
    table = escape_formulas(table)
    header: Quoting = "needed" if needs_quotes("".join(table.column_names)) else "none"
    options = pa_csv.WriteOptions(quoting_header=header, quoting_style=quoting)
    try:
        pa_csv.write_csv(table, file, options)
    except pa.ArrowException as error:
        raise BadInput(f"CSV cannot hold these rows: {error}", "Use Parquet instead.") from None


def needs_quotes(text: str) -> bool:
    """Whether a text has a comma, quote or line break, so that CSV must quote it."""
    return not _STRUCTURAL.isdisjoint(text)


# --- row by row ---------------------------------------------------------------------------------
@contextmanager
def open_table(out: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends tables to a file, which replaces ``out`` when the block ends."""
    kind = format_of(out)
    with replacing(out) as file:
        if kind == "parquet":
            with pq.ParquetWriter(file, schema, compression="zstd") as parquet:
                yield parquet.write_table
        else:
            with pa_csv.CSVWriter(file, schema) as text:
                yield lambda table: text.write_table(escape_formulas(table))


def csv_of_rows(rows: Iterable[Iterable[Any]]) -> str:
    """Rows of cells, the header first, as the content of a CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([as_text(x) if isinstance(x, str) else x for x in row] for row in rows)
    return out.getvalue()


@contextmanager
def replacing(out: Path) -> Iterator[IO[bytes]]:
    """A file that replaces ``out`` when the block ends without error.

    Raises
    ------
    BadInput
        The file cannot be written.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(out)
    except OSError as error:
        raise BadInput(
            f"{out} could not be written: {error.strerror}", "Choose another file."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
