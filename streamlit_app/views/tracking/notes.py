"""A confirmation that the next run of the page shows."""

from __future__ import annotations

import streamlit as st

from streamlit_app.ui.messages import plain
from streamlit_app.views.levels import progress

_NOTE = "tracking note"


def note(text: str) -> None:
    """Show a text on the next run, and read the progress again."""
    st.session_state[_NOTE] = text
    progress.clear()


def show_note() -> None:
    """Show the text of ``note`` once."""
    text = st.session_state.pop(_NOTE, None)
    if text:
        st.success(plain(text), icon=":material/check_circle:")
