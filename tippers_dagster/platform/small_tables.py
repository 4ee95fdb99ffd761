"""Small CSV and Parquet files for people: read whole into memory, written safe for spreadsheets.

A spreadsheet treats a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, also in a
CSV file, and formulas can send neighbouring cells elsewhere. In CSV, every text, column name and
label that begins like this gets an apostrophe in front, also if it already has one, so that an
import restores exactly what was exported. Numbers, times and Parquet are unchanged.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import HEAD_BYTES, TableFormat, table_format
from tippers_dagster.platform.text import shown

LARGEST_UNPACKED = 1 << 30
"""Bytes of a compressed CSV file, unpacked."""
MOST_VALUES = 200_000_000
"""Of a Parquet file, in which a few bytes can encode any number of equal values."""

_FORMULA = "=+\\-@\t\r\n＝＋－＠"  # noqa: RUF001 - full-width ones are formulas, too
_TAKEN_FOR_FORMULA = re.compile(f"'*[{_FORMULA}]")
_STRUCTURAL = frozenset(',"\r\n')
_SHOWN_COLUMNS = 20


# --- in -----------------------------------------------------------------------------------------
def read_table(
    source: Path | bytes,
    name: object,
    types: Mapping[str, pa.DataType] | None = None,
    *,
    only_empty_is_null: bool = False,
) -> pa.Table:
    """The rows of a CSV (also compressed) or Parquet file.

    Parameters
    ----------
    source
        The file, or its content.
    name
        How messages call it.
    types
        Types of columns of a CSV file that must not be inferred.
    only_empty_is_null
        Whether ``NULL``, ``NA`` and the like are ordinary text in a CSV file, as keys may be.

    Raises
    ------
    BadInput
        When it cannot be read, or has duplicate columns.
    """
    with _reading(name):
        stream = pa.OSFile(str(source)) if isinstance(source, Path) else pa.BufferReader(source)
        with stream:
            found = table_format(stream.read(HEAD_BYTES), name)
            stream.seek(0)
            if not found.is_csv:
                return _parquet(stream, name)
            options = pa_csv.ConvertOptions(
                column_types=types,
                strings_can_be_null=True,
                null_values=[""] if only_empty_is_null else None,
            )
            return _csv(stream, found, name, options)


def _parquet(stream: pa.NativeFile, name: object) -> pa.Table:
    file = pq.ParquetFile(stream)
    names = file.schema_arrow.names
    _refuse_twice(names, name)
    if file.metadata.num_rows * len(names) > MOST_VALUES:
        raise BadInput(
            f"{name} has {file.metadata.num_rows:,} rows of {len(names):,} columns.",
            f"At most {MOST_VALUES:,} values (rows times columns) are allowed.",
        )
    table = _spread(stream, file, name)
    table.validate(full=True)  # texts need not be UTF-8
    return table


def _spread(stream: pa.NativeFile, file: pq.ParquetFile, name: object) -> pa.Table:
    """The rows, of which a text that is repeated is stored once: its size is looked at before."""
    leaves = [file.schema.column(at) for at in range(len(file.metadata.schema))]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    fixed = sum(leaf.length for leaf in leaves if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY")
    stream.seek(0)
    table = pq.ParquetFile(stream, read_dictionary=texts).read()
    if fixed * table.num_rows + sum(map(_bytes_spread, table.columns)) > LARGEST_UNPACKED:
        raise BadInput(f"{name} has more than {LARGEST_UNPACKED >> 20} MiB, unpacked.")
    return table.cast(file.schema_arrow)


def _bytes_spread(column: pa.ChunkedArray | pa.Array) -> int:
    """What a column takes without dictionaries."""
    if isinstance(column, pa.ChunkedArray):
        return sum(map(_bytes_spread, column.chunks))
    if isinstance(column, pa.DictionaryArray):
        lengths = pc.cast(pc.binary_length(column.dictionary), pa.int64())
        return int(pc.sum(pc.take(lengths, column.indices)).as_py() or 0)
    if pa.types.is_map(column.type):
        return _bytes_spread(column.keys) + _bytes_spread(column.items)
    if pa.types.is_nested(column.type):
        inner = column.flatten()
        return sum(map(_bytes_spread, inner if isinstance(inner, list) else [inner]))
    return int(column.nbytes)


def _csv(
    stream: pa.NativeFile, found: TableFormat, name: object, options: pa_csv.ConvertOptions
) -> pa.Table:
    if found.compression is not None:
        unpacked = pa.CompressedInputStream(stream, found.compression).read(LARGEST_UNPACKED + 1)
        if len(unpacked) > LARGEST_UNPACKED:
            raise BadInput(f"{name} is larger than {LARGEST_UNPACKED >> 20} MiB unpacked.")
        stream = pa.BufferReader(unpacked)
    table = pa_csv.read_csv(stream, convert_options=options)
    _refuse_twice(table.column_names, name)
    columns = [as_it_was(column) for column in table.columns]
    return pa.table(columns, [text_as_it_was(name) for name in table.column_names])


def _refuse_twice(names: list[str], name: object) -> None:
    twice = next((column for column, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise BadInput(f"{name} has the column {column_names([twice])} twice.", "Keep one.")


@contextmanager
def _reading(name: object) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"There is no file {name}.", "Check the path.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{name} has a column whose name is not UTF-8.", "Rename it.") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            f"{name} cannot be read: {shown(str(error), 300)}",
            "Give a CSV file with a header, in UTF-8, or a Parquet file.",
        ) from None


def column_names(names: list[str]) -> str:
    """Column names for a message, shortened if there are many."""
    listed = ", ".join(shown(name) or "(no name)" for name in names[:_SHOWN_COLUMNS])
    more = len(names) - _SHOWN_COLUMNS
    return f"{listed} and {more:,} more" if more > 0 else listed


# --- out ----------------------------------------------------------------------------------------
def write_csv(
    table: pa.Table, file: IO[bytes], quoting: Literal["needed", "none"] = "needed"
) -> None:
    """Write a table as CSV that is safe to open: no text in it is a formula.

    Parameters
    ----------
    quoting
        "needed" quotes every text; "none" quotes none, for text without commas, quotes or line
        breaks.

    Raises
    ------
    BadInput
        When a column has values that CSV cannot hold: lists, structures, bytes.
    """
    table = as_texts(table)
    header = "needed" if _STRUCTURAL.intersection("".join(table.column_names)) else "none"
    options = pa_csv.WriteOptions(quoting_header=header, quoting_style=quoting)
    try:
        pa_csv.write_csv(table, file, options)
    except pa.ArrowException as error:
        raise BadInput(f"CSV cannot hold these rows: {error}", "Use Parquet instead.") from None


def csv_bytes(table: pa.Table) -> bytes:
    """A table as the content of a CSV file, as :func:`write_csv`."""
    buffer = io.BytesIO()
    write_csv(table, buffer)
    return buffer.getvalue()


def as_texts(table: pa.Table) -> pa.Table:
    """The table with formulas escaped."""
    columns = [_column_as_text(column) for column in table.columns]
    return pa.table(columns, [as_text(name) for name in table.column_names])


def as_text(value: str) -> str:
    """A text with an apostrophe in front, if a spreadsheet would run it as a formula."""
    return f"'{value}" if _TAKEN_FOR_FORMULA.match(value) else value


def _column_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    return pc.replace_substring_regex(column, f"^('*[{_FORMULA}])", r"'\1", max_replacements=1)


def cells_as_text(row: Iterable[Any]) -> list[Any]:
    """The cells of a row for Python's writer of CSV, with the texts as :func:`as_text`."""
    return [as_text(cell) if isinstance(cell, str) else cell for cell in row]


def as_it_was(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts of a CSV file without the apostrophes that :func:`write_csv` put in front."""
    if not pa.types.is_string(column.type):
        return column
    return pc.replace_substring_regex(column, f"^'('*[{_FORMULA}])", r"\1", max_replacements=1)


def text_as_it_was(value: str) -> str:
    """One text, as :func:`as_it_was`."""
    return value[1:] if value.startswith("'") and _TAKEN_FOR_FORMULA.match(value) else value
