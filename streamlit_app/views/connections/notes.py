"""Moving between connections, and notes that outlive one run of the page."""

from __future__ import annotations

import streamlit as st

from streamlit_app.ui import state
from streamlit_app.ui.messages import plain

_NOTE = "connections.note"

FOUND = "connections.found"
"""Key of the tables found in the open connection's database: its name, and the tables."""


def note(text: str, *, success: bool = True) -> None:
    """Show this text on the next run of the page."""
    st.session_state[_NOTE] = (success, text)


def show_note() -> None:
    """Show the note of the previous run, if there is one."""
    found = st.session_state.pop(_NOTE, None)
    if found:
        success, text = found
        show = st.success if success else st.warning
        show(plain(text), icon=":material/check_circle:" if success else ":material/warning:")


def go_to(name: str = "", new: bool = False) -> None:
    """Open a connection, the form for a new one, or the list if both are missing."""
    st.session_state.pop(FOUND, None)
    state.put(open=name, new="1" if new else None)
