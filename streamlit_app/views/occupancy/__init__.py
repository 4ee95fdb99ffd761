"""Occupancy: how full a space is, and was."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import occupancy as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.cached import space_facts, space_tree
from streamlit_app.ui.messages import live, plain
from streamlit_app.ui.pages import page
from streamlit_app.ui.space_picker import breadcrumb, sidebar_picker
from streamlit_app.views.occupancy import by_label, compare, floor, inside, people, timeline, weekly
from streamlit_app.views.occupancy.shown import VIEWS, Shown, first_window
from streamlit_app.views.occupancy.window import controls, download
from tippers_dagster.campus.spaces.facts import UNKNOWN
from tippers_dagster.campus.spaces.tree import NoSpaces, SpaceTree
from tippers_dagster.platform.dagster.addresses import asset_link

_BODIES = {
    "time": timeline.show,
    "week": weekly.show,
    "compare": compare.show,
    "people": people.show,
    "labels": by_label.show,
    "inside": inside.show,
    "floor": floor.show,
}


def render(app: App) -> None:
    """The page."""
    try:
        tree = space_tree(app.settings)
    except NoSpaces as error:
        st.title("Occupancy")
        st.info(f"{plain(error.message)}  \n{plain(error.hint or '')}", icon=":material/info:")
        return
    asked = state.get("space")
    space = asked if asked in tree else tree.roots[0]
    sidebar_picker(tree, space, _pick)
    breadcrumb(tree, space, _pick)
    st.title(plain(tree.names[tree.index[space]]))
    if asked and asked != space:
        st.warning(f"There is no space {plain(asked)} (any more).", icon=":material/warning:")
    known = space_facts(app.settings)
    _about(app, tree, space)
    first = first_window(app.settings, space)
    if first is None:
        _nothing(space)
        return
    _body(Shown(app, tree, known, space, first))


def _pick(space: str) -> None:
    state.put(space=space)


def _about(app: App, tree: SpaceTree, space: str) -> None:
    """What is known of the space, and what is behind its counts."""
    at = tree.index[space]
    facts = space_facts(app.settings).get(space, UNKNOWN)
    below = int(tree.size[at]) - 1
    asset, partition = service.chunks_behind(app.settings, tree, space)
    told = [f"{below:,} spaces below" if below else "no spaces below"]
    if facts.type:
        told.insert(0, plain(facts.type))
    if tree.building_rooms[at]:
        told.insert(0, f"room {plain(str(tree.building_rooms[at]))}")
    if facts.capacity:
        told.append(f"capacity {facts.capacity:,.0f}")
    link = asset_link(app.settings, asset, partition)
    told.append(f"[{asset} in Dagster]({link})")
    st.markdown(" · ".join(told))


def _nothing(space: str) -> None:
    st.info(
        "Nothing of this space is computed yet. Track it, or a space above it, over the dates that "
        "you want to see: it then fills by itself, and stays up to date.",
        icon=":material/info:",
    )
    st.page_link(
        page("tracking"),
        label="Track this space",
        icon=":material/calendar_month:",
        query_params={"space": space},
    )


@live(None)
def _body(shown: Shown) -> None:
    """All that depends on the window: moving it runs only this."""
    window, width = controls(shown)
    st.session_state["occupancy view"] = shown.view
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):  # where it may go on in a second row
            st.segmented_control(
                "Show",
                list(VIEWS),
                format_func=VIEWS.__getitem__,
                key="occupancy view",
                on_change=lambda: state.put(view=st.session_state["occupancy view"]),
                required=True,
                label_visibility="collapsed",
            )
        download(shown, window, width)
    _BODIES[shown.view](shown, window, width)
