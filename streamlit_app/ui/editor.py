"""A code editor with highlighting, completion, and errors at their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import streamlit as st

from streamlit_app.ui.component import component

Language = Literal["sql", "python", "expression"]

_MAX_REMEMBERED = 200
"""How many of the editor's own texts are recognised when they are passed back as ``value``."""


@dataclass(frozen=True)
class Problem:
    """A problem in a text, and its place.

    Attributes
    ----------
    line, column
        Both from 1. Line 0: the problem concerns the whole text.
    """

    line: int
    column: int
    message: str
    severity: Literal["error", "warning", "info"] = "error"


@dataclass
class _Memory:
    """The texts passed to and returned by an editor, to tell a new text from the editor's own.

    ``generation`` counts the new texts; an edit of an older generation is dropped.
    """

    value: str
    generation: int = 1
    returned: list[str] = field(default_factory=list)

    def take(self, value: str) -> None:
        """Take the program's text: a new one, unless it is unchanged or the editor's own."""
        if value != self.value and value not in self.returned:
            self.generation += 1
            self.returned = []
        self.value = value

    def remember(self, text: str) -> None:
        """Remember that this text came from the browser."""
        if text not in self.returned:
            self.returned = [*self.returned, text][-_MAX_REMEMBERED:]


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
    """Show an editor and return its current text.

    The browser sends the text 0.4 s after the last key, when the editor loses focus, and at
    Ctrl+Enter. ``value`` may stay unchanged or follow the returned text: neither overwrites what
    somebody is typing. Any other ``value`` replaces the text. To return to an earlier text without
    another one in between, use a new ``key``.

    Parameters
    ----------
    language
        ``expression``: one Python expression.
    schema
        Tables, such as ``source.space``, and their columns, for completion in SQL.
    names
        Other names to complete: columns of a row, labels, functions.
    height
        Height in pixels for a short text; it grows by two thirds before it scrolls.
    """
    memory = _memory(key, value)
    data = {
        "label": label,
        "value": memory.value,
        "generation": memory.generation,
        "language": language,
        "schema": {table: list(columns) for table, columns in (schema or {}).items()},
        "names": list(names),
        "problems": [asdict(problem) for problem in problems],
        "height": height,
        "read_only": read_only,
    }
    result = component("editor")(key=key, data=data, on_edit_change=_nothing)
    edit = _edit_of(result.get("edit"), memory.generation)
    if edit is None or read_only:
        return memory.value
    memory.remember(edit)
    return edit


def current_text(key: str, value: str) -> str:
    """The text that ``code_editor`` will return for this key and value.

    Lets the caller check the current text before it passes ``problems``.
    """
    memory = _memory(key, value)
    edit = _edit_of((st.session_state.get(key) or {}).get("edit"), memory.generation)
    return memory.value if edit is None else edit


def _memory(key: str, value: str) -> _Memory:
    """The editor's memory; new when the page was left, because its text is then lost."""
    memory_key = f"{key} (editor)"
    memory = st.session_state.get(memory_key)
    state = st.session_state.get(key)
    if memory is None:
        memory = _Memory(value)
    elif memory.returned and not (state or {}).get("edit"):
        memory = _Memory(value, memory.generation + 1)
    else:
        memory.take(value)
    st.session_state[memory_key] = memory
    return memory


def _edit_of(edit: Any, generation: int) -> str | None:
    """The browser's text, unless it is an edit of a text that has been replaced since."""
    if isinstance(edit, Mapping) and edit.get("generation") == generation:
        text = edit.get("text")
        return text if isinstance(text, str) else None
    return None


def _nothing() -> None:
    """An empty callback: a component only has the states that have one."""
