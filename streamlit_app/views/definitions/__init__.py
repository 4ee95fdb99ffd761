"""The Definitions page: the list, and the editor of one definition."""

from __future__ import annotations

from streamlit_app.services.app import App
from streamlit_app.services.definitions.listing import load
from streamlit_app.ui import state
from streamlit_app.views.definitions import editor, listing


def render(app: App) -> None:
    """The page. ``?open=concept.name`` opens a definition, ``?new=kind`` starts a new one."""
    catalog = load(app)
    if state.get("open"):
        editor.render_opened(app, catalog, state.get("open"))
    elif state.get("new"):
        editor.render_new(app, catalog)
    else:
        listing.render(app, catalog)
