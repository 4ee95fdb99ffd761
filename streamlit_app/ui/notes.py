"""What an action did, or why it failed, shown on the next run of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from streamlit_app.ui.messages import plain, show_error
from tippers_dagster.errors import TippersError


def attempt(key: str, action: Callable[..., str], *arguments: Any) -> None:
    """Call an action from a button, and keep its sentence or its error under this key."""
    try:
        st.session_state[key] = action(*arguments)
    except TippersError as error:
        st.session_state[key] = error


def show_note(key: str) -> None:
    """Show once what ``attempt`` kept under this key."""
    note = st.session_state.pop(key, None)
    if isinstance(note, TippersError):
        show_error(note)
    elif note:
        st.success(plain(note), icon=":material/check_circle:")
