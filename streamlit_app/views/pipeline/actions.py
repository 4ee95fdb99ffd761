"""Actions of the pipeline page, and the errors that they cause."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.pipeline import edges, runs
from streamlit_app.services.pipeline.edges import Change
from streamlit_app.services.pipeline.graph import Graph
from streamlit_app.services.pipeline.picture import Picture, reset_layout, save_places
from streamlit_app.ui import state
from streamlit_app.ui.canvas import CanvasAction
from streamlit_app.ui.messages import plain, show_error, show_errors
from streamlit_app.ui.pages import go
from streamlit_app.views.pipeline.drawing import layout_key
from tippers_dagster.errors import TippersError

ERROR = "pipeline error"


def fail(error: TippersError) -> NoReturn:
    """Keep an error, as the page is drawn again within seconds."""
    st.session_state[ERROR] = error
    st.rerun()


def show_last_error() -> None:
    """Show the last error until somebody dismisses it."""
    error = st.session_state.get(ERROR)
    if error is None:
        return
    show_error(error)
    if st.button("Dismiss", icon=":material/check:", key="pipeline_dismiss"):
        del st.session_state[ERROR]
        st.rerun()


def act(app: App, graph: Graph, drawn: Picture, done: CanvasAction) -> None:
    """Carry out what somebody did on the canvas."""
    if done.opened:
        state.put(open=done.opened)
    if done.created:
        create(graph, drawn, *done.created)
    if done.materialise:
        materialise(app, graph, done.materialise, stale_only=False)
    try:
        if done.moved:
            save_places(app, drawn, done.moved)
        if done.reset:
            reset_layout(app, drawn.concept)
        change = edges.change_of_edge(graph, *done.connected) if done.connected else None
    except TippersError as error:
        fail(error)
    if change is not None:
        _confirm(app, change)
    if done.reset:
        key = layout_key(drawn)
        st.session_state[key] = st.session_state.get(key, 0) + 1
        st.rerun()


def materialise(app: App, graph: Graph, names: Collection[str], *, stale_only: bool) -> None:
    """Start a run of these nodes and of the stale ones that they depend on."""
    try:
        run = runs.materialise(app, graph, names, stale_only=stale_only)
    except TippersError as error:
        fail(error)
    if run is None:
        st.toast("Everything is up to date or already running.", icon=":material/check:")
    else:
        st.toast(f"Run {run[:8]} started.", icon=":material/play_arrow:")


def create(graph: Graph, drawn: Picture, kind: str, parent: str) -> None:
    """Go to the form for a new definition, with its parent filled in."""
    above = graph.items.get(parent)
    concept = drawn.concept or (above.concept if above else "") or graph.concepts[0]
    go("definitions", new=kind, concept=concept, parent=above.reference if above else "")


@st.dialog("Change a definition?")
def _confirm(app: App, change: Change) -> None:
    st.markdown(plain(change.in_words))
    st.caption("Everything that depends on it will be recomputed.")
    yes, no = st.columns(2)
    if yes.button("Change", type="primary", width="stretch"):
        with show_errors():
            edges.apply_change(app, change)
            st.rerun()
    if no.button("Cancel", width="stretch"):
        st.rerun()
