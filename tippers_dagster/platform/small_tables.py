"""Small CSV and Parquet files read into memory, and text that no spreadsheet runs as a formula.

A spreadsheet treats a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, also in a
CSV file, and formulas can send neighbouring cells elsewhere. In CSV, every text, column name and
label that begins like this gets a leading apostrophe, even if it already has one, and an import
removes it again. Numbers, times and Parquet are unchanged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import HEAD_BYTES, TableFormat, table_format
from tippers_dagster.platform.text import shown

MAX_UNPACKED_BYTES = 1 << 30
"""Largest size of a compressed CSV file, in bytes after unpacking."""
MAX_VALUES = 200_000_000
"""Largest number of values in a Parquet file, where a few bytes can encode many equal values."""

_FORMULA = "=+\\-@\t\r\n＝＋－＠"  # noqa: RUF001 - full-width ones are formulas, too
_LOOKS_LIKE_FORMULA = re.compile(f"'*[{_FORMULA}]")
_MAX_NAMED_COLUMNS = 20


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
        The file's name in messages.
    types
        Types of CSV columns that must not be inferred.
    only_empty_is_null
        Whether ``NULL``, ``NA`` and similar are ordinary text in a CSV file, since keys may be.

    Raises
    ------
    BadInput
        When the file cannot be read, or has duplicate columns.
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
    _refuse_duplicates(names, name)
    if file.metadata.num_rows * len(names) > MAX_VALUES:
        raise BadInput(
            f"{name} has {file.metadata.num_rows:,} rows of {len(names):,} columns.",
            f"At most {MAX_VALUES:,} values (rows times columns) are allowed.",
        )
    table = _read_bounded(stream, file, name)
    table.validate(full=True)  # Parquet does not guarantee UTF-8
    return table


def _read_bounded(stream: pa.NativeFile, file: pq.ParquetFile, name: object) -> pa.Table:
    """The rows, with repeated texts expanded only after their total size has been checked."""
    leaves = [file.schema.column(at) for at in range(len(file.metadata.schema))]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    fixed = sum(leaf.length for leaf in leaves if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY")
    stream.seek(0)
    table = pq.ParquetFile(stream, read_dictionary=texts).read()
    if fixed * table.num_rows + sum(map(_expanded_bytes, table.columns)) > MAX_UNPACKED_BYTES:
        raise BadInput(f"{name} is larger than {MAX_UNPACKED_BYTES >> 20} MiB unpacked.")
    return table.cast(file.schema_arrow)


def _expanded_bytes(column: pa.ChunkedArray | pa.Array) -> int:
    """The size of a column without dictionary encoding."""
    if isinstance(column, pa.ChunkedArray):
        return sum(map(_expanded_bytes, column.chunks))
    if isinstance(column, pa.DictionaryArray):
        lengths = pc.cast(pc.binary_length(column.dictionary), pa.int64())
        return int(pc.sum(pc.take(lengths, column.indices)).as_py() or 0)
    if pa.types.is_map(column.type):
        return _expanded_bytes(column.keys) + _expanded_bytes(column.items)
    if pa.types.is_nested(column.type):
        inner = column.flatten()
        return sum(map(_expanded_bytes, inner if isinstance(inner, list) else [inner]))
    return int(column.nbytes)


def _csv(
    stream: pa.NativeFile, found: TableFormat, name: object, options: pa_csv.ConvertOptions
) -> pa.Table:
    if found.compression is not None:
        unpacked = pa.CompressedInputStream(stream, found.compression).read(MAX_UNPACKED_BYTES + 1)
        if len(unpacked) > MAX_UNPACKED_BYTES:
            raise BadInput(f"{name} is larger than {MAX_UNPACKED_BYTES >> 20} MiB unpacked.")
        stream = pa.BufferReader(unpacked)
    table = pa_csv.read_csv(stream, convert_options=options)
    _refuse_duplicates(table.column_names, name)
    columns = [as_it_was(column) for column in table.columns]
    return pa.table(columns, [unescape_formula(name) for name in table.column_names])


def _refuse_duplicates(names: list[str], name: object) -> None:
    duplicate = next((column for column, count in Counter(names).items() if count > 1), None)
    if duplicate is not None:
        raise BadInput(f"{name} has the column {column_names([duplicate])} twice.", "Keep one.")


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
            "Use a CSV file with a header, in UTF-8, or a Parquet file.",
        ) from None


def column_names(names: list[str]) -> str:
    """Column names for a message, shortened if there are many."""
    listed = ", ".join(shown(name) or "(no name)" for name in names[:_MAX_NAMED_COLUMNS])
    more = len(names) - _MAX_NAMED_COLUMNS
    return f"{listed} and {more:,} more" if more > 0 else listed


# --- formulas -----------------------------------------------------------------------------------
def escape_formulas(table: pa.Table) -> pa.Table:
    """The table with formulas escaped."""
    columns = [_column_as_text(column) for column in table.columns]
    return pa.table(columns, [as_text(name) for name in table.column_names])


def as_text(value: str) -> str:
    """The text, with a leading apostrophe if a spreadsheet would run it as a formula."""
    return f"'{value}" if _LOOKS_LIKE_FORMULA.match(value) else value


def _column_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    return pc.replace_substring_regex(column, f"^('*[{_FORMULA}])", r"'\1", max_replacements=1)


def as_it_was(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts of a CSV column without the apostrophes that an export added."""
    if not pa.types.is_string(column.type):
        return column
    return pc.replace_substring_regex(column, f"^'('*[{_FORMULA}])", r"\1", max_replacements=1)


def unescape_formula(value: str) -> str:
    """One text without the apostrophe that :func:`as_text` added."""
    return value[1:] if value.startswith("'") and _LOOKS_LIKE_FORMULA.match(value) else value
