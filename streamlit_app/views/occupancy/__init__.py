"""Occupancy: how full a space is and was."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.occupancy.computed import newest_partition
from streamlit_app.ui import state
from streamlit_app.ui.cached import space_facts, space_tree
from streamlit_app.ui.messages import live, plain
from streamlit_app.ui.pages import page
from streamlit_app.ui.space_picker import breadcrumb, sidebar_picker
from streamlit_app.views.occupancy import by_label, compare, floor, inside, people, timeline, weekly
from streamlit_app.views.occupancy.context import VIEWS, Context, first_window
from streamlit_app.views.occupancy.window import controls, download
from tippers_dagster.campus.spaces.facts import UNKNOWN
from tippers_dagster.campus.spaces.tree import NoSpaces, SpaceTree
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.platform.text import counted

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
    requested = state.get("space")
    space = requested if requested in tree else tree.roots[0]
    sidebar_picker(tree, space, _pick)
    breadcrumb(tree, space, _pick)
    st.title(plain(tree.names[tree.index[space]]))
    if requested and requested != space:
        st.warning(
            f"The space {plain(requested)} does not exist (any more).", icon=":material/warning:"
        )
    known = space_facts(app.settings)
    _about(app, tree, space)
    first = first_window(app.settings, space)
    if first is None:
        _not_computed(space)
        return
    _body(Context(app, tree, known, space, first))


def _pick(space: str) -> None:
    state.put(space=space)


def _about(app: App, tree: SpaceTree, space: str) -> None:
    """Facts about the space, and a link to the asset that holds its counts."""
    at = tree.index[space]
    facts = space_facts(app.settings).get(space, UNKNOWN)
    below = int(tree.size[at]) - 1
    asset, partition = newest_partition(app.settings, tree, space)
    parts = [f"contains {counted(below, 'space')}" if below else "no spaces inside"]
    if facts.type:
        parts.insert(0, plain(facts.type))
    if tree.building_rooms[at]:
        parts.insert(0, f"room {plain(str(tree.building_rooms[at]))}")
    if facts.capacity:
        parts.append(f"capacity {facts.capacity:,.0f}")
    link = asset_link(app.settings, asset, partition)
    parts.append(f"[{asset} in Dagster]({link})")
    text = " · ".join(parts)
    st.markdown(text[:1].upper() + text[1:])


def _not_computed(space: str) -> None:
    st.info(
        "Nothing is computed for this space yet. Track it, or a space that contains it, over the "
        "dates that you need: its counts are then computed and kept up to date automatically.",
        icon=":material/info:",
    )
    st.page_link(
        page("tracking"),
        label="Track this space",
        icon=":material/calendar_month:",
        query_params={"space": space},
    )


@live(None)
def _body(context: Context) -> None:
    """The part that depends on the window: a change of the window reruns only this fragment."""
    window, width, count = controls(context)
    context = replace(context, count=count)
    st.session_state["occupancy view"] = context.view
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):  # lets the control wrap to a second row
            st.segmented_control(
                "Show",
                list(VIEWS),
                format_func=VIEWS.__getitem__,
                key="occupancy view",
                on_change=lambda: state.put(view=st.session_state["occupancy view"]),
                required=True,
                label_visibility="collapsed",
            )
        download(context, window, width)
    _BODIES[context.view](context, window, width)
