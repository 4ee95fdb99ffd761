"""Refusals of user SQL: a reason, a place in the text, and a hint."""

from __future__ import annotations

import difflib

from tippers_dagster.errors import BadInput
from tippers_dagster.sql.functions import FUNCTIONS


class RefusedSQL(BadInput):
    """User SQL that is refused.

    Parameters
    ----------
    reason
        A code for the kind of refusal.
    line, column
        Where in the text, from 1; None if it concerns the whole text.
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
    """Message and hint for a function that is not on the list."""
    near = difflib.get_close_matches(name, sorted(FUNCTIONS), n=3, cutoff=0.75)
    hint = f"Did you mean {' or '.join(f'{n}()' for n in near)}? " if near else ""
    return (
        f"The function {name}() is not allowed.",
        f"{hint}Allowed are aggregates and functions for numbers, texts, times, arrays and JSON.",
    )
