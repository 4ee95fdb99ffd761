"""Checks a program before it runs: unknown columns, and values of the wrong type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import pairwise, product

from tippers_dagster.labelling.expressions.functions import (
    COALESCE,
    FUNCTIONS,
    MAX_DIGITS,
    MIN_AND_MAX,
    result_type,
)
from tippers_dagster.labelling.expressions.nodes import (
    Arithmetic,
    Assign,
    Both,
    Branch,
    Call,
    Choose,
    Column,
    Compare,
    Constant,
    Contains,
    Either,
    Expression,
    FunctionRefused,
    IsNull,
    Local,
    Negate,
    Not,
    OneOf,
    Return,
    Statement,
    Vote,
)
from tippers_dagster.labelling.expressions.types import (
    ANY_COLUMN,
    NUMBERS,
    Type,
    Types,
    arithmetic_type,
    comparable,
    joins_texts,
    type_of,
)

_BOOL: Types = frozenset({Type.BOOL})
_TEXT: Types = frozenset({Type.TEXT})
_OPEN: Types = frozenset({Type.NULL, Type.UNKNOWN})
"""Types that do not restrict what a value may be used for."""

Known = dict[str, Types]
"""Names that certainly have a value, and the types it may have."""


def described(node: Expression) -> str:
    """A value's name in messages."""
    match node:
        case Column() | Local():
            return f"`{node.name}`"
        case Constant():
            return "null" if node.value is None else f"{node.value!r:.60}"
        case Call():
            return f"{node.function}(...)"
        case _:
            return "this"


class Checker:
    """Walks a program with the types of its columns.

    Parameters
    ----------
    The possible types of each column of the rule; None if the rule was never computed: then
    only errors that do not depend on columns are found.
        only what is wrong for all columns is found.
    Whether only true or false may be tested (conditions), or any value, as in Python.
        Whether only true or false may be tested (conditions), or anything, as in Python.
    """

    def __init__(self, columns: Mapping[str, Types] | None, *, strict: bool) -> None:
        self._columns = columns
        self._strict = strict

    def statements(self, body: Iterable[Statement], known: Known) -> Known | None:
        """The names known after these statements; None if nothing can follow them.

        Raises
        ------
        FunctionRefused
            For the first error.
        """
        after: Known | None = known
        for statement in body:
            if after is None:
                break
            after = self._statement(statement, after)
        return after

    def _statement(self, statement: Statement, known: Known) -> Known | None:
        match statement:
            case Assign():
                return {**known, statement.name: self.types(statement.value, known)}
            case Return():
                self._check_vote(statement, known)
                return None
            case Branch():
                return self._branch(statement, known)

    def _branch(self, branch: Branch, known: Known) -> Known | None:
        ends = []
        for test, body in branch.cases:
            self._check_test(test, known)
            ends.append(self.statements(body, known))
        ends.append(self.statements(branch.otherwise, known))
        open_ends = [end for end in ends if end is not None]
        if not open_ends:
            return None
        names = set.intersection(*(set(end) for end in open_ends))
        return {name: frozenset().union(*(end[name] for end in open_ends)) for name in names}

    def _check_vote(self, statement: Return, known: Known) -> None:
        wrong = self.types(statement.value, known) - {Type.LABEL, Type.NULL}
        if wrong:
            raise FunctionRefused(
                f"{described(statement.value)} is {_type_names(wrong)}, not a label.",
                "Return one of the function's labels, or ABSTAIN.",
                statement.value.place,
            )

    # --- expressions: each operand is visited once, or deep programs would take for ever --------
    def types(self, node: Expression, known: Known) -> Types:
        """The types that an expression may have."""
        match node:
            case Constant():
                return frozenset({type_of(node.value)})
            case Vote():
                return frozenset({Type.LABEL})
            case Column():
                return self._column(node)
            case Local():
                return _local(node, known)
            case Negate():
                found = self._need(node.operand, known, NUMBERS, "take a minus sign")
                return frozenset({Type.FLOAT if t == Type.FLOAT else Type.INT for t in found})
            case Arithmetic():
                return self._arithmetic(node, known)
            case Choose():
                self._check_test(node.test, known)
                return self.types(node.yes, known) | self.types(node.no, known)
            case Both() | Either():
                found = frozenset().union(*(self._check_test(o, known) for o in node.operands))
                return _BOOL if self._strict else found
            case Call():
                return self._call(node, known)
            case _:
                self._check_boolean(node, known)
                return _BOOL

    def _check_boolean(self, node: Expression, known: Known) -> None:
        match node:
            case Compare():
                operands = (node.first, *(operand for _, operand in node.rest))
                self._check_comparisons(operands, known)
            case OneOf():
                found = self._comparable(node.operand, known)
                for constant in node.constants:
                    other = Constant(constant, node.place)
                    _check_comparison(node.operand, found, other, frozenset({type_of(constant)}))
            case Contains():
                self._need(node.part, known, _TEXT, "be searched for in a text")
                self._need(node.whole, known, _TEXT, "be searched")
            case IsNull():
                self.types(node.operand, known)
            case Not():
                self._check_test(node.operand, known)

    def _column(self, node: Column) -> Types:
        if self._columns is None:
            return ANY_COLUMN
        if node.name not in self._columns:
            near = difflib.get_close_matches(node.name.lower(), self._columns, n=3)
            names = ", ".join(near or list(self._columns)[:12])
            raise FunctionRefused(
                f"the rule has no column {node.name!r:.60}.",
                f"Did you mean {names}?" if near else f"It has {names}.",
                node.place,
            )
        return self._columns[node.name]

    def _arithmetic(self, node: Arithmetic, known: Known) -> Types:
        left, right = self.types(node.left, known), self.types(node.right, known)
        if any(joins_texts(node.operator, a, b) for a, b in product(left, right)):
            raise FunctionRefused(
                f"`{node.operator}` would make a new text.",
                "Texts can be compared and searched, not joined, repeated or formatted.",
                node.place,
            )
        doing = f"be computed with (`{node.operator}`)"
        numbers = product(
            _allowed(node.left, left, NUMBERS, doing), _allowed(node.right, right, NUMBERS, doing)
        )
        return frozenset(
            {
                Type.FLOAT if arithmetic_type(node.operator, a, b) == Type.FLOAT else Type.INT
                for a, b in numbers
            }
        )

    def _comparable(self, node: Expression, known: Known) -> Types:
        """The types of an operand of a comparison; ``UNKNOWN`` may be anything."""
        found = self.types(node, known)
        _check_usable(node, found, "be compared")
        return found

    def _check_comparisons(self, operands: tuple[Expression, ...], known: Known) -> Types:
        types = [self._comparable(operand, known) for operand in operands]
        for (left, a), (right, b) in pairwise(zip(operands, types, strict=True)):
            _check_comparison(left, a, right, b)
        return frozenset().union(*types)

    def _call(self, node: Call, known: Known) -> Types:
        if node.function == COALESCE:
            return frozenset().union(*(self.types(a, known) for a in node.arguments))
        if node.function in MIN_AND_MAX:
            return self._check_comparisons(node.arguments, known)
        function = FUNCTIONS[node.function]
        taken = [
            self._need(argument, known, allowed, f"be given to {node.function}")
            for argument, allowed in zip(node.arguments, function.takes, strict=False)
        ]
        if node.function == "round" and len(node.arguments) == 2:
            _check_digits(node.arguments[1])
        return frozenset({result_type(node.function, types) for types in product(*taken)})

    # --- uses of values -------------------------------------------------------------------------
    def _check_test(self, node: Expression, known: Known) -> Types:
        found = self.types(node, known)
        _check_usable(node, found, "be tested")
        if self._strict and not found <= _BOOL | _OPEN:
            raise FunctionRefused(
                f"{described(node)} is {_type_names(found - _OPEN)}, not a condition.",
                "Compare it with something, for example `sessions >= 10`.",
                node.place,
            )
        return found

    def _need(self, node: Expression, known: Known, allowed: Types, doing: str) -> Types:
        return _allowed(node, self.types(node, known), allowed, doing)


def _allowed(node: Expression, found: Types, allowed: Types, doing: str) -> Types:
    """The allowed types among those found; all allowed types if the type is not known yet."""
    _check_usable(node, found, doing)
    if Type.UNKNOWN in found:
        return allowed
    if found - _OPEN and not found & allowed:
        raise FunctionRefused(
            f"{described(node)} is {_type_names(found - _OPEN)}, which cannot {doing}.",
            f"Expected {_type_names(allowed)}.",
            node.place,
        )
    return found & allowed


def _check_comparison(left: Expression, a: Types, right: Expression, b: Types) -> None:
    if Type.UNKNOWN in a | b or not a - _OPEN or not b - _OPEN:
        return
    if not any(comparable(*pair) for pair in product(a - _OPEN, b - _OPEN)):
        raise FunctionRefused(
            f"{described(left)} is {_type_names(a)} and {described(right)} is {_type_names(b)}: "
            "they cannot be compared.",
            "Write texts in quotes and numbers without. float(...) converts a text to a number.",
            right.place,
        )


def _check_usable(node: Expression, found: Types, doing: str) -> None:
    if Type.LABEL in found:
        raise FunctionRefused(
            f"{described(node)} is a label, which cannot {doing}.",
            "A label can only be returned.",
            node.place,
        )
    if Type.OTHER in found:
        raise FunctionRefused(
            f"{described(node)} is {Type.OTHER.value}, which cannot {doing}.",
            "Let the rule's SQL turn it into a number, for example the days since then. "
            "Here it can only be tested for null.",
            node.place,
        )


def _local(node: Local, known: Known) -> Types:
    if node.name not in known:
        raise FunctionRefused(
            f"{node.name!r} may have no value here.",
            "Give it one before this line, in every branch that leads here. "
            f'A column is written as row["{node.name}"].',
            node.place,
        )
    return known[node.name]


def _check_digits(node: Expression) -> None:
    match node:
        case Constant(value=int() as digits) if 0 <= digits <= MAX_DIGITS:
            return
    raise FunctionRefused(
        "The number of digits for round must be a constant.",
        f"Write a number from 0 to {MAX_DIGITS}, for example round(share, 2).",
        node.place,
    )


_ORDER = list(Type)


def _type_names(types: Types) -> str:
    names = dict.fromkeys(
        ("a number" if t in (Type.INT, Type.FLOAT) else t.value)
        for t in sorted(types - {Type.NULL, Type.UNKNOWN}, key=_ORDER.index)
    )
    return " or ".join(names) or Type.NULL.value
