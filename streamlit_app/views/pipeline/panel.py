"""The side panel: the opened node, or what needs attention."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.details import Details, details
from streamlit_app.services.pipeline.graph import Graph, Item
from streamlit_app.services.pipeline.picture import Picture
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import go
from streamlit_app.views.pipeline import actions
from tippers_dagster.access.model import Role
from tippers_dagster.platform.dagster.addresses import asset_link, web_address
from tippers_dagster.platform.text import counted

WIDTH = 330

ICONS = {
    "fresh": ":material/check:",
    "stale": ":material/schedule:",
    "waiting": ":material/hourglass_empty:",
    "running": ":material/autorenew:",
    "failed": ":material/error:",
    "broken": ":material/warning:",
    "source": ":material/database:",
}

_NEEDS_ATTENTION = ("failed", "broken", "stale")
_MAX_LISTED = 8


def show(app: App, graph: Graph, drawn: Picture, name: str) -> None:
    """The opened node, or what needs attention if none is open."""
    found = details(app, graph, name) if name else None
    if found is None:
        _attention(drawn)
        _help(app)
    else:
        _details(app, graph, drawn, found)


def _attention(drawn: Picture) -> None:
    st.markdown("**Needs attention**")
    listed = [i for i in drawn.items.values() if i.standing in _NEEDS_ATTENTION]
    hidden = [i for i in drawn.hidden if i.standing in _NEEDS_ATTENTION]
    for item in listed[:_MAX_LISTED]:
        _jump(item, f"{item.reference}: {item.standing_in_words}")
    if len(listed) > _MAX_LISTED:
        st.caption(f"and {len(listed) - _MAX_LISTED:,} more")
    if hidden:
        names = ", ".join(item.reference for item in hidden[:3])
        more = f" and {len(hidden) - 3:,} more" if len(hidden) > 3 else ""
        st.caption(
            f"Hidden, and not up to date: {plain(names)}{more}. Turn on staging models to see them."
        )
    if not listed and not hidden:
        st.caption("Nothing: everything is up to date or running.")


def _help(app: App) -> None:
    st.markdown("**How to**")
    st.caption(
        "Click a node, or press Enter on it, to see its definition here. Drag nodes to arrange "
        "them; everybody sees the new positions. Shift and drag selects several nodes, Ctrl and "
        "click adds one. Drag from the dot on the right of a node to create a definition that "
        "reads it."
    )
    if web_address(app.settings) is None:
        st.caption(
            "The deployment is not running, so nothing is computed. Start it with `tippers up`."
        )


def _details(app: App, graph: Graph, drawn: Picture, found: Details) -> None:
    item = found.item
    title, close = st.columns([5, 1], vertical_alignment="center")
    title.markdown(f"**{plain(item.reference)}**")
    if close.button(":material/close:", key="pipeline_close", type="tertiary", help="Close"):
        state.put(open=None)
        st.rerun()
    kind = plain(item.kind.replace("_", " "))
    st.caption(f"{kind} · {ICONS[item.standing]} {item.standing_in_words}")
    if item.why:
        show_why = st.error if item.standing in ("failed", "broken") else st.info
        show_why(plain(item.why))
    if found.tries or found.next_try is not None:
        st.caption(_attempts(found))
    if found.description:
        st.markdown(plain(found.description))
    _figures(found)
    _actions(app, graph, drawn, found)
    if found.text:
        st.code(found.text, language=found.language, wrap_lines=True)
    if found.columns:
        st.dataframe(found.columns, width="stretch", hide_index=True)
    _related(graph, "Reads", found.reads)
    _related(graph, "Read by", found.read_by)


def _attempts(found: Details) -> str:
    tried = {0: "", 1: "Tried once. "}.get(found.tries, f"Tried {found.tries:,} times. ")
    if found.next_try is None:
        return f"{tried}Automation retries only when something changes."
    return f"{tried}Automation retries at {found.next_try:%H:%M:%S} UTC."


def _figures(found: Details) -> None:
    item = found.item
    if item.materialized_at is not None:
        took = "" if item.seconds is None else f" in {item.seconds:.1f} s"
        rows = "" if item.rows is None else f", {counted(item.rows, 'row')}"
        st.caption(f"Computed {item.materialized_at:%Y-%m-%d %H:%M} UTC{took}{rows}.")
    if found.votes:
        counts = ", ".join(f"{label} {count:,}" for label, count in found.votes.items())
        facts = f" {item.facts[:1].upper()}{item.facts[1:]}." if item.facts else ""
        st.markdown(plain(f"{counts}.{facts}"))


def _actions(app: App, graph: Graph, drawn: Picture, found: Details) -> None:
    item = found.item
    may = app.person.may(Role.ANALYST)
    with st.container(horizontal=True, gap="small"):
        if found.definition is not None and st.button("Definition", icon=":material/edit_note:"):
            go("definitions", open=str(found.definition.ref))
        if item.standing != "source":
            label, icon = "Materialise", ":material/play_arrow:"
            if st.button(label, icon=icon, disabled=not may, key="pipeline_materialise"):
                actions.materialise(app, graph, (item.name,), stale_only=False)
            address = asset_link(app.settings, item.name)
            st.link_button("Asset", address, icon=":material/open_in_new:")
        if found.creates and may:
            with st.popover("New from this", icon=":material/add:"):
                for kind in found.creates:
                    words = kind.in_words
                    if st.button(words.capitalize(), key=f"new_{kind.value}", width="stretch"):
                        actions.create(graph, drawn, kind.value, item.name)


def _related(graph: Graph, title: str, names: tuple[str, ...]) -> None:
    """Nodes that it reads, or that read it, as buttons that open them."""
    items = [graph.items[name] for name in names if name in graph.items]
    if not items:
        return
    st.markdown(f"**{title}**")
    for item in items:
        _jump(item, item.reference)


def _jump(item: Item, text: str) -> None:
    if st.button(
        plain(text), icon=ICONS[item.standing], type="tertiary", key=f"jump {text} {item.name}"
    ):
        state.put(open=item.name)
        st.rerun()
