"""Conversion between the small form and conditions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.catalog.kinds import Condition
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.form import (
    OPERATORS,
    Form,
    FormRow,
    condition_to_form,
    form_to_condition,
)

CONSTANTS = st.one_of(
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
NAMES = st.sampled_from(["sessions", "mean_hours", "and", "My column", "größe", "x1", "NULL"])


@st.composite
def rows(draw: st.DrawFn) -> FormRow:
    operator = draw(st.sampled_from(OPERATORS))
    value = None
    if operator in ("in", "not in"):
        value = tuple(draw(st.lists(CONSTANTS, min_size=1, max_size=3)))
    elif "null" not in operator:
        value = draw(CONSTANTS)
    return FormRow(draw(NAMES), operator, value)


@given(st.lists(rows(), min_size=1, max_size=4), st.sampled_from(["all", "any"]))
def test_a_form_survives_conversion_to_a_condition(filled: list[FormRow], joined) -> None:
    form = Form(tuple(filled), joined, "STATIC")
    back = condition_to_form(form_to_condition(form))
    assert back is not None
    assert repr(back.rows) == repr(form.rows)  # 0.0 and -0.0, 1 and True are distinguished
    assert back.joined == (joined if len(filled) > 1 else "all")


def test_the_text_is_what_a_person_would_write() -> None:
    form = Form(
        (
            FormRow("hours", ">=", 15),
            FormRow("room type", "in", ("office", "dean's")),
            FormRow("points", "is not null"),
        ),
        "all",
        "STATIC",
    )
    text = "hours >= 15 and `room type` in ('office', 'dean''s') and points is not null"
    assert form_to_condition(form) == Condition(when=text, label="STATIC")


@pytest.mark.parametrize(
    ("when", "row"),
    [
        ("15 <= hours", FormRow("hours", ">=", 15)),
        ("hours == -1", FormRow("hours", "=", -1)),
        ("hours != 2.5", FormRow("hours", "<>", 2.5)),
    ],
)
def test_conditions_in_other_spellings(when: str, row: FormRow) -> None:
    found = condition_to_form(Condition(when=when, label="STATIC"))
    assert found == Form((row,), "all", "STATIC")


@pytest.mark.parametrize(
    "when", ["a > b", "a / 2 > 1", "not a > 1", "a > 1 and (b > 2 or c > 3)", "1 < a < 3", "a"]
)
def test_conditions_without_a_form_stay_expressions(when: str) -> None:
    assert condition_to_form(Condition(when=when, label="STATIC")) is None


@pytest.mark.parametrize(
    ("filled", "message"),
    [
        ((), "no row"),
        ((FormRow("a", "="),), "has no value"),
        ((FormRow("a", "in", 3),), "cannot take 3"),
        ((FormRow("a", "=", (3,)),), "cannot take"),
        ((FormRow("a", "is null", 3),), "takes no value"),
        ((FormRow("a`b", "=", 3),), "is not allowed in a condition"),
        ((FormRow("a", "=", float("nan")),), "nan cannot be compared"),
    ],
)
def test_an_invalid_form(filled: tuple[FormRow, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        form_to_condition(Form(filled, "all", "STATIC"))
