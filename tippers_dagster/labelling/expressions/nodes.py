"""The program that both forms of a labelling function are compiled to.

A tree of expressions and statements, each with its place in the text. It can only express what a
labelling function may do, so running it needs no further safeguards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tippers_dagster.errors import BadInput

ABSTAIN = -1
MAX_TEXT_LENGTH = 20_000
MAX_STRING_LENGTH = 1_000
MAX_NODES = 4_000
MAX_DEPTH = 40
MAX_CONSTANTS = 200
MAX_INTEGER = 2**63 - 1

CompareOperator = Literal["<", "<=", ">", ">=", "==", "!="]
ArithmeticOperator = Literal["+", "-", "*", "/", "//", "%"]
Scalar = bool | int | float | str


@dataclass(frozen=True)
class Place:
    """A place in the text: line and column from 1; ``condition`` from 1 for conditions."""

    line: int
    column: int
    condition: int | None = None

    def __str__(self) -> str:
        if self.condition is None:
            return f"line {self.line}, column {self.column}"
        line = f"line {self.line}, " if self.line > 1 else ""
        return f"condition {self.condition}, {line}column {self.column}"


class FunctionRefused(BadInput):
    """A labelling function that cannot be compiled, with the place of the error."""

    def __init__(self, message: str, hint: str | None, place: Place) -> None:
        super().__init__(f"{str(place).capitalize()}: {message}", hint)
        self.place = place


# --- expressions -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Constant:
    """A number, a text, a boolean or null."""

    value: Scalar | None
    place: Place


@dataclass(frozen=True)
class Column:
    """A column of the rule's row."""

    name: str
    place: Place


@dataclass(frozen=True)
class Local:
    """A variable that the function assigned."""

    name: str
    place: Place


@dataclass(frozen=True)
class Vote:
    """A label's class number, or -1 to abstain."""

    number: int
    place: Place


@dataclass(frozen=True)
class Negate:
    """Unary minus."""

    operand: Expression
    place: Place


@dataclass(frozen=True)
class Arithmetic:
    """Two operands and their operator."""

    operator: ArithmeticOperator
    left: Expression
    right: Expression
    place: Place


@dataclass(frozen=True)
class Compare:
    """A chain: ``a < b <= c`` evaluates every operand once, and stops at the first false test."""

    first: Expression
    rest: tuple[tuple[CompareOperator, Expression], ...]
    place: Place


@dataclass(frozen=True)
class OneOf:
    """Whether a value equals one of some constants."""

    operand: Expression
    constants: tuple[Scalar, ...]
    negated: bool
    place: Place


@dataclass(frozen=True)
class Contains:
    """Whether a text is part of another."""

    part: Expression
    whole: Expression
    negated: bool
    place: Place


@dataclass(frozen=True)
class IsNull:
    """The only test that is true for a null."""

    operand: Expression
    negated: bool
    place: Place


@dataclass(frozen=True)
class Both:
    """``and``: evaluates no operand after the first false one."""

    operands: tuple[Expression, ...]
    place: Place


@dataclass(frozen=True)
class Either:
    """``or``: evaluates no operand after the first true one."""

    operands: tuple[Expression, ...]
    place: Place


@dataclass(frozen=True)
class Not:
    """``not``."""

    operand: Expression
    place: Place


@dataclass(frozen=True)
class Choose:
    """``yes if test else no``."""

    test: Expression
    yes: Expression
    no: Expression
    place: Place


@dataclass(frozen=True)
class Call:
    """A call of one of the pure functions of ``functions.py``."""

    function: str
    arguments: tuple[Expression, ...]
    place: Place


Expression = (
    Constant
    | Column
    | Local
    | Vote
    | Negate
    | Arithmetic
    | Compare
    | OneOf
    | Contains
    | IsNull
    | Both
    | Either
    | Not
    | Choose
    | Call
)


# --- statements --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Assign:
    """Assigns a value to a name."""

    name: str
    value: Expression
    place: Place


@dataclass(frozen=True)
class Branch:
    """``if``, any number of ``elif``, ``else``."""

    cases: tuple[tuple[Expression, tuple[Statement, ...]], ...]
    otherwise: tuple[Statement, ...]
    place: Place


@dataclass(frozen=True)
class Return:
    """Votes; abstains for a null or no value."""

    value: Expression
    place: Place


Statement = Assign | Branch | Return


def children(node: Expression | Statement) -> tuple[Expression | Statement, ...]:
    """The direct children of a node."""
    match node:
        case Negate() | IsNull() | Not() | OneOf():
            return (node.operand,)
        case Arithmetic():
            return (node.left, node.right)
        case Compare():
            return (node.first, *(operand for _, operand in node.rest))
        case Contains():
            return (node.part, node.whole)
        case Both() | Either():
            return node.operands
        case Choose():
            return (node.test, node.yes, node.no)
        case Call():
            return node.arguments
        case Assign() | Return():
            return (node.value,)
        case Branch():
            inner = [part for test, body in node.cases for part in (test, *body)]
            return (*inner, *node.otherwise)
        case _:
            return ()


def walk(statements: tuple[Statement, ...]) -> list[Expression | Statement]:
    """All nodes, in the order of the text."""
    waiting: list[Expression | Statement] = list(reversed(statements))
    found = []
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(reversed(children(node)))
    return found


def reachable(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements up to the first return; later ones are ignored entirely."""
    kept: list[Statement] = []
    for statement in statements:
        if isinstance(statement, Branch):
            cases = tuple((test, reachable(body)) for test, body in statement.cases)
            statement = replace(statement, cases=cases, otherwise=reachable(statement.otherwise))
        kept.append(statement)
        if _returns(statement):
            break
    return tuple(kept)


def _returns(statement: Statement) -> bool:
    if isinstance(statement, Branch):
        bodies = (*(body for _, body in statement.cases), statement.otherwise)
        return all(body and _returns(body[-1]) for body in bodies)
    return isinstance(statement, Return)
