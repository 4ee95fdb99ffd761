"""The graph as a canvas, and the same as a list."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.edges import CREATED, EDGES
from streamlit_app.services.pipeline.graph import Item
from streamlit_app.services.pipeline.picture import Picture
from streamlit_app.ui import state
from streamlit_app.ui.canvas import CanvasAction, Edge, Node, canvas
from tippers_dagster.access.model import Role

HEIGHT = 660


def show_canvas(app: App, drawn: Picture) -> CanvasAction:
    """Draw the graph, and return what somebody did with it."""
    if not drawn.members:
        st.info(
            "No definitions yet. Start with an index: choose it above the canvas, or draw an edge "
            "from a source table.",
            icon=":material/account_tree:",
        )
    return canvas(
        f"Pipeline of {drawn.concept or 'all concepts'}",
        [_node(drawn, item) for item in drawn.items.values()],
        [Edge(e.parent, e.child, e.through, e.implied) for e in drawn.edges],
        key=f"canvas {drawn.concept}",
        links={kind: [k.value for k in kinds] for kind, kinds in EDGES.items()},
        palette=[kind.value for kind in CREATED],
        may_edit=app.person.may(Role.ANALYST),
        opened=state.get("open"),
        layout=st.session_state.get(layout_key(drawn), 0),
        height=HEIGHT,
    )


def layout_key(drawn: Picture) -> str:
    """The key under which the session counts how often this picture's layout was reset."""
    return f"pipeline layout {drawn.concept}"


def _node(drawn: Picture, item: Item) -> Node:
    return Node(
        name=item.name,
        title=item.shown,
        kind=item.kind,
        standing=item.standing,
        why=item.why,
        facts=item.facts,
        elsewhere="" if drawn.holds(item) else item.concept,
        region="" if drawn.concept else item.concept,
        place=drawn.places.get(item.name),
    )


def show_list(app: App, drawn: Picture) -> CanvasAction:
    """The nodes as a table, for sorting, for selecting many, and for screen readers."""
    items = list(drawn.items.values())
    chosen = st.dataframe(
        [_row(item) for item in items],
        width="stretch",
        height=HEIGHT - 60,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"list_{drawn.concept}",
        column_config={
            "Rows": st.column_config.NumberColumn(format="localized"),
            "Coverage": st.column_config.NumberColumn(format="percent"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
            "Computed": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        },
    )
    rows = chosen["selection"]["rows"]
    names = tuple(items[row].name for row in rows if row < len(items))
    if len(names) == 1:
        state.put(open=names[0])
    may = app.person.may(Role.ANALYST)
    label = f"Materialise selected ({len(names)})"
    if st.button(label, disabled=not names or not may, icon=":material/play_arrow:"):
        return CanvasAction(materialise=names)
    return CanvasAction()


def _row(item: Item) -> dict[str, object]:
    return {
        "Name": item.reference,
        "Kind": item.kind.replace("_", " "),
        "State": item.standing_in_words,
        "Reason": item.why,
        "Rows": item.rows,
        "Coverage": item.coverage,
        "Seconds": item.seconds,
        "Computed": item.materialized_at,
    }
