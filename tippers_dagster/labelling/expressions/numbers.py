"""Python's arithmetic and comparisons over arrays, exactly.

Integers never overflow, and are never rounded when compared with floats: where int64 or float64
would not be exact, Python integers are used. Only their size is limited, so that a single one
cannot fill the memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np

from tippers_dagster.labelling.expressions.nodes import (
    MAX_INTEGER,
    ArithmeticOperator,
    CompareOperator,
)
from tippers_dagster.labelling.expressions.values import Array, Mask

LARGEST = 2**1024 - 2**970
"""Anything smaller fits into a float, and every float is smaller."""
_EXACT = 2**53

TOO_LARGE = "the number is too large"
DIVISION = "division by zero"

COMPARE: dict[CompareOperator, Callable[..., Array]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_PLAIN: dict[ArithmeticOperator, Callable[..., Array]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.remainder,
}


def whole(data: Array) -> Array:
    """Booleans as integers, as Python treats them."""
    return data.astype(np.int64) if data.dtype == np.bool_ else data


def bound(data: Array) -> int:
    """The largest absolute value of integers, including those outside their rows."""
    if not data.size:
        return 0
    return int(max(data.max(), -int(data.min())))


def compare(symbol: CompareOperator, left: Array, right: Array) -> Mask:
    """Compare numbers with numbers, or texts with texts."""
    left, right = whole(left), whole(right)
    if left.dtype != right.dtype and np.float64 in (left.dtype, right.dtype):
        integers = left if right.dtype == np.float64 else right
        if bound(integers) > _EXACT:
            left, right = left.astype(object), right.astype(object)
    return COMPARE[symbol](left, right).astype(bool, copy=False)


def arithmetic(
    symbol: ArithmeticOperator, left: Array, right: Array
) -> tuple[Array, Mask | None, str]:
    """Compute with numbers; also returns the rows with an error, and its message."""
    left, right = whole(left), whole(right)
    zero = None
    if symbol in ("/", "//", "%"):
        zero = (right == 0).astype(bool, copy=False)
        right = right + zero  # 1 instead of 0: the result is not used
    if np.float64 in (left.dtype, right.dtype):
        floats = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
        return _PLAIN[symbol](*floats), zero, DIVISION
    data = _integers(symbol, left, right)
    if data.dtype != object:
        return data, zero, DIVISION
    data, large = narrowed(data)
    return data, large if zero is None else zero, TOO_LARGE if zero is None else DIVISION


def _integers(symbol: ArithmeticOperator, left: Array, right: Array) -> Array:
    """float64 for ``/``, otherwise int64, or objects where int64 may be too narrow."""
    if object not in (left.dtype, right.dtype):
        a, b = bound(left), bound(right)
        if symbol == "/":
            narrow = max(a, b) <= _EXACT
        elif symbol == "*":
            narrow = max(a, b, a * b) <= MAX_INTEGER
        else:
            narrow = a + b <= MAX_INTEGER
        if narrow:
            return _PLAIN[symbol](left, right)
    python: dict[ArithmeticOperator, Callable[..., Array]] = {
        **_PLAIN,
        "/": operator.truediv,
    }
    data = python[symbol](left.astype(object), right.astype(object))
    return data.astype(np.float64) if symbol == "/" else data


def narrowed(data: Array) -> tuple[Array, Mask | None]:
    """Python integers as int64 where all fit; also the rows that are too large, set to 0."""
    large = (np.abs(data) >= LARGEST).astype(bool, copy=False)
    if large.any():
        data = np.where(large, 0, data)
    return (data.astype(np.int64) if bound(data) <= MAX_INTEGER else data), large


def negative(data: Array) -> Array:
    """Unary minus."""
    data = whole(data)
    if data.dtype == np.int64 and bound(data) > MAX_INTEGER:
        data = data.astype(object)
    return -data
