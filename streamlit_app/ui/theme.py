"""What the settings of the theme cannot say."""

from __future__ import annotations

import streamlit as st

_DARK = "<style>[data-testid^=stBaseButton-primary]:enabled {color: #06282b}</style>"
"""Streamlit writes in white on the accent, which in the dark has to be a light one."""


def mend_theme() -> None:
    """Put it into the page."""
    if st.context.theme.type == "dark":
        st.html(_DARK)
