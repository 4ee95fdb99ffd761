"""Compiled functions vote exactly as Python does, row by row."""

from __future__ import annotations

import ast
import datetime as dt
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.labelling.programs import LABELS, Trees, condition, functions, python, tables
from tippers_dagster.catalog.kinds import Condition, LabellingFunction
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.nodes import FunctionRefused
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.git_functions import GitFunction, Row, load_module
from tippers_dagster.labelling.program import (
    BLOCK,
    AllRowsFailed,
    Program,
    VoteResult,
    compile_function,
)

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")  # `"a" is None`

SEVERAL = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)


def body(*, python: str | None = None, conditions: list[tuple[str, str]] | None = None):
    made = tuple(Condition(when=when, label=label) for when, label in conditions or ())
    return LabellingFunction(rule="r", labels=LABELS, python=python, conditions=made)


def compiled(table: pa.Table | None, **form) -> Program:
    columns = None if table is None else {f.name: f.type for f in table.schema}
    return compile_function(body(**form), columns=columns, values=LABELS)


def votes(table: pa.Table, **form) -> list[int]:
    return compiled(table, **form).vote(table).votes.tolist()


def attempt(program, table: pa.Table) -> VoteResult | None:
    """The votes, or None if all rows failed."""
    try:
        return program.vote(table)
    except AllRowsFailed:
        return None


DECORATOR = "def labeling_function():\n    return lambda function: function\n\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = set(sys.modules)
    yield tmp_path_factory.mktemp("functions")
    for name in set(sys.modules) - before:
        if name.startswith("_tippers_git_"):
            del sys.modules[name]


def in_python(folder: Path, text: str) -> GitFunction:
    """The same text as a function in the project's files, run by Python."""
    path = folder / "function.py"
    numbers = "".join(f"{label} = {at}\n" for at, label in enumerate((*LABELS, "ABSTAIN")))
    constants = numbers.replace("ABSTAIN = 3", "ABSTAIN = -1")
    renamed = text.replace("def labeling_function(row):", "@labeling_function()\ndef voting(row):")
    path.write_text(constants + DECORATOR + renamed)
    return GitFunction(load_module(path).voting, LABELS, LABELS, path)


@SEVERAL
@given(functions(), tables())
def test_python_votes_as_python_does(folder: Path, text: str, table: pa.Table) -> None:
    try:
        program = compiled(table, python=text)
    except FunctionRefused as error:
        assume("cannot" not in error.message and "new text" not in error.message)
        assume("may have no value" not in error.message)
        raise
    found, expected = attempt(program, table), attempt(in_python(folder, text), table)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.votes.tolist() == expected.votes.tolist()
        assert found.nulls + found.errors == expected.nulls + expected.errors
        assert (found.example is None) == (expected.example is None)


@SEVERAL
@given(functions(nulls=False), tables(nulls=False))
def test_without_nulls_it_is_plain_python(text: str, table: pa.Table) -> None:
    try:
        program = compiled(table, python=text)
    except FunctionRefused:
        assume(False)
    names = {**{label: at for at, label in enumerate(LABELS)}, "ABSTAIN": -1}
    exec(compile(ast.parse(text), "oracle", "exec"), names)
    expected, errors = [], 0
    for values in table.to_pylist():
        try:
            answer = names["labeling_function"](Row(**values))
        except (TypeError, ZeroDivisionError, ValueError, OverflowError, AttributeError):
            answer, errors = -1, errors + 1
        expected.append(-1 if answer is None else answer)
    found = attempt(program, table)
    if found is None:
        assert set(expected) == {-1}
    else:
        assert found.votes.tolist() == expected
        assert found.nulls + found.errors == errors


@SEVERAL
@given(st.lists(Trees(both=True).boolean(3), min_size=1, max_size=3), tables())
def test_conditions_mean_the_same_as_python(trees: list, table: pa.Table) -> None:
    labels = [LABELS[at % 3] for at in range(len(trees))]
    pairs = list(zip(trees, labels, strict=True))
    lines = [f"    if {python(tree)}:\n        return {label}" for tree, label in pairs]
    text = "def labeling_function(row):\n" + "\n".join(lines)
    written = [(condition(tree), label) for tree, label in pairs]
    try:
        found = attempt(compiled(table, conditions=written), table)
    except FunctionRefused:
        assume(False)
    expected = attempt(compiled(table, python=text), table)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.votes.tolist() == expected.votes.tolist()
        assert (found.nulls, found.errors) == (expected.nulls, expected.errors)


# --- values ------------------------------------------------------------------------------------
def test_types_of_a_rule() -> None:
    """Every type that a rule's table may have, including PostgreSQL's numeric as read by ADBC."""
    numeric = pa.opaque(pa.string(), "numeric", "PostgreSQL")
    texts = pa.array(["0.8", None, "nan", "-1.5"])
    table = pa.table(
        {
            "numeric": pa.ExtensionArray.from_storage(numeric, texts),
            "decimal": pa.array([Decimal("0.8"), None, Decimal(2), Decimal("-1.5")]),
            "small": pa.array([1, None, 3, -4], pa.int16()),
            "unsigned": pa.array([2**64 - 1, None, 3, 0], pa.uint64()),
            "real": pa.array([0.5, None, float("nan"), -1.5], pa.float32()),
            "word": pa.array(["a", None, "b", "c"]).dictionary_encode(),
            "nothing": pa.nulls(4),
            "day": pa.array([dt.date(2025, 1, 6), None, None, None]),
        }
    )
    for when, expected in {
        "numeric >= 0.8": [0, -1, -1, -1],
        "decimal >= 0.8": [0, -1, 0, -1],
        "small = 3 or small < 0": [-1, -1, 0, 0],
        "unsigned > 9223372036854775807": [0, -1, -1, -1],
        "unsigned + 1 = 4": [-1, -1, 0, -1],
        "real < 1": [0, -1, -1, 0],
        "word in ('a', 'c')": [0, -1, -1, 0],
        "nothing is null": [0, 0, 0, 0],
        "nothing = 1": [-1, -1, -1, -1],
        "day is not null": [0, -1, -1, -1],
        "coalesce(small, real, 7) = 7": [-1, 0, -1, -1],
    }.items():
        assert votes(table, conditions=[(when, "STATIC")]) == expected, when


def test_a_column_that_is_not_numeric_is_reported() -> None:
    numeric = pa.opaque(pa.string(), "numeric", "PostgreSQL")
    table = pa.table({"x": pa.ExtensionArray.from_storage(numeric, pa.array(["much"]))})
    with pytest.raises(BadInput, match="holds something else"):
        votes(table, conditions=[("x > 1", "STATIC")])


def test_nulls_and_errors_are_counted_with_an_example() -> None:
    table = pa.table({"hours": [1.0, None, 9.0, 2.0], "days": [1, 2, 0, 4]})
    program = compiled(table, conditions=[("hours / days >= 0.5", "STATIC")])
    result = program.vote(table)
    assert result.votes.tolist() == [0, -1, -1, 0]
    assert (result.nulls, result.errors) == (1, 1)
    assert result.example is not None
    assert result.example.startswith("row 3: division by zero (condition 1, column 7)")
    assert "hours = 9.0, days = 0" in result.example
    only_null = program.vote(table.slice(0, 2))
    assert (
        only_null.example
        == "row 2: `hours` is null (condition 1, column 1); hours = null, days = 2"
    )


def test_failing_on_all_rows_is_an_error() -> None:
    table = pa.table({"hours": [1.0, None, 3.0], "days": [0, 0, 0]})
    program = compiled(table, conditions=[("hours / days >= 0.5", "STATIC")])
    with pytest.raises(AllRowsFailed, match=r"errors 2, nulls 1.*row 1: division"):
        program.vote(table)
    nulls = pa.table({"hours": pa.nulls(2, pa.float64()), "days": [1, 2]})
    assert program.vote(nulls).nulls == 2
    assert program.vote(table.slice(0, 0)).votes.tolist() == []


def test_every_row_of_a_large_table_gets_one_vote() -> None:
    n = 2 * BLOCK + 17
    numbers = np.arange(n)
    table = pa.table({"x": pa.array(numbers, mask=numbers % 10 == 0)})
    result = compiled(table, conditions=[("x % 3 = 1", "LAPTOP"), ("x < 0", "PHONE")]).vote(table)
    expected = np.where((numbers % 10 != 0) & (numbers % 3 == 1), 1, -1)
    assert np.array_equal(result.votes, expected)
    assert result.nulls == np.count_nonzero(numbers % 10 == 0)
    division = compiled(table, conditions=[(f"1 / (x - {n - 1}) > 2", "STATIC")]).vote(table)
    assert division.example is not None
    assert division.example.startswith(f"row {n}: ")


def test_a_table_in_chunks_gets_the_same_votes() -> None:
    whole = pa.table({"x": [1, None, 3, 4], "t": ["a", "b", None, "a"]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)])
    form = {"conditions": [("x > 2 and t = 'a'", "STATIC")]}
    assert votes(pieces, **form) == votes(whole, **form) == [-1, -1, -1, 0]
    assert votes(whole.slice(2), **form) == [-1, 0]


def test_whole_numbers_do_not_overflow() -> None:
    table = pa.table({"x": [2**62, 3]})
    assert votes(table, conditions=[("x * x * x > 1e40", "STATIC")]) == [0, -1]
    assert votes(table, conditions=[("x + x > 9223372036854775807", "STATIC")]) == [0, -1]
    assert votes(table, conditions=[("(x + x) / 2 - x = 0", "STATIC")]) == [0, 0]


def test_an_ever_growing_number_is_an_error_of_its_row() -> None:
    lines = ["x = row['x']", *["x = x * x"] * 30, "return STATIC if x > 1 else ABSTAIN"]
    text = "def labeling_function(row):\n" + "".join(f"    {line}\n" for line in lines)
    table = pa.table({"x": [1, 10, 2]})
    result = compiled(table, python=text).vote(table)
    assert result.errors == 2
    assert "too large" in str(result.example)


# --- compiling ---------------------------------------------------------------------------------
def test_harmless_code_around_a_function_is_accepted() -> None:
    text = '''
"""Devices that never move."""
from snorkel.labeling import labeling_function

ABSTAIN = -1
STATIC = 0
LEAST = 15.5
ROOMS = ("office", "lab")


@labeling_function(name="always_on")
def lf_always_on(x):
    # Long sessions in one place.
    """Votes STATIC."""
    hours = x.hours
    hours += 0.5
    if x.get("room") in ROOMS and hours >= LEAST:
        return STATIC
    elif x["room"].upper().startswith("K"):
        return -1
    return None
'''
    table = pa.table({"hours": [15.0, 3.0, 20.0, 20.0], "room": ["lab", "lab", "kitchen", None]})
    program = compiled(table, python=text)
    assert program.columns == ("hours", "room")
    assert program.votes_for == ("STATIC",)
    assert program.vote(table).votes.tolist() == [0, -1, -1, -1]


def test_labels_must_be_the_concepts() -> None:
    wrong = LabellingFunction(
        rule="r", labels=("ROUTER",), conditions=(Condition(when="x > 1", label="ROUTER"),)
    )
    with pytest.raises(BadInput, match="no label ROUTER"):
        compile_function(wrong, columns=None, values=LABELS)
    other = LabellingFunction(
        rule="r", labels=("STATIC",), conditions=(Condition(when="x > 1", label="PHONE"),)
    )
    with pytest.raises(FunctionRefused, match="votes for PHONE, which is not in its"):
        compile_function(other, columns=None, values=LABELS)
    git = LabellingFunction(rule="r", labels=("STATIC",), function="f")
    with pytest.raises(BadInput, match="is in git"):
        compile_function(git, columns=None, values=LABELS)


def test_without_columns_only_certain_errors_are_refused() -> None:
    assert compiled(None, conditions=[("a + b > min(c, 3) * 2 and d", "STATIC")]).columns == tuple(
        "abcd"
    )
    with pytest.raises(FunctionRefused, match="cannot be compared"):
        compiled(None, conditions=[("abs(a) = 'x'", "STATIC")])
    program = compiled(None, conditions=[("a > 1", "STATIC")])
    with pytest.raises(FunctionRefused, match="no column 'a'"):
        program.vote(pa.table({"b": [1]}))
    with pytest.raises(FunctionRefused, match="`a` is text and 1 is a number"):
        program.vote(pa.table({"a": ["1"]}))


def test_similar_columns_are_suggested() -> None:
    table = pa.table({"sessions": [1], "mean_hours": [1.0]})
    with pytest.raises(FunctionRefused) as caught:
        compiled(table, conditions=[("session > 1", "STATIC")])
    assert caught.value.hint == "Did you mean sessions?"
    with pytest.raises(FunctionRefused) as caught:
        compiled(table, conditions=[("zzz > 1", "STATIC")])
    assert caught.value.hint == "It has sessions, mean_hours."


def test_columns_are_read_once_for_all_functions() -> None:
    table = pa.table({"t": ["a", "b"]})
    columns = Columns(table)
    compiled(table, conditions=[("t = 'a'", "STATIC")]).vote(columns)
    assert columns["t"] is columns["t"]
