"""Compiled labelling functions: from a definition's text to votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.catalog.kinds import LabellingFunction
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.check import Checker
from tippers_dagster.labelling.expressions.grammar import parse_conditions
from tippers_dagster.labelling.expressions.nodes import (
    ABSTAIN,
    Column,
    Statement,
    Vote,
    reachable,
    walk,
)
from tippers_dagster.labelling.expressions.run import Failure, Run
from tippers_dagster.labelling.expressions.types import column_types
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.python_subset import parse_python

BLOCK = 1 << 16
"""Rows computed at a time: their intermediate results fit in the processor's cache."""
MAX_VALUES = 127
_MOST_SHOWN = 6


class AllRowsFailed(BadInput):
    """A labelling function failed on every row with values."""


@dataclass(frozen=True, eq=False)
class VoteResult:
    """The votes of one labelling function for the rows of a table.

    Parameters
    ----------
    votes
        int8 [n]: the class number (position in the concept's values), -1 if it abstained.
    nulls
        Rows on which it abstained because it compared or computed with a null.
    errors
        Rows on which it abstained because of an error, such as a division by zero.
    example
        A description of the first such row: of an error if there is one, else of a null.
    """

    votes: NDArray[np.int8]
    nulls: int = 0
    errors: int = 0
    example: str | None = None


class Voter(Protocol):
    """Anything that votes on the rows of a rule's table."""

    def vote(self, table: pa.Table | Columns) -> VoteResult:
        """One vote per row."""
        ...


@dataclass(frozen=True)
class Program:
    """A compiled labelling function.

    Parameters
    ----------
    statements
        The program.
    columns
        The rule's columns that it reads, in the order of the text.
    votes_for
        The labels that it can vote for.
    strict
        Whether it was compiled from conditions, which test only true or false.
    """

    statements: tuple[Statement, ...]
    columns: tuple[str, ...]
    votes_for: tuple[str, ...]
    strict: bool

    def check(self, columns: Mapping[str, pa.DataType] | None) -> None:
        """Check the rule's columns; None: find only errors that do not depend on columns.

        Raises
        ------
        FunctionRefused
            An unknown column, or values that cannot be compared or computed with.
        """
        types = None if columns is None else {n: column_types(t) for n, t in columns.items()}
        Checker(types, strict=self.strict).statements(self.statements, {})

    def vote(self, table: pa.Table | Columns) -> VoteResult:
        """Vote on every row. ``Columns`` may be shared by the functions of one rule.

        Raises
        ------
        FunctionRefused
            When the table lacks columns that the function needs.
        AllRowsFailed
            When it failed on every row with values.
        """
        columns = table if isinstance(table, Columns) else Columns(table)
        self.check(columns.types)
        n = len(columns)
        starts = range(0, n, BLOCK)
        runs = [Run(columns, start, min(start + BLOCK, n)) for start in starts]
        for run in runs:
            run.program(self.statements)
        return self._result(columns, runs)

    def _result(self, columns: Columns, runs: Sequence[Run]) -> VoteResult:
        nulls, errors = sum(run.nulls for run in runs), sum(run.errors for run in runs)
        failures = [run.error_example for run in runs] + [run.null_example for run in runs]
        example = next((f for f in failures if f is not None), None)
        votes = np.concatenate([np.empty(0, np.int8), *(run.votes for run in runs)])
        text = None if example is None else self._described(columns, example)
        return checked(VoteResult(votes, nulls, errors, text))

    def _described(self, columns: Columns, failure: Failure) -> str:
        row = {name: columns.table.column(name)[failure.row].as_py() for name in self.columns}
        text = f"row {failure.row + 1}: {failure.reason} ({failure.place})"
        return f"{text}{shown_values(row)}"


def shown_values(row: Mapping[str, Any]) -> str:
    """Some values of a row, for a message."""
    shown = [f"{name} = {value!r:.40}" for name, value in list(row.items())[:_MOST_SHOWN]]
    return f"; {', '.join(shown)}".replace("= None", "= null") if shown else ""


def checked(result: VoteResult) -> VoteResult:
    """The result, unless every row has an error or a null.

    Raises
    ------
    AllRowsFailed
        When there are errors, and all other rows have nulls.
    """
    n = len(result.votes)
    if result.errors and result.errors + result.nulls == n:
        raise AllRowsFailed(
            f"The labelling function failed on every row: errors {result.errors:,}, nulls "
            f"{result.nulls:,}. For example, {result.example}",
            "Fix it, or the rule that it reads.",
        )
    return result


def compile_function(
    body: LabellingFunction,
    *,
    columns: Mapping[str, pa.DataType] | None,
    values: Sequence[str],
) -> Program:
    """Compile conditions or Python.

    Parameters
    ----------
    body
        The definition's body.
    columns
        Names and types of the rule's columns, None if they are not known yet.
    values
        The concept's labels in order; their positions are the class numbers.

    Raises
    ------
    FunctionRefused
        With line and column of what is not allowed, and a hint.
    BadInput
        Labels that the concept does not have, or a function in git.
    """
    numbers = class_numbers(body, values)
    if body.function is not None:
        raise BadInput(
            f"The function {body.function!r} is in git: there is no text to compile.",
            "Load it with load_git_function.",
        )
    if body.python is not None:
        statements = reachable(parse_python(body.python, numbers, values))
    else:
        statements = parse_conditions(
            [(condition.when, condition.label) for condition in body.conditions], numbers
        )
    nodes = walk(statements)
    voted = [node.number for node in nodes if isinstance(node, Vote)]
    program = Program(
        statements,
        tuple(dict.fromkeys(n.name for n in nodes if isinstance(n, Column))),
        tuple(dict.fromkeys(values[number] for number in voted if number != ABSTAIN)),
        strict=body.python is None,
    )
    program.check(columns)
    return program


def class_numbers(body: LabellingFunction, values: Sequence[str]) -> dict[str, int]:
    """The class number of each label that a function may vote for.

    Raises
    ------
    BadInput
        Labels that the concept does not have, or too many values.
    """
    if len(values) > MAX_VALUES:
        raise BadInput(f"The concept has {len(values)} labels; at most {MAX_VALUES} are supported.")
    unknown = [label for label in body.labels if label not in values]
    if unknown:
        raise BadInput(
            f"The concept has no label {', '.join(unknown)}.",
            f"Its labels: {', '.join(values) or 'none yet'}.",
        )
    return {label: values.index(label) for label in body.labels}
