"""The theme, where Streamlit's settings are not enough."""

from __future__ import annotations

import streamlit as st

from streamlit_app.ui import internals


def is_dark() -> bool:
    """Whether the page is dark, for colours that a chart cannot take from the theme."""
    return bool(st.context.theme.type == "dark")


def apply_theme() -> None:
    """Add the style sheets to the page."""
    st.html(internals.ALL_THEMES)
    st.html(internals.DARK if is_dark() else internals.LIGHT)
