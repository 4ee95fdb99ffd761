"""The components of ``frontend/``, served as files by the app itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from streamlit_app.ui.internals import register_components

if TYPE_CHECKING:
    from streamlit_app.ui.internals import ComponentRenderer

APP = Path(__file__).parents[1]
BUILT = "frontend/dist"
NAMES = ("canvas", "editor")


def component(name: str) -> ComponentRenderer:
    """The function that puts a component (``canvas`` or ``editor``) on the page.

    Scripts are files with an address, which browsers fetch once: as text, half a megabyte would be
    sent with every update.
    """
    return _renderer(name, register_components("tippers", NAMES, APP, BUILT))


@cache
def _renderer(name: str, _server: int) -> ComponentRenderer:
    """Create the renderer once per server."""
    return st.components.v2.component(f"tippers.{name}", js=f"{name}.js")
