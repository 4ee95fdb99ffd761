"""Everything that depends on Streamlit's internals: modules that are not in its API, and its HTML.

A new version of Streamlit may change these without notice: check each of them when upgrading.

Component manager (tried with 1.67.0)
    The public ``st.components.v2.component`` takes scripts as text, or as files of an installed
    package. The app also runs from a checkout, and its scripts must be files, so the manifest that
    Streamlit reads from an installed package is registered here.
HTML test ids (``data-testid``, tried with 1.67.0)
    The theme's settings cannot change paddings, hide a button, or set the colours of text on the
    primary colour and of code. The style sheets that do so select elements by these ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.components.v2.types import ComponentRenderer

__all__ = ["ALL_THEMES", "DARK", "LIGHT", "ComponentRenderer", "register_components"]


def register_components(package: str, names: Sequence[str], root: Path, built: str) -> int:
    """Register components, built to the folder ``built`` below ``root``, if they are not yet.

    Returns a number that is different for every server: each has its own registry, and tests start
    several servers in one process.
    """
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(f"{package}.{names[0]}") is None:
        components = [ComponentConfig(name, built) for name in names]
        manager.register_from_manifest(ComponentManifest(package, "1", components), root)
    return id(manager)


_PADDING = """<style>
[data-testid=stMainBlockContainer] {padding: 3.75rem clamp(1rem, 3vw, 3rem) 3rem}
</style>"""
"""Streamlit leaves 80 pixels at each side and 96 above: the canvas, tables and charts need them."""

_NO_CSV = """<style>
[data-testid=stElementToolbarButton]:has([aria-label^="Download as CSV"]) {display: none}
</style>"""
"""Streamlit's table download does not escape formulas; the pages' own downloads do. Streamlit's
setting to disable it would also disable copying cells."""

_DARK_BUTTONS = """<style>
[data-testid^=stBaseButton-primary]:enabled, [data-testid=stPopoverButton][kind=primary]:enabled,
[data-testid=stMultiSelect] [data-tag], [data-testid=stMultiSelect] [data-tag] * {color: #06282b}
</style>"""
"""Streamlit writes in white on the primary colour, which has to be light in the dark theme."""

_CODE = """<style>
[data-testid=stCode] .token:is(.deleted) {{color: {deleted} !important}}
[data-testid=stCode] .token:is(.inserted, .string) {{color: {inserted} !important}}
[data-testid=stCode] .token:is(.unchanged, .comment, .punctuation) {{color: {other} !important}}
[data-testid=stCode] .token:is(.atrule, .number, .boolean) {{color: {name} !important}}
[data-testid=stCode] .token:is(.keyword) {{color: {keyword} !important}}
</style>"""
"""Readable colours for ``st.code``, in particular for differences."""

_LIGHT_CODE = _CODE.format(
    deleted="#b3261e", inserted="#1b6b35", other="#566164", name="#8a4b08", keyword="#1a56a8"
)
_DARK_CODE = _CODE.format(
    deleted="#ff9c94", inserted="#86d3a0", other="#a9b6b6", name="#f0b27a", keyword="#8ab8f0"
)

ALL_THEMES = _PADDING + _NO_CSV
LIGHT = _LIGHT_CODE
DARK = _DARK_BUTTONS + _DARK_CODE
