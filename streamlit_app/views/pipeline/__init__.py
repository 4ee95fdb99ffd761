"""Pipeline: the live graph of a concept, and everything that can be done with it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from streamlit_app.services import runs as all_runs
from streamlit_app.services.app import App
from streamlit_app.services.pipeline import runs
from streamlit_app.services.pipeline.graph import Graph, count_in_words, load_graph
from streamlit_app.services.pipeline.picture import Picture, picture
from streamlit_app.services.pipeline.runs import ActiveRun
from streamlit_app.ui import state
from streamlit_app.ui.messages import live, plain, show_errors
from streamlit_app.ui.pages import go
from streamlit_app.views.automation import warn_about_automation
from streamlit_app.views.pipeline import actions, drawing, panel, values
from tippers_dagster.access.model import Role
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.dagster.addresses import run_link

POLL_SECONDS = 2
ALL = "all"
VIEWS = ("Canvas", "List", "Values")


def render(app: App) -> None:
    """The page."""
    st.title("Pipeline")
    warn_about_automation(app)
    with show_errors():
        with st.spinner("Reading the definitions", show_time=True):
            graph = load_graph(app)
        if not graph.concepts:
            _no_concept(app)
            return
        concept, view, staging = _controls(graph)
        _live(app, concept, view, staging)


def _no_concept(app: App) -> None:
    st.info(
        "There is no concept yet. Start with a concept: what to label, and its possible labels. "
        "Then add an index of entities, rules that measure them, labelling functions that vote, "
        "and a label model that combines the votes.",
        icon=":material/account_tree:",
    )
    if app.person.may(Role.ANALYST) and st.button("Define a concept", type="primary"):
        go("definitions", new="concept")


def _controls(graph: Graph) -> tuple[str, str, bool]:
    """The concept, the view, and whether staging models are drawn; all kept in the address."""
    options = [*graph.concepts, ALL]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        concept = st.selectbox(
            "Concept",
            options,
            index=options.index(state.one_of("concept", options, options[0])),
            format_func=lambda name: "All concepts" if name == ALL else name,
            key="pipeline_concept",
            width=280,
        )
        view = st.segmented_control(
            "View", VIEWS, default=state.one_of("view", VIEWS, VIEWS[0]), key="pipeline_view"
        )
        staging = st.toggle(
            "Staging models",
            value=state.get("staging") == "yes",
            help="Also show the models between source tables and definitions.",
            key="pipeline_staging",
        )
    view = view or VIEWS[0]
    state.put(
        concept=concept,
        view=view if view != VIEWS[0] else None,
        staging="yes" if staging else None,
    )
    return "" if concept == ALL else concept, view, staging


@live(POLL_SECONDS)
def _live(app: App, concept: str, view: str, staging: bool) -> None:
    """Everything that changes while the page is open."""
    graph = load_graph(app)
    drawn = picture(app, graph, concept, staging=staging)
    actions.show_last_error()
    _summary(app, graph, drawn)
    _active_runs(app, runs.active_runs(app, graph))
    if view == "Values":
        values.show(graph, concept)
        return
    # Without keys, the canvas would be mounted again whenever an element above it comes or goes.
    with st.container(horizontal=True, gap="medium", key="pipeline_body"):
        with st.container(width="stretch", key="pipeline_wide"):
            show = drawing.show_canvas if view == "Canvas" else drawing.show_list
            done = show(app, drawn)
        side = st.container(border=True, width=panel.WIDTH, height=drawing.HEIGHT)
    actions.act(app, graph, drawn, done)
    with side:
        panel.show(app, graph, drawn, state.get("open"))


# --- above the canvas ----------------------------------------------------------------------------
# These two lines keep their height whatever they say: a canvas that moves while somebody draws on
# it would draw the wrong edge.
def _summary(app: App, graph: Graph, drawn: Picture) -> None:
    """Counts by status, and a button that brings everything up to date."""
    stale = drawn.stale
    may = app.person.may(Role.ANALYST)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        concept = plain(drawn.concept) if drawn.concept else "All concepts"
        st.markdown(f"**{concept}** · {count_in_words(drawn.members)}", width="content")
        if st.button(
            f"Materialise stale assets ({len(stale)})" if stale else "Nothing is stale",
            disabled=not stale or not may,
            icon=":material/play_arrow:" if stale else ":material/check:",
            help=None if may else "This needs the analyst role.",
            key="pipeline_stale",
        ):
            actions.materialise(app, graph, stale, stale_only=True)


def _active_runs(app: App, active: Sequence[ActiveRun]) -> None:
    """The first active run; the others behind a button."""
    with st.container(horizontal=True, vertical_alignment="center", key="pipeline_running"):
        if not active:
            st.caption("Nothing is running.", width="stretch")
            if st.button("Runs", icon=":material/history:", key="pipeline_runs"):
                go("runs")
            return
        first, *others = active
        _run(app, first)
        if others:
            with st.popover(f"{len(others)} more"):
                for other in others:
                    _run(app, other)


def _run(app: App, run: ActiveRun) -> None:
    """Progress of a run, with a button that cancels it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(run.done / max(len(run.names), 1), text=plain(run.in_words))
        if st.button(
            "Cancel",
            key=f"cancel_{run.run_id}",
            disabled=not app.person.may(Role.ANALYST),
            icon=":material/stop:",
        ):
            try:
                with st.spinner("Stopping the run"):
                    all_runs.cancel(app, run.run_id)
            except TippersError as error:
                actions.fail(error)
            st.toast("The run is stopping. Results that it has already computed are kept.")
        st.link_button("Run", run_link(app.settings, run.run_id), icon=":material/open_in_new:")
