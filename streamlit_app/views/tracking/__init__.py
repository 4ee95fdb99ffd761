"""Datasets and tracking: the spaces and dates for which occupancy is computed."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.cached import space_tree
from streamlit_app.ui.messages import live, plain
from streamlit_app.views.automation import warn_about_automation
from streamlit_app.views.levels import REFRESH_SECONDS, show_levels
from streamlit_app.views.tracking import datasets, ranges, start
from streamlit_app.views.tracking.notes import show_note
from tippers_dagster.campus.spaces.tree import NoSpaces

TABS = {"track": "Track a space", "datasets": "Datasets", "ranges": "Tracked ranges"}


def render(app: App) -> None:
    """The page."""
    st.title("Datasets and tracking")
    warn_about_automation(app)
    try:
        tree = space_tree(app.settings)
    except NoSpaces as error:
        st.info(f"{plain(error.message)}  \n{plain(error.hint or '')}", icon=":material/info:")
        return
    show_note()
    key = "tracking tab"
    first = "datasets" if state.get("dataset") else "track"
    tab = state.one_of("tab", list(TABS), first) or first
    st.session_state[key] = tab
    st.segmented_control(
        "Show",
        list(TABS),
        format_func=TABS.__getitem__,
        key=key,
        required=True,
        label_visibility="collapsed",
        on_change=lambda: state.put(tab=st.session_state[key], dataset=None),
    )
    bodies = {"track": start.show, "datasets": datasets.show, "ranges": ranges.show}
    bodies[tab](app, tree)
    st.divider()
    if service.is_anything_tracked(app):
        _progress(app)


@live(REFRESH_SECONDS)
def _progress(app: App) -> None:
    st.subheader("Progress")
    show_levels(app, key="tracking")
