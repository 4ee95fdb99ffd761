"""Columns of Parquet files in every type that means the same, as few plain types.

Plain types are text, integers, floats, decimals, booleans, dates and timestamps. An address or a
UUID that is stored as bytes becomes its usual text.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.errors import BadInput

MAX_BATCH_BYTES = 1 << 30
"""Bytes of text that a column may have in one batch."""

_EXACT = 1 << 53
"""Whole floats up to here are exact."""


def flattened_names(schema: pa.Schema) -> list[tuple[str, tuple[str, ...]]]:
    """The columns of a file and the keys that lead to them, which are joined by dots."""
    found: list[tuple[str, tuple[str, ...]]] = []

    def visit(field: pa.Field, path: tuple[str, ...]) -> None:
        if pa.types.is_struct(field.type):
            for at in range(field.type.num_fields):
                inner = field.type.field(at)
                visit(inner, (*path, inner.name))
        else:
            found.append((".".join(path), path))

    for field in schema:
        visit(field, (field.name,))
    return found


def flattened(columns: pa.Table, path: tuple[str, ...]) -> pa.ChunkedArray:
    """A column, also one of a nested record."""
    column = columns[path[0]]
    for key in path[1:]:
        column = pc.struct_field(column, key)
    return column


class PlainColumns:
    """Brings the columns of a file's batches to plain types, all batches in the same way."""

    def __init__(self) -> None:
        self._bytes: dict[str, str] = {}

    def __call__(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        """A column as a plain type.

        Raises
        ------
        BadInput
            When its type is none of a log's values, such as a list, or its values are too long.
        """
        kind = column.type
        if pa.types.is_dictionary(kind):
            _check_size(column, name)
            return self(column.cast(kind.value_type), name)
        if isinstance(kind, pa.BaseExtensionType):
            storage = [chunk.storage for chunk in column.chunks]
            return self(pa.chunked_array(storage, kind.storage_type), name)
        if _is_bytes(kind):
            return self._text_of_bytes(column, name)
        if pa.types.is_uint64(kind):
            return column.cast(pa.decimal128(20))
        for is_kind, simple in _SIMPLE.items():
            if is_kind(kind):
                return column if simple is None else column.cast(simple)
        raise BadInput(
            f"Column {name} is of type {kind}; text, numbers, times or bytes are expected.",
            "Name a column within it, or write the file with a column of its own for it.",
        )

    def _text_of_bytes(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        """Addresses of 6 or 8 bytes, UUIDs of 16, or text, as the column's first values are."""
        fixed = pa.types.is_fixed_size_binary(column.type)
        encoded = column.cast(pa.binary()).combine_chunks().dictionary_encode()
        values = encoded.dictionary.to_pylist()
        kinds = [self._bytes[name]] if name in self._bytes else [_TEXT, _ADDRESS, _UUID]
        fits = [k for k in kinds if all(map(_FITS[k], values)) and not (fixed and k == _TEXT)]
        if not fits:
            raise BadInput(
                f"Column {name} has bytes that are neither text, nor addresses of 6 bytes, nor "
                "UUIDs.",
                "Write it as text.",
            )
        if values:
            self._bytes[name] = fits[0]
        texts = pa.array(map(_READ[fits[0]], values), pa.string())
        return pa.chunked_array([texts.take(encoded.indices)])


def text_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a plain type as text; whole numbers as their digits."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_floating(kind):
        whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), _EXACT))
        digits = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
        return pc.if_else(whole, digits, column.cast(pa.string()))
    texts = column.cast(pa.string())
    if pa.types.is_decimal(kind) and kind.scale > 0:
        return pc.replace_substring_regex(texts, r"\.0+$", "")
    return texts


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _check_size(column: pa.ChunkedArray, name: str) -> None:
    """Refuse texts that are short in a file because they repeat, and huge in memory."""
    size = 0
    for chunk in column.chunks:
        lengths = (
            pc.binary_length(chunk.dictionary) if _has_lengths(chunk.dictionary.type) else None
        )
        if lengths is not None:
            size += pc.sum(lengths.cast(pa.int64()).take(chunk.indices)).as_py() or 0
    if size > MAX_BATCH_BYTES:
        raise BadInput(
            f"Column {name} takes more than {MAX_BATCH_BYTES:,} bytes in {len(column):,} rows.",
            "A log's texts are short. Is the file damaged?",
        )


def _has_lengths(kind: pa.DataType) -> bool:
    return _is_bytes(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_printable(value: bytes) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


_SIMPLE: dict[Callable[[pa.DataType], bool], pa.DataType | None] = {
    pa.types.is_string: None,
    pa.types.is_timestamp: None,
    pa.types.is_date: None,
    pa.types.is_boolean: None,
    pa.types.is_decimal: None,
    pa.types.is_duration: None,
    pa.types.is_large_string: pa.string(),
    pa.types.is_string_view: pa.string(),
    pa.types.is_null: pa.string(),
    pa.types.is_time: pa.string(),
    pa.types.is_integer: pa.int64(),
    pa.types.is_floating: pa.float64(),
}
"""What a type becomes; ``None``: it stays."""
_TEXT, _ADDRESS, _UUID = "text", "address", "UUID"
_FITS: dict[str, Callable[[bytes], bool]] = {
    _TEXT: _is_printable,
    _ADDRESS: lambda value: len(value) in (6, 8),
    _UUID: lambda value: len(value) == 16,
}
_READ: dict[str, Callable[[bytes], str]] = {
    _TEXT: bytes.decode,
    _ADDRESS: lambda value: value.hex(":"),
    _UUID: lambda value: str(uuid.UUID(bytes=value)),
}
