"""Columns of text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.log.checks import Checks, Mask
from tippers_dagster.errors import BadInput

MAX_TEXT = 500
"""Maximum length of a text in bytes; PostgreSQL cannot index values longer than about 2,700."""


def text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as stripped text; blank text becomes null.

    Whole numbers become their digits, even if they are stored as floats because some are missing
    (``12.0`` becomes ``12``).

    Raises
    ------
    BadInput
        When the column contains neither text nor whole numbers.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    try:
        if pa.types.is_floating(kind):
            column = column.cast(pa.int64())
        elif not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise BadInput(f"Column {name} is of type {kind}; text or whole numbers are expected.")
        column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowInvalid as error:
        raise BadInput(f"Column {name} cannot be read as text: {error}") from error
    blank = pc.equal(column, "")
    if pc.any(blank).as_py():
        column = pc.if_else(blank, pa.scalar(None, pa.string()), column)
    return column


def is_null(column: pa.ChunkedArray) -> Mask:
    """Whether each row is null."""
    return pc.is_null(column).to_numpy()


def check_text(checks: Checks, column: pa.ChunkedArray, name: str) -> None:
    """Reject text that PostgreSQL cannot store or index: with NUL characters, or too long."""
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > MAX_TEXT:
        long = pc.fill_null(pc.greater(pc.binary_length(column), MAX_TEXT), False).to_numpy()
        checks.reject(long, f"{name} is longer than {MAX_TEXT} bytes")
    # Checking the bytes at once is far cheaper than a search per value.
    data = [chunk.buffers()[2] for chunk in column.chunks]
    if not all(np.frombuffer(buffer, np.uint8).all() for buffer in data if buffer):
        nul = pc.fill_null(pc.match_substring(column, "\0"), False).to_numpy()
        checks.reject(nul, f"{name} has a NUL character")


def is_text(kind: pa.DataType) -> bool:
    """Whether a type of column is text."""
    is_any = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_one(kind) for is_one in is_any)
