"""A code editor: highlighting, completion, and errors at their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import streamlit as st

from streamlit_app.ui.component import mounting

Language = Literal["sql", "python", "expression"]

_REMEMBERED = 200
"""Texts of one generation that are known as the editor's own when they are given back."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a text, and where.

    Attributes
    ----------
    line, column
        Both from 1. Line 0: the text as a whole.
    """

    line: int
    column: int
    message: str
    severity: Literal["error", "warning", "info"] = "error"


@dataclass
class _Memory:
    """What an editor was given, so that its own text coming back is not taken for a new one."""

    given: str
    generation: int = 1
    returned: list[str] = field(default_factory=list)

    def give(self, value: str) -> None:
        """Take the program's text; another than before, and not the editor's own, is a new one."""
        if value != self.given and value not in self.returned:
            self.generation += 1
            self.returned = []
        self.given = value

    def remember(self, text: str) -> None:
        """Note that this text came from the browser."""
        if text not in self.returned:
            self.returned = [*self.returned, text][-_REMEMBERED:]


def code_editor(
    label: str,
    value: str,
    *,
    key: str,
    language: Language,
    schema: Mapping[str, Sequence[str]] | None = None,
    names: Sequence[str] = (),
    problems: Sequence[Problem] = (),
    height: int = 300,
    read_only: bool = False,
) -> str:
    """Show an editor and return its text as it is now.

    The text comes 0.4 s after the last key, when the editor loses the focus, and at Ctrl+Enter.
    ``value`` may stay what it was, or follow what this returned: what somebody types meanwhile
    is never overwritten. Any other ``value`` replaces the text. To go back to a text that was
    given before, without another in between, give another ``key``.

    Parameters
    ----------
    language
        ``expression``: one Python expression.
    schema
        Tables, as ``source.space``, and their columns, for completion in SQL.
    names
        What else is completed: columns of a row, labels, functions.
    height
        Pixels with few lines; it grows by two thirds before it scrolls.
    """
    memory = _memory(key, value)
    data = {
        "label": label,
        "value": memory.given,
        "generation": memory.generation,
        "language": language,
        "schema": {table: list(columns) for table, columns in (schema or {}).items()},
        "names": list(names),
        "problems": [asdict(problem) for problem in problems],
        "height": height,
        "read_only": read_only,
    }
    result = mounting("editor")(key=key, data=data, on_edit_change=_nothing)
    edit = _edit_of(result.get("edit"), memory.generation)
    if edit is None or read_only:
        return memory.given
    memory.remember(edit)
    return edit


def current_text(key: str, value: str) -> str:
    """The text that ``code_editor`` with this key and value will return, before it is called.

    For ``problems`` of the text as it is now.
    """
    memory = _memory(key, value)
    edit = _edit_of((st.session_state.get(key) or {}).get("edit"), memory.generation)
    return memory.given if edit is None else edit


def _memory(key: str, value: str) -> _Memory:
    """What is remembered of an editor; anew when its page was left, and its text with it."""
    place = f"{key} (editor)"
    memory = st.session_state.get(place)
    state = st.session_state.get(key)
    if memory is None:
        memory = _Memory(value)
    elif memory.returned and not (state or {}).get("edit"):
        memory = _Memory(value, memory.generation + 1)
    else:
        memory.give(value)
    st.session_state[place] = memory
    return memory


def _edit_of(edit: Any, generation: int) -> str | None:
    """The text of the browser, unless it was typed over one that was replaced since."""
    if isinstance(edit, Mapping) and edit.get("generation") == generation:
        text = edit.get("text")
        return text if isinstance(text, str) else None
    return None


def _nothing() -> None:
    """Having a callback is what declares a state of a component."""
