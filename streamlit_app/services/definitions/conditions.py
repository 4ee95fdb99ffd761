"""A labelling function's conditions: as form rows, as expressions, and from one to the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

from tippers_dagster.catalog.kinds import Condition
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.nodes import Scalar
from tippers_dagster.labelling.form import (
    OPERATORS,
    Form,
    FormRow,
    Operator,
    condition_to_form,
    form_to_condition,
)

LISTS = ("in", "not in")
NULL_TESTS = ("is null", "is not null")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ITEM = re.compile(r"\s*('(?:[^']|'')*'|[^,]*)\s*(?:,|$)")


def new_condition() -> dict[str, Any]:
    """An empty condition of the form."""
    return {"label": "", "joined": "all", "rows": [new_row()]}


def new_row() -> dict[str, Any]:
    """An empty test of a condition."""
    return {"column": "", "operator": ">=", "value": ""}


# --- from conditions to a form -------------------------------------------------------------------
def condition_to_fields(condition: Condition) -> dict[str, Any] | None:
    """Rows of column, operator and value; None for a condition that rows cannot express."""
    try:
        found = condition_to_form(condition)
    except BadInput:
        return None
    if found is None:
        return None
    rows = [
        {"column": row.column, "operator": row.operator, "value": _value_text(row.value)}
        for row in found.rows
    ]
    as_read = {"text": condition.when, "joined": found.joined, "rows": deepcopy(rows)}
    return {"label": found.label, "joined": found.joined, "rows": rows, "as_read": as_read}


def _value_text(value: Scalar | tuple[Scalar, ...] | None) -> str:
    """The text that ``_value`` reads as this value."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(_value_text(v) for v in value)
    if isinstance(value, str):
        plain = _constant(value) == value and value == value.strip() and "," not in value and value
        return value if plain else "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


# --- from a form to conditions -------------------------------------------------------------------
def conditions_of(fields: Mapping[str, Any]) -> list[Condition]:
    """The conditions in the form or the expressions of a labelling function.

    Raises
    ------
    BadInput
        Naming the condition that is not valid.
    """
    if fields["mode"] == "form":
        return [_form_condition(at, c) for at, c in enumerate(fields["form"], 1)]
    return [
        Condition(when=c["when"], label=_label(at, c))
        for at, c in enumerate(fields["expression"], 1)
    ]


def _label(at: int, condition: Mapping[str, Any]) -> str:
    if not condition["label"]:
        raise BadInput(f"Condition {at} has no label.", "Choose the label that it votes for.")
    return condition["label"]


def _form_condition(at: int, condition: Mapping[str, Any]) -> Condition:
    label = _label(at, condition)
    read = condition.get("as_read")
    if read and (read["joined"], read["rows"]) == (condition["joined"], condition["rows"]):
        # Unchanged rows keep the author's text: == and = mean the same but differ as text.
        return Condition(when=read["text"], label=label)
    rows = []
    for row in condition["rows"]:
        if not row["column"]:
            raise BadInput(f"Condition {at} has a test without a column.", "Choose a column.")
        rows.append(FormRow(row["column"], _operator(row["operator"]), _value(row)))
    joined: Literal["all", "any"] = "any" if condition["joined"] == "any" else "all"
    try:
        return form_to_condition(Form(tuple(rows), joined, label))
    except BadInput as error:
        raise BadInput(f"Condition {at}: {error.message}", error.hint) from None


def _operator(text: str) -> Operator:
    if text not in OPERATORS:
        raise BadInput(f"{text!r} is not an operator.", f"Use one of {', '.join(OPERATORS)}.")
    return text


def _value(row: Mapping[str, Any]) -> Scalar | tuple[Scalar, ...] | None:
    text = str(row["value"]).strip()
    if row["operator"] in NULL_TESTS:
        return None
    if row["operator"] in LISTS:
        items = [m[1].strip() for m in _ITEM.finditer(text) if m[1].strip()]
        return tuple(_constant(item) for item in items)
    return None if text == "" else _constant(text)


def _constant(text: str) -> Scalar:
    """A number or truth value if it looks like one, else text. In quotes it is always text."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    return text


# --- from one to the other -----------------------------------------------------------------------
def switch(fields: dict[str, Any], mode: str) -> str | None:
    """Switch a labelling function between form, expressions and Python.

    What was written in the other ways is kept.

    Returns
    -------
    str or None
        Why the conditions were not carried over, if they were not.
    """
    before, fields["mode"] = fields["mode"], mode
    if mode == "expression" and before == "form":
        try:
            conditions = conditions_of({**fields, "mode": "form"})
        except BadInput as error:
            return f"The form is incomplete, so it was not carried over: {error.message}"
        fields["expression"] = [c.model_dump() for c in conditions]
    elif mode == "form" and before == "expression":
        forms = [condition_to_fields(Condition(**c)) for c in fields["expression"] if c["label"]]
        representable = [form for form in forms if form is not None]
        if not representable or len(representable) < len(fields["expression"]):
            fields["mode"] = before
            return (
                "These expressions stay as they are: the form can only compare one column with "
                "a value per row."
            )
        fields["form"] = representable
    if mode == "expression" and not fields["expression"]:
        fields["expression"] = [{"when": "", "label": ""}]
    return None
