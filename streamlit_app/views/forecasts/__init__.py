"""Forecasts: the expected occupancy of a space, past forecasts, and the models."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.app import App
from streamlit_app.services.forecasts import Defined
from streamlit_app.ui import state
from streamlit_app.ui.cached import space_tree
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import go
from streamlit_app.ui.space_picker import full_name
from streamlit_app.views.forecasts import ahead, backtests, models, status
from streamlit_app.views.forecasts.context import VIEWS, Context, space_key, width_of
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import NoSpaces, SpaceTree

_SEEN = "forecasts.seen"
"""The forecaster that the space in the address belongs to."""

_BODIES = {"ahead": ahead.show, "tested": backtests.show, "models": models.show}


def render(app: App) -> None:
    """The page."""
    st.title("Forecasts")
    try:
        tree = space_tree(app.settings)
    except NoSpaces as error:
        st.info(f"{plain(error.message)}  \n{plain(error.hint or '')}", icon=":material/info:")
        return
    found = service.forecasters(app)
    if not found:
        _nothing_defined(app)
        return
    controls = st.container(horizontal=True, vertical_alignment="bottom")
    with controls:
        chosen = _forecaster(found)
    if chosen.problem:
        st.error(plain(chosen.problem), icon=":material/error:")
        return
    if not chosen.spaces:
        _nothing_yet(app, chosen)
        return
    with controls:
        context = _context(app, tree, chosen)
    if chosen.description:
        st.caption(plain(chosen.description))
    panel = st.container()
    _tabs(context)
    _BODIES[context.view](context)
    # Last, because reading all definitions for the first time takes a moment.
    with panel, st.spinner("Checking the status ..."):
        status.show(app, chosen.name)


def _nothing_defined(app: App) -> None:
    with st.container(border=True):
        st.markdown(
            "**No forecaster is defined yet.** A forecaster names spaces, how far to look ahead, "
            "and the models that compete: repeating last week, statistical models, boosted trees, "
            "Prophet, a small transformer. For each space, the model with the best backtest makes "
            "the forecast, which is kept up to date with the occupancy."
        )
        if app.person.may(Role.ANALYST):
            if st.button("Define a forecaster", type="primary", icon=":material/add:"):
                go("definitions", new="forecaster")
        else:
            st.caption("Defining one needs the analyst role.")


def _nothing_yet(app: App, chosen: Defined) -> None:
    st.info(
        f"The forecaster {plain(chosen.name)} is not computed yet: first its backtest, then its "
        "forecasts. Both need the occupancy of its spaces.",
        icon=":material/pending:",
    )
    status.show(app, chosen.name)


def _forecaster(found: list[Defined]) -> Defined:
    names = [one.name for one in found]
    at = names.index(state.one_of("forecaster", names, names[0]))
    name = st.selectbox("Forecaster", names, index=at, key="forecasts_forecaster", width=220)
    state.put(forecaster=name)
    return found[names.index(name)]


def _context(app: App, tree: SpaceTree, chosen: Defined) -> Context:
    """Select the space and the length of the history."""
    order = sorted(chosen.spaces, key=lambda s: tree.index.get(s, len(tree)))
    requested = state.get("space")
    same_forecaster = chosen.name == st.session_state.get(_SEEN, chosen.name)
    if requested and requested not in order and same_forecaster:
        st.warning(
            f"This forecaster has no forecast for space {plain(requested)}.",
            icon=":material/warning:",
        )
    space = st.selectbox(
        "Space",
        order,
        index=order.index(requested) if requested in order else 0,
        format_func=lambda s: full_name(tree, s) if s in tree else f"{s} (no longer exists)",
        key=space_key(chosen.name),
        width=340,
    )
    st.session_state[_SEEN] = chosen.name
    days = ahead.history_days()
    state.put(space=space)
    return Context(app, tree, chosen, space, days, width_of(chosen))


def _tabs(context: Context) -> None:
    st.session_state["forecasts view"] = context.view
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.segmented_control(
                "Show",
                list(VIEWS),
                format_func=VIEWS.__getitem__,
                key="forecasts view",
                on_change=lambda: state.put(view=st.session_state["forecasts view"]),
                required=True,
                label_visibility="collapsed",
            )
        ahead.download(context)
