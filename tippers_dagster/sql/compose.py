"""Writing the SQL of a checked tree.

sqlglot writes the structure only: names and texts are atoms, put in here, quoted here. What it
wrote is looked at once more, sign by sign, before they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_CALLS, RESERVED, TYPES
from tippers_dagster.sql.names import Place
from tippers_dagster.sql.reading import put_in_texts
from tippers_dagster.sql.refused import RefusedSQL

if TYPE_CHECKING:
    from sqlglot import exp

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_PIECE = re.compile(
    r"""(?P<space>\s+)|(?P<text>'[A-Za-z0-9 ]*')|(?P<name>"zn\d+nz")
    |(?P<number>\d[\d.]*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)|(?P<word>[A-Za-z_]+\d*)
    |(?P<operator>::|=>|->>|->|\#>>|\#>|\|\||<=|>=|<>|!=|@>|<@|&&|\?\||\?&|~\*|[-+*/%<>=~?])
    |(?P<sign>[(),.\[\]:])""",
    re.VERBOSE,
)
_CALLS = FUNCTIONS | GRAMMAR_CALLS | {"varchar", "char", "decimal", "time", "timestamp"}
_CALLS |= {"timestamptz", "interval", "current_timestamp", "localtimestamp", "localtime"}
_TYPES_WITH_SIZE = frozenset(name.lower() for name in TYPES)


@dataclass(frozen=True)
class Composed:
    """SQL, and for each name in it where it ends up and where it stood in the user's text."""

    sql: str
    names: tuple[tuple[int, int, int], ...]
    """(offset in ``sql``, its length there, offset in the user's text or -1), ascending."""


class Atoms:
    """Names and tables of one tree that stand aside while sqlglot writes the structure."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self.names: list[tuple[str | Place, int]] = []

    def name(self, node: exp.Identifier) -> None:
        """Put a name of the user aside."""
        self._take(node, quoted(node.name), node.meta.get("start", -1))

    def table(self, node: exp.Identifier, place: Place, start: int = -1) -> None:
        """Put a table aside."""
        self._take(node, place, start)

    def _take(self, node: exp.Identifier, what: str | Place, start: int) -> None:
        self.names.append((what, start))
        node.set("this", f"zn{len(self.names) - 1}nz")
        node.set("quoted", True)


def quoted(name: str) -> str:
    """A name, in quotes if it needs them."""
    if _PLAIN.fullmatch(name) and name not in RESERVED:
        return name
    return f'"{name}"'


def compose(tree: exp.Expr, atoms: Atoms, written: Callable[[Place], str]) -> Composed:
    """Write the SQL of a tree all of whose names are atoms.

    Parameters
    ----------
    written
        How a table is written.

    Raises
    ------
    RefusedSQL
        What sqlglot wrote has a form that was not foreseen.
    """
    from sqlglot.errors import ErrorLevel, UnsupportedError

    try:
        skeleton = tree.sql(
            dialect="postgres",
            pretty=True,
            comments=False,
            normalize_functions="lower",
            unsupported_level=ErrorLevel.RAISE,
        )
    except (UnsupportedError, RecursionError):
        raise _unforeseen("") from None
    if "--" in skeleton or "/*" in skeleton:
        raise _unforeseen("")
    return _fill(skeleton, atoms, written)


def _fill(skeleton: str, atoms: Atoms, table: Callable[[Place], str]) -> Composed:
    written: list[str] = []
    names: list[tuple[int, int, int]] = []
    at = length = 0
    word = ""
    while at < len(skeleton):
        piece = _PIECE.match(skeleton, at)
        if piece is None:
            raise _unforeseen(skeleton[at : at + 20])
        kind, text = piece.lastgroup or "", piece[0]
        _look(kind, text, word)
        if kind == "name":
            what, start = atoms.names[int(text[3:-3])]
            text = what if isinstance(what, str) else table(what)
            names.append((length, len(text), start))
        elif kind == "text":
            text = put_in_texts(text, atoms.texts)
        written.append(text)
        length += len(text)
        at = piece.end()
        if kind != "space":
            word = text.lower() if kind == "word" else ""
    return Composed("".join(written), tuple(names))


def _look(kind: str, text: str, word: str) -> None:
    """Two pieces that follow each other must not become something that neither is."""
    if text == "(" and word and word not in _CALLS and word not in _TYPES_WITH_SIZE:
        raise _unforeseen(f"{word}(")
    if kind == "text" and word in ("b", "e", "n", "u", "x"):
        raise _unforeseen(f"{word}'")


def _unforeseen(what: str) -> RefusedSQL:
    shown = f" ({what.strip()})" if what.strip() else ""
    return RefusedSQL(
        "construct",
        f"The SQL has a form that cannot be written again with the same meaning{shown}.",
        "Write it in a simpler way.",
    )
