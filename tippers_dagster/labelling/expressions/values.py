"""The values of an expression for all rows at once, and the columns that they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.nodes import Scalar
from tippers_dagster.labelling.expressions.types import (
    Type,
    column_type,
    is_numeric,
    type_of,
)

Array = NDArray[Any]
"""[n], or [1] for a value shared by all rows. Integers are int64, or Python integers in an array of
objects if int64 is too narrow; texts are Python's."""
Mask = NDArray[np.bool_]


class Value:
    """The value of an expression in each row: for each type, the rows that have it, and their data.

    The masks do not overlap. Data outside a mask have the type but no meaning. NULL and OTHER have
    placeholder data that are never read.
    """

    def __init__(self, parts: dict[Type, tuple[Mask, Array]] | None = None) -> None:
        self.parts = {} if parts is None else parts

    @classmethod
    def constant(cls, value: Scalar | None, rows: Mask) -> Self:
        """The same value in these rows."""
        return cls({type_of(value): (rows, _array_of(value))})

    def add(self, type_: Type, rows: Mask, data: Array) -> None:
        """Add rows that have no value yet."""
        if type_ not in self.parts:
            self.parts[type_] = (rows, data)
            return
        before, old = self.parts[type_]
        if old is not data and type_ not in (Type.NULL, Type.OTHER):
            old = np.where(rows, data, old)
        self.parts[type_] = (before | rows, old)

    def rows(self, type_: Type, n: int) -> Mask:
        """bool [n]: the rows that have this type."""
        return self.parts[type_][0] if type_ in self.parts else np.zeros(n, bool)

    def within(self, rows: Mask) -> Value:
        """These rows only."""
        return Value({t: (mask & rows, data) for t, (mask, data) in self.parts.items()})

    def joined(self, other: Value) -> Value:
        """The rows of both, which do not overlap."""
        result = Value(dict(self.parts))
        for type_, (rows, data) in other.parts.items():
            result.add(type_, rows, data)
        return result

    def block(self, start: int, stop: int) -> Value:
        """The rows [start, stop); types that do not occur in them are left out."""
        return Value(
            {
                type_: (mask[start:stop], data[start:stop])
                for type_, (mask, data) in self.parts.items()
                if mask[start:stop].any()
            }
        )


def _array_of(value: Scalar | None) -> Array:
    if isinstance(value, str):
        return objects([value])
    return np.array([0 if value is None else value])


def objects(values: list[Any]) -> Array:
    """An array of Python objects of any type."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def each(function: Callable[..., Any], *arrays: Array) -> Array:
    """Apply a Python function to every element, where no array operation does the same."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), object)


class Columns:
    """The columns of a rule's table, each read at most once for all functions that use it."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.types: dict[str, pa.DataType] = {field.name: field.type for field in table.schema}
        self._read: dict[str, Value] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, name: str) -> Value:
        if name not in self._read:
            self._read[name] = _read(self.table.column(name))
        return self._read[name]


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; copied only if it has several chunks."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def plain(column: pa.ChunkedArray) -> pa.Array:
    """One array of a type that Arrow can compute with: numerics become float64.

    Raises
    ------
    BadInput
        A numeric column holds something else.
    """
    array = one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if is_numeric(array.type):
        array = array.storage
    if column_type(column.type) == Type.FLOAT and not pa.types.is_float64(array.type):
        try:
            return array.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise BadInput(f"A column of numbers holds something else: {error}") from error
    return array


def _read(column: pa.ChunkedArray) -> Value:
    array, type_, n = plain(column), column_type(column.type), len(column)
    nulls = np.asarray(pc.is_null(array)) if array.null_count else np.zeros(n, bool)
    value = Value()
    if nulls.any():
        value.add(Type.NULL, nulls, np.zeros(n, bool))
    if type_ != Type.NULL:
        value.add(type_, ~nulls, _data(array, type_))
    return value


def _data(array: pa.Array, type_: Type) -> Array:
    if type_ == Type.OTHER:
        return np.zeros(len(array), bool)
    if type_ == Type.TEXT:
        # Equal texts become one object, which saves most of the memory.
        texts = _filled(array, "").dictionary_encode()
        codes = texts.indices.to_numpy(zero_copy_only=False)
        return objects(texts.dictionary.to_pylist())[codes]
    if type_ == Type.BOOL:
        return _filled(array, False).to_numpy(zero_copy_only=False)
    # Without the null bitmap, the numbers need no copy.
    buffers = [None, array.buffers()[1]]
    data = pa.Array.from_buffers(array.type, len(array), buffers, 0, array.offset).to_numpy()
    if type_ == Type.INT:
        if data.dtype == np.uint64 and (data > np.iinfo(np.int64).max).any():
            return data.astype(object)
        return data.astype(np.int64, copy=False)
    return data


def _filled(array: pa.Array, value: Scalar) -> pa.Array:
    return array.fill_null(value) if array.null_count else array
