"""Writing the SQL of a checked tree.

sqlglot writes only the structure. Names and texts are replaced by atoms; they are quoted and put
back here, after the text that sqlglot wrote has been checked token by token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_CALLS, RESERVED, TYPES
from tippers_dagster.sql.names import Place
from tippers_dagster.sql.reading import insert_texts
from tippers_dagster.sql.refusals import RefusedSQL

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
    """SQL, and for each name in it the position there and in the user's text."""

    sql: str
    names: tuple[tuple[int, int, int], ...]
    """(offset in ``sql``, its length there, offset in the user's text or -1), ascending."""


class Atoms:
    """Holds the names and tables of a tree while sqlglot writes its structure."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self.names: list[tuple[str | Place, int]] = []

    def name(self, node: exp.Identifier) -> None:
        """Replace a user's name by an atom."""
        self._take(node, quoted(node.name), node.meta.get("start", -1))

    def table(self, node: exp.Identifier, place: Place, start: int = -1) -> None:
        """Replace a table by an atom."""
        self._take(node, place, start)

    def _take(self, node: exp.Identifier, what: str | Place, start: int) -> None:
        self.names.append((what, start))
        node.set("this", f"zn{len(self.names) - 1}nz")
        node.set("quoted", True)


def quoted(name: str) -> str:
    """The name, quoted if necessary."""
    if _PLAIN.fullmatch(name) and name not in RESERVED:
        return name
    return quote_identifier(name)


def compose(tree: exp.Expr, atoms: Atoms, written: Callable[[Place], str]) -> Composed:
    """Write the SQL of a tree in which all names are atoms.

    Parameters
    ----------
    written
        How a table is written.

    Raises
    ------
    RefusedSQL
        sqlglot wrote something unexpected.
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
        raise _unexpected("") from None
    if "--" in skeleton or "/*" in skeleton:
        raise _unexpected("")
    return _fill(skeleton, atoms, written)


def _fill(skeleton: str, atoms: Atoms, table: Callable[[Place], str]) -> Composed:
    written: list[str] = []
    names: list[tuple[int, int, int]] = []
    at = length = 0
    word = ""
    while at < len(skeleton):
        piece = _PIECE.match(skeleton, at)
        if piece is None:
            raise _unexpected(skeleton[at : at + 20])
        kind, text = piece.lastgroup or "", piece[0]
        _check_pair(kind, text, word)
        if kind == "name":
            what, start = atoms.names[int(text[3:-3])]
            text = what if isinstance(what, str) else table(what)
            names.append((length, len(text), start))
        elif kind == "text":
            text = insert_texts(text, atoms.texts)
        written.append(text)
        length += len(text)
        at = piece.end()
        if kind != "space":
            word = text.lower() if kind == "word" else ""
    return Composed("".join(written), tuple(names))


def _check_pair(kind: str, text: str, word: str) -> None:
    """Check that two adjacent pieces do not combine to something else."""
    if text == "(" and word and word not in _CALLS and word not in _TYPES_WITH_SIZE:
        raise _unexpected(f"{word}(")
    if kind == "text" and word in ("b", "e", "n", "u", "x"):
        raise _unexpected(f"{word}'")


def _unexpected(what: str) -> RefusedSQL:
    shown = f" ({what.strip()})" if what.strip() else ""
    return RefusedSQL(
        "construct",
        f"This SQL cannot be rewritten with the same meaning{shown}.",
        "Write it more simply.",
    )
