"""What the settings of the theme cannot say."""

from __future__ import annotations

import streamlit as st

_ROOM = """<style>
[data-testid=stMainBlockContainer] {padding: 3.75rem clamp(1rem, 3vw, 3rem) 3rem}
</style>"""
"""Streamlit leaves 80 pixels at each side and 96 above: the canvas, tables and charts need them."""

_DARK = """<style>
[data-testid^=stBaseButton-primary]:enabled, [data-testid=stMultiSelect] [data-tag],
[data-testid=stMultiSelect] [data-tag] * {color: #06282b}
</style>"""
"""Streamlit writes in white on the accent, which in the dark has to be a light one."""


def is_dark() -> bool:
    """Whether the page is dark, for colours that a chart cannot take from the theme."""
    return bool(st.context.theme.type == "dark")


def mend_theme() -> None:
    """Put it into the page."""
    st.html(_ROOM)
    if is_dark():
        st.html(_DARK)
