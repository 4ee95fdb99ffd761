"""Forecasts: what is expected of a space, how good that would have been, and what changed."""

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
from streamlit_app.views.forecasts import ahead, models, standing, tested
from streamlit_app.views.forecasts.shown import VIEWS, Shown, width_of
from tippers_dagster.people.model import Role
from tippers_dagster.spaces.tree import NoSpaces, SpaceTree

_BODIES = {"ahead": ahead.show, "tested": tested.show, "models": models.show}


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
    chosen = _forecaster(found)
    if chosen.description:
        st.caption(plain(chosen.description))
    if chosen.problem:
        st.error(plain(chosen.problem), icon=":material/error:")
        return
    if not chosen.spaces:
        _nothing_yet(app, chosen)
        return
    shown = _shown(app, tree, chosen)
    panel = st.container()
    _tabs(shown)
    _BODIES[shown.view](shown)
    with panel:  # last: the first look at the definitions takes a moment
        standing.show(app, chosen.name)


def _nothing_defined(app: App) -> None:
    with st.container(border=True):
        st.markdown(
            "**No forecaster is defined yet.** A forecaster names some spaces, how far to look "
            "ahead, and the models that compete: seasonal naive ones, statistical ones, boosted "
            "trees, Prophet, a small transformer. Of each space, the one that would have done "
            "best in the past makes the forecast; it is brought up to date when occupancy is."
        )
        if app.person.may(Role.ANALYST):
            if st.button("Define a forecaster", type="primary", icon=":material/add:"):
                go("definitions", new="forecaster")
        else:
            st.caption("Defining one takes the role analyst.")


def _nothing_yet(app: App, chosen: Defined) -> None:
    st.info(
        f"The forecaster {plain(chosen.name)} was not computed yet: its backtest comes first, then "
        "its forecasts. Both need the occupancy of its spaces.",
        icon=":material/pending:",
    )
    standing.show(app, chosen.name)


def _forecaster(found: list[Defined]) -> Defined:
    names = [one.name for one in found]
    with st.container(horizontal=True, vertical_alignment="bottom", key="forecasts_which"):
        at = names.index(state.one_of("forecaster", names, names[0]))
        name = st.selectbox("Forecaster", names, index=at, key="forecasts_forecaster", width=260)
    state.put(forecaster=name)
    return found[names.index(name)]


def _shown(app: App, tree: SpaceTree, chosen: Defined) -> Shown:
    """Which space of it, and how much of the past."""
    order = sorted(chosen.spaces, key=lambda s: tree.index.get(s, len(tree)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = state.get("space")
        space = st.selectbox(
            "Space",
            order,
            index=order.index(asked) if asked in order else 0,
            format_func=lambda s: full_name(tree, s) if s in tree else f"{s} (gone)",
            key=f"forecasts_space {chosen.name}",
            width=340,
        )
        days = ahead.history_days()
    if asked and asked not in order:
        st.caption(f":material/info: Space {plain(asked)} is none of this forecaster's.")
    state.put(space=space)
    return Shown(app, tree, chosen, space, days, width_of(chosen))


def _tabs(shown: Shown) -> None:
    st.session_state["forecasts view"] = shown.view
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
        ahead.download(shown)
