"""The types of values, and the results of operations on them.

As in Python, a type belongs to a value, not to a name: an expression has a set of possible types.
"""

from __future__ import annotations

from enum import Enum

import pyarrow as pa

from tippers_dagster.labelling.expressions.nodes import ArithmeticOperator, Scalar


class Type(Enum):
    """The type of a value, as named in messages."""

    NULL = "null"
    BOOL = "true or false"
    INT = "a whole number"
    FLOAT = "a number"
    TEXT = "text"
    LABEL = "a label"
    OTHER = "a date, a time or another value that is neither number nor text"
    UNKNOWN = "unknown"


Types = frozenset[Type]

NUMBERS: Types = frozenset({Type.BOOL, Type.INT, Type.FLOAT})
USABLE: Types = NUMBERS | {Type.TEXT}
"""Types that can be computed with."""
ANY_COLUMN: Types = frozenset({Type.UNKNOWN, Type.NULL})
"""The types of a column that is not known yet."""


def column_types(type_: pa.DataType) -> Types:
    """The types that a rule's column may have. Any column may hold nulls."""
    return frozenset({Type.NULL, column_type(type_)})


def column_type(type_: pa.DataType) -> Type:
    """The type of a rule's column.

    PostgreSQL's numeric arrives as text in an opaque type or as a decimal, and is a float.
    """
    if pa.types.is_dictionary(type_):
        return column_type(type_.value_type)
    if is_numeric(type_) or pa.types.is_decimal(type_) or pa.types.is_floating(type_):
        return Type.FLOAT
    if pa.types.is_boolean(type_):
        return Type.BOOL
    if pa.types.is_integer(type_):
        return Type.INT
    if is_text(type_):
        return Type.TEXT
    return Type.NULL if pa.types.is_null(type_) else Type.OTHER


def is_numeric(type_: pa.DataType) -> bool:
    """Whether it is PostgreSQL's numeric as read by ADBC."""
    return isinstance(type_, pa.OpaqueType) and type_.type_name == "numeric"


def is_text(type_: pa.DataType) -> bool:
    """Whether it is one of Arrow's text types."""
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def type_of(value: Scalar | None) -> Type:
    """The type of a constant."""
    match value:
        case None:
            return Type.NULL
        case bool():
            return Type.BOOL
        case int():
            return Type.INT
        case float():
            return Type.FLOAT
        case str():
            return Type.TEXT


def arithmetic_type(operator: ArithmeticOperator, left: Type, right: Type) -> Type | None:
    """The type of Python's result for two non-null values; None if it is an error."""
    if not {left, right} <= NUMBERS:
        return None
    return Type.FLOAT if operator == "/" or Type.FLOAT in (left, right) else Type.INT


def comparable(left: Type, right: Type) -> bool:
    """Whether two non-null values can be ordered."""
    return {left, right} <= NUMBERS or left == right == Type.TEXT


def joins_texts(operator: ArithmeticOperator, left: Type, right: Type) -> bool:
    """Whether Python would create a text from them, which labelling functions may not do."""
    return Type.TEXT in (left, right) and (
        (operator == "+" and left == right)
        or (operator == "*" and bool({left, right} & {Type.INT, Type.BOOL}))
        or (operator == "%" and left == Type.TEXT)
    )
