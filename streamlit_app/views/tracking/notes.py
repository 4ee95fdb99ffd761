"""What was done, told on the next run of the page."""

from __future__ import annotations

import streamlit as st

from streamlit_app.ui.messages import plain
from streamlit_app.views.levels import standing

_NOTE = "tracking note"


def note(text: str) -> None:
    """Say it on the next run; and look anew how far everything is."""
    st.session_state[_NOTE] = text
    standing.clear()


def show_note() -> None:
    """What was to be said."""
    text = st.session_state.pop(_NOTE, None)
    if text:
        st.success(plain(text), icon=":material/check_circle:")
