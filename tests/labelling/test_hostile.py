"""Every hostile text is refused quickly, with a place and a specific reason."""

from __future__ import annotations

import ast
import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from tests.labelling.hostile_python import CONDITIONS, HOSTILE, inside
from tippers_dagster.catalog.kinds import Condition, LabellingFunction
from tippers_dagster.labelling.expressions.nodes import FunctionRefused
from tippers_dagster.labelling.program import AllRowsFailed, compile_function

VALUES = ("STATIC", "LAPTOP", "PHONE")
COLUMNS = {
    "i": pa.int64(),
    "j": pa.int64(),
    "x": pa.int64(),
    "f": pa.float64(),
    "b": pa.bool_(),
    "t": pa.string(),
    "u": pa.string(),
    "d": pa.date32(),
}


def refusal(body: LabellingFunction) -> FunctionRefused:
    with pytest.raises(FunctionRefused) as caught:
        compile_function(body, columns=COLUMNS, values=VALUES)
    return caught.value


def test_there_are_enough() -> None:
    assert len(HOSTILE) >= 60
    assert len(CONDITIONS) >= 40


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_python_is_refused(name: str) -> None:
    text, reason = HOSTILE[name]
    body = LabellingFunction.model_construct(
        rule="r", labels=("STATIC", "LAPTOP"), conditions=(), python=text, function=None
    )
    error = refusal(body)
    assert reason in error.message
    assert error.place.line >= 1
    assert error.place.column >= 1
    assert len(str(error)) < 400


@pytest.mark.parametrize("name", CONDITIONS)
def test_hostile_conditions_are_refused(name: str) -> None:
    text, reason = CONDITIONS[name]
    condition = Condition.model_construct(when=text, label="STATIC")
    body = LabellingFunction.model_construct(
        rule="r", labels=("STATIC",), conditions=(condition,), python=None, function=None
    )
    error = refusal(body)
    assert reason in error.message
    assert error.message.startswith("Condition 1")
    assert len(str(error)) < 400


def test_the_place_is_that_of_the_error() -> None:
    text = inside('if row["i"] > 3:', '    return STATIC if eval("1") else ABSTAIN')
    error = refusal(LabellingFunction(rule="r", labels=("STATIC",), python=text))
    assert (error.place.line, error.place.column) == (3, 26)
    assert error.message.startswith("Line 3, column 26: ")
    assert error.hint is not None


ATTEMPTS = [
    ast.literal_eval(line)
    for line in Path(__file__).with_name("attempts.txt").read_text("utf-8").splitlines()
]
"""Texts tried against a running deployment, as Python and as conditions."""

ROWS = pa.table(
    {
        name: pa.array([None, value, value], kind)
        for (name, kind), value in zip(
            COLUMNS.items(), (1, 2, 3, 0.5, True, "a", "b", dt.date(2025, 1, 1)), strict=True
        )
    }
)


def outcome(form: dict[str, object], columns: dict[str, pa.DataType] | None) -> str:
    body = LabellingFunction.model_construct(
        rule="r", labels=("STATIC", "LAPTOP"), function=None, **form
    )
    try:
        program = compile_function(body, columns=columns, values=VALUES)
        return f"voted {program.vote(ROWS).votes.tolist()}"
    except (FunctionRefused, AllRowsFailed) as error:
        return str(error)


@pytest.mark.parametrize("columns", [COLUMNS, None], ids=["computed", "not yet computed"])
def test_attempted_attacks_are_refused_or_vote(columns: dict[str, pa.DataType] | None) -> None:
    assert len(ATTEMPTS) == 150
    for text in ATTEMPTS:
        condition = Condition.model_construct(when=text, label="STATIC")
        assert 0 < len(outcome({"python": text, "conditions": ()}, columns)) < 600
        assert 0 < len(outcome({"python": None, "conditions": (condition,)}, columns)) < 600


@pytest.mark.parametrize(
    "lines",
    [
        ("return STATIC if row.x > 2 else ABSTAIN", "return STATIC if row.gone > 1 else PHONE"),
        ("if row.x > 2:", "    return STATIC", "    y = row.gone", "return ABSTAIN"),
        ("if row.x > 2:", "    return STATIC", "else:", "    return ABSTAIN", "return row.gone"),
    ],
)
def test_code_after_a_return_is_neither_read_nor_checked(lines: tuple[str, ...]) -> None:
    body = LabellingFunction(rule="r", labels=VALUES, python=inside(*lines))
    program = compile_function(body, columns=COLUMNS, values=VALUES)
    found = program.vote(ROWS)
    assert found.votes.tolist() == [-1, 0, 0]
    assert found.nulls == 1
    assert found.example is not None
    assert "gone" not in found.example
    assert program.columns == ("x",)
    assert program.votes_for == ("STATIC",)
