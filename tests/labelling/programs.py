"""Random labelling functions and tables, and the same function in both languages."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

LABELS = ("STATIC", "LAPTOP", "PHONE")
COLUMNS = {
    "i": pa.int64(),
    "j": pa.int32(),
    "f": pa.float64(),
    "g": pa.float64(),
    "b": pa.bool_(),
    "t": pa.string(),
    "u": pa.string(),
}
INTEGERS = st.one_of(
    st.integers(-4, 4),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63), 10**18 + 1]),
)
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.5, -1.5, 2.0**53, 1e150, -7.25, 0.1, 1e-300]),
    # Squared as integers these are still below the largest supported one.
    st.floats(-1e150, 1e150) | st.sampled_from([float("inf"), float("-inf"), float("nan")]),
)
TEXTS = st.sampled_from(
    ["", "a", "A", "ab", "office", " b ", "12", "-3.5", "1e3", "İ", "ß", "9" * 20]
)
VALUES = {
    "i": INTEGERS,
    "j": st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3),
    "f": FLOATS,
    "g": st.sampled_from([0.0, 1.0, 2.5, -3.0]),
    "b": st.booleans(),
    "t": TEXTS,
    "u": TEXTS,
}
ARITHMETIC = st.sampled_from(["+", "-", "*", "/", "//", "%"])
COMPARE = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
Tree = tuple[Any, ...]

remembered = functools.cache
"""Strategies are nested: each is created once."""


@st.composite
def tables(draw: st.DrawFn, *, nulls: bool = True) -> pa.Table:
    n = draw(st.integers(1, 8))
    data = {}
    for name, type_ in COLUMNS.items():
        value = VALUES[name] | st.none() if nulls else VALUES[name]
        data[name] = pa.array(draw(st.lists(value, min_size=n, max_size=n)), type_)
    return pa.table(data)


@dataclass(frozen=True)
class Trees:
    """Expressions of certain types. ``both``: only those that conditions support too."""

    both: bool
    names: tuple[str, ...] = ()
    nulls: bool = True

    @remembered
    def number(self, depth: int) -> st.SearchStrategy[Tree]:
        plain = [
            st.sampled_from(["i", "j", "f", "g", "b"]).map(lambda n: ("column", n)),
            (st.integers(0, 20) | st.sampled_from([0.5, 2.0, 1e9, 2**53 + 1])).map(constant),
        ]
        if not depth:
            return st.one_of(plain)
        d = depth - 1
        deep = [
            st.tuples(st.just("arithmetic"), ARITHMETIC, self.number(d), self.number(d)),
            st.tuples(st.just("minus"), self.number(d)),
            st.tuples(
                st.just("call"), st.sampled_from(["abs", "round", "int", "float"]), self.number(d)
            ),
            st.tuples(st.just("call"), st.sampled_from(["int", "float", "len"]), self.text(d)),
            st.tuples(st.just("call"), st.just("round"), self.number(d), st.just(("constant", 1))),
            st.tuples(
                st.just("call"), st.sampled_from(["min", "max"]), self.number(d), self.number(d)
            ),
            self.boolean(d),
        ]
        if not self.both:
            deep += [self.choice(self.number(d), self.number(d), d), self.joined(self.number(d))]
            deep += [self.choice(self.number(d), self.anything(d), d)]
        return st.one_of(*plain, *deep)

    @remembered
    def text(self, depth: int) -> st.SearchStrategy[Tree]:
        plain = [
            st.sampled_from(["t", "u"]).map(lambda n: ("column", n)),
            st.sampled_from(["a", "office", "", "1"]).map(constant),
        ]
        if not depth:
            return st.one_of(plain)
        d = depth - 1
        methods = st.sampled_from(["lower", "upper", "strip"])
        deep = [st.tuples(st.just("call"), methods, self.text(d))]
        if not self.both:
            deep += [
                self.choice(self.text(d), self.text(d), d),
                self.choice(self.text(d), self.number(d), d),
            ]
        return st.one_of(*plain, *deep)

    @remembered
    def boolean(self, depth: int) -> st.SearchStrategy[Tree]:
        d = max(0, depth - 1)
        column = st.just(("column", "b"))
        listed = st.lists(st.integers(-2, 3) | st.just(0.5), min_size=1, max_size=3)
        tests = [
            column,
            st.tuples(st.just("compare"), self.number(d), COMPARE, self.number(d)),
            st.tuples(st.just("compare"), self.text(d), COMPARE, self.text(d)),
            st.tuples(st.just("in"), self.number(d), listed.map(tuple), st.booleans()),
            st.tuples(st.just("in"), self.text(d), st.just(("a", "office")), st.booleans()),
            st.tuples(st.just("null"), self.number(0) | self.text(0), st.booleans()),
            st.tuples(st.just("between"), self.number(d), self.number(d), self.number(d)),
            st.tuples(
                st.just("call"),
                st.sampled_from(["startswith", "endswith"]),
                self.text(d),
                self.text(0),
            ),
        ]
        if not depth:
            return st.one_of(tests)
        chain = [self.number(d), COMPARE, self.number(d), COMPARE, self.number(d)]
        deep = [
            st.tuples(st.just("compare"), *chain),
            st.tuples(st.just("not"), self.boolean(d)),
            self.joined(self.boolean(d)),
        ]
        if not self.both:
            deep += [st.tuples(st.just("contains"), self.text(d), self.text(d), st.booleans())]
            deep += [st.tuples(st.just("not"), self.anything(d)), self.joined(self.anything(d))]
            deep += [st.tuples(st.just("compare"), self.anything(d), COMPARE, self.anything(d))]
        return st.one_of(*tests, *deep)

    @remembered
    def anything(self, depth: int) -> st.SearchStrategy[Tree]:
        kinds = [self.number(depth), self.text(depth)]
        if self.nulls:
            kinds.append(st.just(MAYBE_NULL))
        if self.names:
            kinds.append(st.sampled_from(self.names).map(lambda n: ("name", n)))
        return st.one_of(kinds)

    def choice(
        self, yes: st.SearchStrategy[Tree], no: st.SearchStrategy[Tree], depth: int
    ) -> st.SearchStrategy[Tree]:
        return st.tuples(st.just("choose"), self.boolean(min(depth, 1)), yes, no)

    def joined(self, operand: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        operands = st.lists(operand, min_size=2, max_size=3).map(tuple)
        return st.tuples(st.sampled_from(["and", "or"]), operands)


MAYBE_NULL = ("choose", ("column", "b"), ("constant", None), ("constant", 1))


def constant(value: object) -> Tree:
    return ("constant", value)


METHODS = ("lower", "upper", "strip", "startswith", "endswith")


def python(tree: Tree) -> str:
    match tree:
        case ("column", name):
            return f'row["{name}"]'
        case ("name", name):
            return name
        case ("constant", value):
            return repr(value)
        case ("arithmetic", symbol, a, b):
            return f"({python(a)} {symbol} {python(b)})"
        case ("minus", a):
            return f"(-{python(a)})"
        case ("call", name, first, *rest) if name in METHODS:
            return f"{python(first)}.{name}({', '.join(map(python, rest))})"
        case ("call", name, *arguments):
            return f"{name}({', '.join(map(python, arguments))})"
        case ("compare", first, *rest):
            operators = [f" {s} {python(o)}" for s, o in zip(rest[::2], rest[1::2], strict=True)]
            return f"({python(first)}{''.join(operators)})"
        case ("in", a, constants, negated):
            return f"({python(a)} {'not in' if negated else 'in'} {constants!r})"
        case ("contains", a, b, negated):
            return f"({python(a)} {'not in' if negated else 'in'} {python(b)})"
        case ("null", a, negated):
            return f"({python(a)} is {'not ' if negated else ''}None)"
        case ("between", a, low, high):
            return f"({python(low)} <= {python(a)} <= {python(high)})"
        case ("and" | "or" as word, operands):
            return f"({f' {word} '.join(map(python, operands))})"
        case ("not", a):
            return f"(not {python(a)})"
        case ("choose", test, yes, no):
            return f"({python(yes)} if {python(test)} else {python(no)})"
    raise AssertionError(tree)


def condition(tree: Tree) -> str:
    """The expression as a condition."""
    match tree:
        case ("column", name):
            return name
        case ("constant", str() as value):
            return f"'{value}'"
        case ("constant", value):
            return repr(value)
        case ("arithmetic", symbol, a, b):
            return f"({condition(a)} {symbol} {condition(b)})"
        case ("minus", a):
            return f"(-{condition(a)})"
        case ("call", name, *arguments):
            return f"{name.upper()}({', '.join(map(condition, arguments))})"
        case ("compare", first, *rest):
            symbols = [{"==": "=", "!=": "<>"}.get(s, s) for s in rest[::2]]
            pairs = zip(symbols, rest[1::2], strict=True)
            return f"({condition(first)}{''.join(f' {s} {condition(o)}' for s, o in pairs)})"
        case ("in", a, constants, negated):
            listed = ", ".join(condition(("constant", c)) for c in constants)
            return f"({condition(a)} {'not in' if negated else 'IN'} ({listed}))"
        case ("null", a, negated):
            return f"({condition(a)} is {'not ' if negated else ''}null)"
        case ("between", a, low, high):
            return f"({condition(a)} between {condition(low)} and {condition(high)})"
        case ("and" | "or" as word, operands):
            return f"({f' {word.upper()} '.join(map(condition, operands))})"
        case ("not", a):
            return f"(not {condition(a)})"
    raise AssertionError(tree)


@st.composite
def functions(draw: st.DrawFn, *, nulls: bool = True) -> str:
    """The body of a Python labelling function."""
    lines = draw(bodies(Trees(both=False, nulls=nulls), 2))
    return "\n".join(["def labeling_function(row):", *(f"    {line}" for line in lines)]) + "\n"


@st.composite
def bodies(draw: st.DrawFn, trees: Trees, depth: int) -> list[str]:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["assign", "if", "if", "return"] if depth else ["return"]))
        if kind == "assign":
            name = draw(st.sampled_from(["x", "y"]))
            value = draw(trees.number(2) | trees.text(2) | trees.boolean(2) | trees.anything(1))
            lines.append(f"{name} = {python(value)}")
            trees = replace(trees, names=tuple(sorted({*trees.names, name})))
        elif kind == "if":
            lines += _branch(draw, trees, depth)
        else:
            label = st.sampled_from([*LABELS, "ABSTAIN"])
            test = python(draw(trees.boolean(2)))
            lines.append(f"return {draw(label)} if {test} else {draw(label)}")
            break
    return lines


def _branch(draw: st.DrawFn, trees: Trees, depth: int) -> list[str]:
    lines = []
    for word in draw(st.sampled_from([["if"], ["if", "elif"], ["if", "else"]])):
        test = "" if word == "else" else " " + python(draw(trees.boolean(2) | trees.anything(1)))
        lines.append(f"{word}{test}:")
        lines += [f"    {line}" for line in draw(bodies(trees, depth - 1))]
    return lines
