"""What the settings of the theme cannot say."""

from __future__ import annotations

import streamlit as st

_ROOM = """<style>
[data-testid=stMainBlockContainer] {padding: 3.75rem clamp(1rem, 3vw, 3rem) 3rem}
</style>"""
"""Streamlit leaves 80 pixels at each side and 96 above: the canvas, tables and charts need them."""

_NO_CSV = """<style>
[data-testid=stElementToolbarButton]:has([aria-label^="Download as CSV"]) {display: none}
</style>"""
"""Streamlit's table download does not escape formulas; the pages' own downloads do. Streamlit's
setting to disable it would also disable copying cells."""

_DARK = """<style>
[data-testid^=stBaseButton-primary]:enabled, [data-testid=stPopoverButton][kind=primary]:enabled,
[data-testid=stMultiSelect] [data-tag], [data-testid=stMultiSelect] [data-tag] * {color: #06282b}
</style>"""
"""Streamlit writes in white on the accent, which in the dark has to be a light one."""

_CODE = """<style>
[data-testid=stCode] .token:is(.deleted) {{color: {gone} !important}}
[data-testid=stCode] .token:is(.inserted, .string) {{color: {come} !important}}
[data-testid=stCode] .token:is(.unchanged, .comment, .punctuation) {{color: {still} !important}}
[data-testid=stCode] .token:is(.atrule, .number, .boolean) {{color: {name} !important}}
[data-testid=stCode] .token:is(.keyword) {{color: {word} !important}}
</style>"""
"""Texts in ``st.code``, differences above all, in colours that can be read."""

_LIGHT_CODE = _CODE.format(
    gone="#b3261e", come="#1b6b35", still="#566164", name="#8a4b08", word="#1a56a8"
)
_DARK_CODE = _CODE.format(
    gone="#ff9c94", come="#86d3a0", still="#a9b6b6", name="#f0b27a", word="#8ab8f0"
)


def is_dark() -> bool:
    """Whether the page is dark, for colours that a chart cannot take from the theme."""
    return bool(st.context.theme.type == "dark")


def mend_theme() -> None:
    """Put it into the page."""
    st.html(_ROOM + _NO_CSV)
    st.html(_DARK + _DARK_CODE if is_dark() else _LIGHT_CODE)
