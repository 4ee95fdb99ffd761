"""The pure functions that a labelling function may call."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tippers_dagster.labelling.expressions.numbers import (
    narrowed,
    negative,
    whole,
)
from tippers_dagster.labelling.expressions.types import NUMBERS, USABLE, Type, Types
from tippers_dagster.labelling.expressions.values import Array, Mask, each

MAX_DIGITS = 15
MIN_AND_MAX = frozenset({"min", "max"})
COALESCE = "coalesce"

Outcome = tuple[Array, Mask | None]
"""The data, and the rows in which an error prevents a result."""


@dataclass(frozen=True)
class Function:
    """A function's argument and result types. ``optional`` arguments come last."""

    takes: tuple[Types, ...]
    gives: Callable[[Type], Type]
    compute: Callable[..., Outcome]
    optional: int = 0
    method: bool = False
    trouble: str = ""


def _absolute(data: Array) -> Outcome:
    data = whole(data)
    return (np.abs(data) if data.dtype == np.float64 else np.maximum(data, negative(data))), None


def _round(data: Array, digits: Array | None = None) -> Outcome:
    data = whole(data)
    if data.dtype != np.float64:
        return data, None
    if digits is None:
        return _truncated(np.rint(data))
    places = int(digits[0])
    return each(lambda number: round(number, places), data).astype(np.float64), None


def _truncated(data: Array) -> Outcome:
    """Floats truncated to integers."""
    unknown = ~np.isfinite(data)
    data = np.where(unknown, 0, data)
    if (np.abs(data) < 2**63).all():
        return data.astype(np.int64), unknown
    numbers, large = narrowed(each(int, data))
    return numbers, unknown | large


def _to_integer(data: Array) -> Outcome:
    if _holds_text(data):
        return _parsed_integers(data)
    return _truncated(data) if data.dtype == np.float64 else (whole(data), None)


def _parsed_integers(data: Array) -> Outcome:
    found = each(_parse(int), data)
    unknown = each(_is_none, found).astype(bool)
    numbers, large = narrowed(np.where(unknown, 0, found))
    return numbers, unknown | large


def _to_float(data: Array) -> Outcome:
    if not _holds_text(data):
        return data.astype(np.float64), None
    numbers = each(_parse(float), data)
    unknown = each(_is_none, numbers).astype(bool)
    return np.where(unknown, 0.0, numbers).astype(np.float64), unknown


def _holds_text(data: Array) -> bool:
    return data.dtype == object and data.size > 0 and isinstance(data[0], str)


def _parse(convert: Callable[[str], float]) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        try:
            return convert(text)
        except ValueError:
            return None

    return parse


def _is_none(value: object) -> bool:
    return value is None


def _text(function: Callable[..., str]) -> Callable[..., Outcome]:
    return lambda *data: (each(function, *data), None)


def _test(function: Callable[..., bool]) -> Callable[..., Outcome]:
    return lambda *data: (each(function, *data).astype(bool), None)


def _integer_or_float(type_: Type) -> Type:
    return Type.FLOAT if type_ == Type.FLOAT else Type.INT


_TEXT: Types = frozenset({Type.TEXT})
_WHOLE: Types = frozenset({Type.INT})

FUNCTIONS: dict[str, Function] = {
    "abs": Function((NUMBERS,), _integer_or_float, _absolute),
    "round": Function(
        (NUMBERS, _WHOLE), lambda _: Type.INT, _round, 1, trouble="it is not a finite number"
    ),
    "int": Function((USABLE,), lambda _: Type.INT, _to_integer, trouble="it is not a whole number"),
    "float": Function((USABLE,), lambda _: Type.FLOAT, _to_float, trouble="it is not a number"),
    "len": Function(
        (_TEXT,), lambda _: Type.INT, lambda data: (each(len, data).astype(np.int64), None)
    ),
    "lower": Function((_TEXT,), lambda _: Type.TEXT, _text(str.lower), method=True),
    "upper": Function((_TEXT,), lambda _: Type.TEXT, _text(str.upper), method=True),
    "strip": Function((_TEXT,), lambda _: Type.TEXT, _text(str.strip), method=True),
    "startswith": Function((_TEXT, _TEXT), lambda _: Type.BOOL, _test(str.startswith), method=True),
    "endswith": Function((_TEXT, _TEXT), lambda _: Type.BOOL, _test(str.endswith), method=True),
}
"""By name. ``min``, ``max`` and ``coalesce`` are handled separately."""


def result_type(name: str, types: tuple[Type, ...]) -> Type:
    """The result type of a call with these argument types."""
    if name == "round" and len(types) == 2:
        return _integer_or_float(types[0])
    return FUNCTIONS[name].gives(types[0])


contains = _test(operator.contains)
