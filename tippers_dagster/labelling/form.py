"""Conditions as a small form: rows of column, operator and value, joined with all or any."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from tippers_dagster.catalog.kinds import Condition
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.grammar import WORDS, parse_expression
from tippers_dagster.labelling.expressions.nodes import (
    Both,
    Column,
    Compare,
    Constant,
    Either,
    Expression,
    IsNull,
    Negate,
    OneOf,
    Scalar,
)

Operator = Literal["<", "<=", ">", ">=", "=", "<>", "in", "not in", "is null", "is not null"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
_LISTS = ("in", "not in")
_NULLS = ("is null", "is not null")
_FLIPPED: dict[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class FormRow:
    """One test. ``value``: constants for ``in``, None for null tests, else one constant."""

    column: str
    operator: Operator
    value: Scalar | tuple[Scalar, ...] | None = None


@dataclass(frozen=True)
class Form:
    """The form's content: tests, whether all or any must hold, and the label."""

    rows: tuple[FormRow, ...]
    joined: Literal["all", "any"]
    label: str


def form_to_condition(form: Form) -> Condition:
    """Convert a form to a condition.

    Raises
    ------
    BadInput
        A form without rows, or a row whose value does not fit its operator.
    """
    if not form.rows:
        raise BadInput("The form has no row.", "Add a row that says when to vote for the label.")
    word = " and " if form.joined == "all" else " or "
    text = word.join(_row_text(row) for row in form.rows)
    parse_expression(text)
    return Condition(when=text, label=form.label)


def condition_to_form(condition: Condition) -> Form | None:
    """The equivalent form, or None if the condition cannot be written as a form.

    Raises
    ------
    FunctionRefused
        When the text is not an expression.
    """
    found = parse_expression(condition.when)
    parts = found.operands if isinstance(found, Both | Either) else (found,)
    rows = [row for part in parts for row in [_form_row(part)] if row is not None]
    if len(rows) < len(parts):
        return None
    joined: Literal["all", "any"] = "any" if isinstance(found, Either) else "all"
    return Form(tuple(rows), joined, condition.label)


def _row_text(row: FormRow) -> str:
    column = row.column if _is_plain(row.column) else f"`{row.column}`"
    if row.operator in _NULLS:
        if row.value is not None:
            raise BadInput(f"`{row.operator}` takes no value (column {row.column}).")
        return f"{column} {row.operator}"
    if (row.operator in _LISTS) != isinstance(row.value, tuple):
        raise BadInput(f"`{row.operator}` cannot take {row.value!r:.60} (column {row.column}).")
    if isinstance(row.value, tuple):
        return f"{column} {row.operator} ({', '.join(map(_constant_text, row.value))})"
    if row.value is None:
        raise BadInput(f"`{row.operator}` has no value (column {row.column}).", "Fill it in.")
    return f"{column} {row.operator} {_constant_text(row.value)}"


def _is_plain(name: str) -> bool:
    """Whether the grammar reads the name as a column without quotes."""
    return bool(_PLAIN_NAME.fullmatch(name)) and name.lower() not in WORDS


def _constant_text(value: Scalar) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if not math.isfinite(value):
        raise BadInput(f"{value} cannot be compared with.", "Fill in another value.")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _form_row(node: Expression) -> FormRow | None:
    match node:
        case IsNull(operand=Column(name=name)):
            return FormRow(name, "is not null" if node.negated else "is null")
        case OneOf(operand=Column(name=name)):
            return FormRow(name, "not in" if node.negated else "in", node.constants)
        case Compare(first=first, rest=((symbol, second),)):
            operator = cast("Operator", {"==": "=", "!=": "<>"}.get(symbol, symbol))
            for column, other, found in (
                (first, second, operator),
                (second, first, _FLIPPED[operator]),
            ):
                value = _constant(other)
                if isinstance(column, Column) and value is not None:
                    return FormRow(column.name, found, value)
    return None


def _constant(node: Expression) -> Scalar | None:
    match node:
        case Constant():
            return node.value
        case Negate(operand=Constant(value=int() | float() as value)):
            return -value
    return None
