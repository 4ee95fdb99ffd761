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
from streamlit_app.views.forecasts.shown import VIEWS, Shown, space_key, width_of
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import NoSpaces, SpaceTree

_SEEN = "forecasts.seen"
"""Whose space the address has: another forecaster has others."""

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
    which = st.container(horizontal=True, vertical_alignment="bottom")
    with which:
        chosen = _forecaster(found)
    if chosen.problem:
        st.error(plain(chosen.problem), icon=":material/error:")
        return
    if not chosen.spaces:
        _nothing_yet(app, chosen)
        return
    with which:
        shown = _shown(app, tree, chosen)
    if chosen.description:
        st.caption(plain(chosen.description))
    panel = st.container()
    _tabs(shown)
    _BODIES[shown.view](shown)
    # Last: the first look at the definitions takes a moment.
    with panel, st.spinner("Looking how fresh it is ..."):
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
    at = names.index(state.one_of("forecaster", names, names[0]))
    name = st.selectbox("Forecaster", names, index=at, key="forecasts_forecaster", width=220)
    state.put(forecaster=name)
    return found[names.index(name)]


def _shown(app: App, tree: SpaceTree, chosen: Defined) -> Shown:
    """Which space of it, and how much of the past."""
    order = sorted(chosen.spaces, key=lambda s: tree.index.get(s, len(tree)))
    asked = state.get("space")
    if asked and asked not in order and chosen.name == st.session_state.get(_SEEN, chosen.name):
        st.warning(f"There is no forecast of space {plain(asked)} here.", icon=":material/warning:")
    space = st.selectbox(
        "Space",
        order,
        index=order.index(asked) if asked in order else 0,
        format_func=lambda s: full_name(tree, s) if s in tree else f"{s} (gone)",
        key=space_key(chosen.name),
        width=340,
    )
    st.session_state[_SEEN] = chosen.name
    days = ahead.history_days()
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
