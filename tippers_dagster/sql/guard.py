"""What user SQL may be: one query that only reads, from known tables, with known functions.

The text itself is never run. sqlglot parses it, every node of the tree must be of a kind listed
here, and the SQL that runs is written from the tree (``compose.py``). Before it runs, PostgreSQL's
own parse tree of it is checked too (``parse_tree.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tippers_dagster.sql.functions import (
    FUNCTIONS,
    MAX_TEXT_LENGTH,
    SIZED,
    SYSTEM_COLUMNS,
    TYPES,
    words,
)
from tippers_dagster.sql.reading import FUNCTION_PREFIX, TEXT_ATOM, read
from tippers_dagster.sql.refusals import RefusedSQL, unknown_function

if TYPE_CHECKING:
    from sqlglot import exp

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?")
_WORDS = re.compile(r"[A-Za-z_ ]*")

_NODES = words(
    """
    Add Alias All And Anonymous Any Array ArrayContainedBy ArrayContainsAll ArrayOverlaps
    AtTimeZone Between Boolean Bracket CTE Case Cast Collate Column Cube CurrentDate
    CurrentTimestamp DPipe DataType DataTypeParam Distinct Div EQ Escape Except Exists Extract
    Fetch Filter From GT GTE Group GroupingSets Having ILike Identifier If In Intersect Interval
    Is JSONBContains JSONBContainsAllTopKeys JSONBContainsAnyTopKeys JSONBContainsTopKey
    JSONBExtract JSONBExtractScalar JSONExtract JSONExtractScalar JSONPath JSONPathKey
    JSONPathRoot JSONPathSubscript Join Kwarg LT LTE Lateral Like Limit LimitOptions Literal
    Localtime Localtimestamp Mod Mul NEQ Neg Not Null NullSafeEQ NullSafeNEQ Offset Or Order Ordered
    Overlaps Overlay Paren Placeholder RegexpILike RegexpLike Rollup Select SimilarTo Slice Star
    StrPosition Sub Subquery Substring Table TableAlias Trim Tuple Union Values Var Where Window
    WindowSpec With WithinGroup
    """
)
_WHY: dict[str, tuple[str, str, str]] = {
    "Insert": ("write", "It writes (INSERT).", "A query may only read."),
    "Update": ("write", "It writes (UPDATE).", "A query may only read."),
    "Delete": ("write", "It writes (DELETE).", "A query may only read."),
    "Merge": ("write", "It writes (MERGE).", "A query may only read."),
    "Into": ("write", "SELECT INTO makes a table.", "Remove INTO: the result is stored anyway."),
    "Lock": ("lock", "It locks rows (FOR UPDATE or FOR SHARE).", "Remove that."),
    "Operator": ("operator", "OPERATOR(...) is not allowed.", "Write just the operator."),
    "Dot": ("field", "Row fields such as (a).b and functions with a schema are not allowed.", ""),
    "Pow": ("operator", "The operator ^ is not allowed.", "Use power(x, y)."),
    "Parameter": ("placeholder", "Parameters are not allowed.", "Write the value itself."),
    "ObjectIdentifier": ("type", "This type is not allowed in a cast.", "Use text or integer."),
    "PseudoType": ("type", "This type is not allowed in a cast.", "Use text or integer."),
    "XMLTable": ("function", "XMLTABLE is not allowed.", ""),
    "JSONTable": ("function", "JSON_TABLE is not allowed.", "Use jsonb_array_elements()."),
}
"""Kinds of nodes with their own refusal: code, message, hint."""


@dataclass(frozen=True)
class Checked:
    """A query of an allowed form.

    ``tree`` has names as written, but lower-cased where PostgreSQL does so; ``texts`` are the
    contents of quoted texts, by the number of their atom; ``sql`` is the text that was read, with
    line feeds only.
    """

    tree: exp.Query
    sql: str
    texts: tuple[str, ...]
    functions: frozenset[str]
    columns: tuple[str, ...] | None
    """Names of the result's columns; None if a star stands for some of them."""


def check(sql: str) -> Checked:
    """Parse a query, and refuse it if its form is not allowed.

    Does not check which tables it reads: see ``translate.translate``.

    Raises
    ------
    RefusedSQL
        With the reason, the place in the text, and a hint.
    """
    sql = sql.replace("\r\n", "\n")
    tree, texts = read(sql)
    for node in list(tree.walk()):
        _check_node(node)
    _parenthesise_nots(tree)
    return Checked(tree, sql, texts, _functions(tree), _columns(tree))


def _functions(tree: exp.Query) -> frozenset[str]:
    from sqlglot import exp

    return frozenset(str(node.this) for node in tree.find_all(exp.Anonymous))


def _columns(tree: exp.Query) -> tuple[str, ...] | None:
    """Names of the result's columns, empty where the database chooses one; None for a star."""
    if tree.is_star:
        return None
    return tuple("" if TEXT_ATOM.fullmatch(name) else name for name in tree.named_selects)


# --- the tree -----------------------------------------------------------------------------------
def where(node: exp.Expr) -> dict[str, int | None]:
    """Line and column of a node, or of the nearest part of the tree whose place is known."""
    around: exp.Expr | None = node
    while around is not None:
        for part in around.walk():
            if "line" in part.meta:
                width = part.meta["end"] - part.meta["start"]
                return {"line": part.meta["line"], "column": max(part.meta["col"] - width, 1)}
        around = around.parent
    return {"line": None, "column": None}


def refuse(node: exp.Expr, reason: str, message: str, hint: str = "") -> RefusedSQL:
    """A refusal that points at a node."""
    return RefusedSQL(reason, message, hint, **where(node))


def _check_node(node: exp.Expr) -> None:
    from sqlglot import exp

    kind = type(node).__name__
    if kind in _WHY:
        raise refuse(node, *_WHY[kind])
    if kind not in _NODES and isinstance(node, exp.Func):
        raise refuse(node, "function", *unknown_function(node.sql_name().lower()))
    if kind not in _NODES:
        raise refuse(
            node,
            "construct",
            f"This form of SQL is not allowed ({node.key.upper()}).",
            "Use plain SELECT, WHERE, GROUP BY, CASE and the listed functions.",
        )
    for name, value in node.args.items():
        if isinstance(value, str) and (kind, name) not in _FREE and not _WORDS.fullmatch(value):
            raise refuse(node, "construct", f"{value[:40]!r} is not allowed here.")
    own = _NODE_CHECKS.get(kind)
    if own is not None:
        own(node)


_FREE = {
    ("Anonymous", "this"),
    ("Identifier", "this"),
    ("Literal", "this"),
    ("JSONPathKey", "this"),
    ("Placeholder", "this"),
}
"""Node texts that are checked separately."""


def _check_identifier(node: exp.Identifier) -> None:
    if not node.quoted:
        node.set("this", node.name.lower())  # as PostgreSQL reads it
    if not _NAME.fullmatch(node.name):
        raise refuse(
            node,
            "name",
            f"{node.name[:70]!r} cannot be used as a name.",
            "Use letters a-z, digits and _; begin with a letter or _; at most 63 characters.",
        )
    if node.name.startswith(("pg_", FUNCTION_PREFIX)):
        raise refuse(
            node,
            "system",
            f"{node.name} belongs to the database itself.",
            "Choose another name; the database's own tables cannot be read.",
        )


def _check_anonymous(node: exp.Anonymous) -> None:
    from sqlglot import exp

    name = node.this if isinstance(node.this, str) else node.name
    plain = name.removeprefix(FUNCTION_PREFIX)
    if name.lower() in ("all", "row"):
        return
    if plain == name or plain not in FUNCTIONS:
        raise refuse(node, "function", *unknown_function(name.lower()))
    node.set("this", plain)
    _spread_distinct(node)
    if plain in SIZED:
        size = node.expressions[1] if len(node.expressions) > 1 else None
        if not (isinstance(size, exp.Literal) and not size.is_string and _small(size.name)):
            raise refuse(
                node,
                "size",
                f"The length in {plain}() must be written as a number up to {MAX_TEXT_LENGTH}.",
                f"For example {plain}(x, 10).",
            )


def _spread_distinct(node: exp.Anonymous) -> None:
    """``f(DISTINCT a, b ORDER BY c)`` is parsed as if ``(a, b)`` were one value: split it."""
    from sqlglot import exp

    first = node.expressions[0] if node.expressions else None
    order = first if isinstance(first, exp.Order) else None
    distinct = order.this if order is not None else first
    if not isinstance(distinct, exp.Distinct) or len(distinct.expressions) < 2:
        return
    values = distinct.expressions
    last = values[-1]
    if order is not None:
        last = exp.Order(this=last, expressions=order.expressions)
    arguments = [exp.Distinct(expressions=values[:1]), *values[1:-1], last]
    node.set("expressions", [*arguments, *node.expressions[1:]])


def _small(number: str) -> bool:
    return number.isdigit() and int(number) <= MAX_TEXT_LENGTH


def _check_literal(node: exp.Literal) -> None:
    if not node.is_string and not _NUMBER.fullmatch(node.name):
        raise refuse(node, "number", f"{node.name[:40]!r} is not a number.", "Write 1000 or 0.5.")


def _check_type(node: exp.DataType) -> None:
    name = getattr(node.this, "name", str(node.this))
    if name == "ARRAY":
        return
    if name not in TYPES or node.args.get("kind") is not None:
        shown = node.args.get("kind") or name.lower()
        shown = getattr(shown, "name", str(shown)) or name.lower()
        raise refuse(
            node,
            "type",
            f"A value cannot be cast to {shown}.",
            f"Allowed are {', '.join(sorted(TYPES.values()))}, and arrays of them.",
        )


def _check_column(node: exp.Column) -> None:
    if node.name in SYSTEM_COLUMNS:
        raise refuse(
            node, "system", f"The system column {node.name} cannot be read.", "Name a real column."
        )
    if node.args.get("catalog") is not None:
        raise refuse(node, "name", "The name has too many parts.", "Write table.column.")


def _check_placeholder(node: exp.Placeholder) -> None:
    if node.name != "index_values":
        raise refuse(
            node,
            "placeholder",
            "? is not allowed here." if node.name in ("", "?") else f"There is no :{node.name}.",
            "Only :index_values is known, as in IN (:index_values).",
        )


def _check_table(node: exp.Table) -> None:
    from sqlglot import exp

    if not isinstance(node.this, exp.Identifier | exp.Anonymous):
        raise refuse(node, "construct", "This is not a table.", "Name a table after FROM or JOIN.")
    if node.args.get("catalog") is not None:
        raise refuse(node, "name", "The name has too many parts.", "Write concept.name.")
    extra = [
        name
        for name, value in node.args.items()
        if value and name not in ("this", "db", "alias", "ordinality", "joins")
    ]
    if extra:
        raise refuse(
            node, "construct", f"{extra[0].replace('_', ' ').upper()} is not allowed after a table."
        )


def _check_star(node: exp.Star) -> None:
    if any(node.args.values()):
        raise refuse(node, "construct", "Nothing may follow a star.", "List the columns.")


def _check_cte(node: exp.CTE) -> None:
    from sqlglot import exp

    if not isinstance(node.this, exp.Query | exp.Values):
        raise refuse(node, "write", "WITH may only name queries.", "A query may only read.")


def _check_with(node: exp.With) -> None:
    from sqlglot import exp

    if not node.args.get("recursive"):
        return
    for cte in node.expressions:
        for union in cte.find_all(exp.Union):
            if not union.args.get("distinct") and _reads(union, cte.alias):
                raise refuse(
                    cte,
                    "recursion",
                    "WITH RECURSIVE with UNION ALL never ends if the data has a cycle.",
                    "Use UNION.",
                )


def _reads(tree: exp.Expr, name: str) -> bool:
    from sqlglot import exp

    return any(table.name == name for table in tree.find_all(exp.Table))


_NODE_CHECKS: dict[str, Callable[[Any], None]] = {
    "Identifier": _check_identifier,
    "Anonymous": _check_anonymous,
    "Literal": _check_literal,
    "DataType": _check_type,
    "Column": _check_column,
    "Placeholder": _check_placeholder,
    "Table": _check_table,
    "Star": _check_star,
    "CTE": _check_cte,
    "With": _check_with,
}


def _parenthesise_nots(tree: exp.Expr) -> None:
    """``a !~ b IS NULL`` is parsed as ``(NOT a ~ b) IS NULL``: write the parentheses."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Not)):
        parent = node.parent
        if isinstance(parent, exp.Binary | exp.Cast | exp.Between | exp.In) and not isinstance(
            parent, exp.Connector
        ):
            node.replace(exp.Paren(this=node.copy()))
