"""Every hostile text is refused, with a place, a reason of its own, and quickly."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from tests.labelling.hostile_python import CONDITIONS, HOSTILE, inside
from tippers_dagster.catalog.kinds import Condition, LabellingFunction
from tippers_dagster.labelling.expressions.nodes import FunctionRefused
from tippers_dagster.labelling.program import compile_function

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
    started = time.process_time()
    with pytest.raises(FunctionRefused) as caught:
        compile_function(body, columns=COLUMNS, values=VALUES)
    assert time.process_time() - started < 1
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


def test_the_place_is_that_of_what_is_wrong() -> None:
    text = inside('if row["i"] > 3:', '    return STATIC if eval("1") else ABSTAIN')
    error = refusal(LabellingFunction(rule="r", labels=("STATIC",), python=text))
    assert (error.place.line, error.place.column) == (3, 26)
    assert error.message.startswith("Line 3, column 26: ")
    assert error.hint is not None
