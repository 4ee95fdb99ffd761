"""The components of ``frontend/``, served from its built files; nothing comes from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

if TYPE_CHECKING:
    from streamlit.components.v2.component_manager import BidiComponentManager
    from streamlit.components.v2.types import ComponentRenderer

APP = Path(__file__).parents[1]
BUILT = "frontend/dist"
NAMES = ("canvas", "editor")


def mounting(name: str) -> ComponentRenderer:
    """What puts a component (``canvas`` or ``editor``) on the page.

    Scripts are files with an address, which browsers fetch once: given as text, half a megabyte
    would travel with every change of what is shown.
    """
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(f"tippers.{name}") is None:
        _declare(manager)
    return _registered(name, id(manager))


def _declare(manager: BidiComponentManager) -> None:
    """As an installed package does in its pyproject.toml; the app runs from a checkout, too."""
    components = [ComponentConfig(name, BUILT) for name in NAMES]
    manager.register_from_manifest(ComponentManifest("tippers", "1", components), APP)


@cache
def _registered(name: str, _manager: int) -> ComponentRenderer:
    """Once per process; tests start several servers in one, each with components of its own."""
    return st.components.v2.component(f"tippers.{name}", js=f"{name}.js")
