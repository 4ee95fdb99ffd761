"""The definitions that this session has in hand, and going from one to another."""

from __future__ import annotations

from typing import Any

import streamlit as st

from streamlit_app.services.definition_forms import Work
from streamlit_app.ui import state

_WORKS = "definitions.works"
_NOTES = "definitions.notes"

SECTION = "definitions.section"
"""The widget that chooses what is shown of a definition."""


def all_works() -> dict[str, Work]:
    """What is in hand, by the name in the page's address."""
    return st.session_state.setdefault(_WORKS, {})


def note(name: str) -> dict[str, Any]:
    """What this session remembers about a definition besides what was typed."""
    return st.session_state.setdefault(_NOTES, {}).setdefault(name, {})


def take(name: str) -> None:
    """Put what was typed last into the work, before anything is shown of it."""
    form = note(name).get("form")
    if form is not None and form.work is all_works().get(name):
        form.take_all()


def forget(name: str) -> None:
    """Let go of what was typed."""
    all_works().pop(name, None)
    st.session_state.get(_NOTES, {}).pop(name, None)


def new_name(kind: str, concept: str, parent: str) -> str:
    """What a definition without a name is kept under."""
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
