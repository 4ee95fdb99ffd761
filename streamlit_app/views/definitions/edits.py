"""The definitions being edited in this session, and navigation between them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from streamlit_app.services.definitions.edit import Edit
from streamlit_app.ui import state

_EDITS = "definitions.edits"
_NOTES = "definitions.notes"

SECTION = "definitions.section"
"""The key of the widget that selects a section of the editor."""


def all_edits() -> dict[str, Edit]:
    """All edits of this session, by their name in the page's address."""
    return st.session_state.setdefault(_EDITS, {})


def note(name: str) -> dict[str, Any]:
    """What this session remembers about an edit apart from its content."""
    return st.session_state.setdefault(_NOTES, {}).setdefault(name, {})


def take_typed(name: str) -> None:
    """Copy what was typed last into the edit, before any of it is shown."""
    form = note(name).get("form")
    if form is not None and form.edit is all_edits().get(name):
        form.take_all()


def forget(name: str) -> None:
    """Discard an edit."""
    all_edits().pop(name, None)
    st.session_state.get(_NOTES, {}).pop(name, None)


def new_name(kind: str, concept: str, parent: str) -> str:
    """The name of an edit whose definition has no name yet."""
    return f"new {kind} {concept} {parent}".strip()


def go(written: str = "") -> None:
    """Show a definition, or the list."""
    name = written.removeprefix("new ")
    st.session_state.pop(SECTION, None)
    if written.startswith("new "):
        kind, concept, parent = (*name.split(" "), "", "")[:3]
        state.put(open=None, new=kind, concept=concept, parent=parent, section=None)
    else:
        state.put(open=written, new=None, concept=None, parent=None, section=None)


def begin(kind: str, concept: str, parent: str = "") -> None:
    """Show the form of a new definition."""
    go(new_name(kind, concept, parent))
