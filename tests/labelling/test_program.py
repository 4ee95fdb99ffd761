"""Compiled functions vote as Python itself does, row by row."""

from __future__ import annotations

import ast
import datetime as dt
import os
import sys
import time
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
    max_examples=int(os.environ.get("EX", "150")),
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
    """Nothing, where all rows failed."""
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
    """The same text as a function that Python runs, as one of the project's files."""
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
def test_without_nulls_nothing_but_python_is_needed(text: str, table: pa.Table) -> None:
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
def test_conditions_mean_what_python_means(trees: list, table: pa.Table) -> None:
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
