"""How SQL is refused: a reason, a place in the text, and what to write instead."""

from __future__ import annotations

import difflib

from tippers_dagster.errors import BadInput
from tippers_dagster.sql.functions import FUNCTIONS


class RefusedSQL(BadInput):
    """SQL that is not run.

    Parameters
    ----------
    reason
        A word for the kind of refusal, the same for all of a kind.
    line, column
        Where in the text, from 1; unknown for what concerns all of it.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        hint: str | None = None,
        *,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        place = "" if line is None else f"Line {line}, column {column}: "
        super().__init__(f"{place}{message}", hint or None)
        self.reason = reason
        self.line = line
        self.column = column


def place_of(sql: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character of the text."""
    before = sql[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def unknown_function(name: str) -> tuple[str, str]:
    """Message and hint for a function that is not in the list."""
    near = difflib.get_close_matches(name, sorted(FUNCTIONS), n=3, cutoff=0.75)
    hint = f"Did you mean {' or '.join(f'{n}()' for n in near)}? " if near else ""
    return (
        f"The function {name}() is not allowed.",
        f"{hint}Allowed are aggregates and functions of numbers, texts, times, lists and JSON.",
    )
