"""Pipeline: the picture of a concept, live, and what can be done with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

import streamlit as st

from streamlit_app.services import pipeline as service
from streamlit_app.services.app import App
from streamlit_app.services.pipeline import Branch, Change, Details, Going, Item, Look, Picture
from streamlit_app.ui import state
from streamlit_app.ui.canvas import Done, Edge, Node, canvas
from streamlit_app.ui.messages import live, plain, tell, told
from streamlit_app.ui.pages import go
from streamlit_app.views.at_work import show_troubles
from tippers_dagster.access.model import Role
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.dagster.addresses import asset_link, run_link, web_address

POLL_SECONDS = 2
ALL = "all"
VIEWS = ("Canvas", "List", "Values")
REFUSED = "pipeline refused"
CANVAS_HEIGHT = 660
PANEL_WIDTH = 330

WANTING = ("failed", "broken", "stale")
"""How what needs a look stands."""

ICONS = {
    "fresh": ":material/check:",
    "stale": ":material/schedule:",
    "running": ":material/autorenew:",
    "failed": ":material/error:",
    "broken": ":material/warning:",
    "source": ":material/database:",
}


def render(app: App) -> None:
    """The page."""
    st.title("Pipeline")
    show_troubles(app)
    with told():
        with st.spinner("Reading the definitions ...", show_time=True):
            seen = service.look(app)
        if not seen.concepts:
            _nothing_yet(app)
            return
        concept, view, staging = _controls(seen)
        _live(app, concept, view, staging)


def _nothing_yet(app: App) -> None:
    st.info(
        "There is no concept yet: what is to be labelled, and its labels. A concept comes first; "
        "then an index of entities, rules that measure them, labelling functions that vote, and "
        "a label model that combines the votes.",
        icon=":material/account_tree:",
    )
    if app.person.may(Role.ANALYST) and st.button("Define a concept", type="primary"):
        go("definitions", new="concept")


def _controls(seen: Look) -> tuple[str, str, bool]:
    """Which concept is shown, how, and whether with staging models; all of it in the address."""
    options = [*seen.concepts, ALL]
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
            "Show as", VIEWS, default=state.one_of("view", VIEWS, VIEWS[0]), key="pipeline_view"
        )
        staging = st.toggle(
            "Staging models",
            value=state.get("staging") == "yes",
            help="Also the models between the source tables and the definitions.",
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
    """All that changes by itself."""
    seen = service.look(app)
    drawn = service.picture(app, seen, concept, staging=staging)
    _refused()
    _summary(app, seen, drawn)
    _running(app, service.going(app, seen))
    if view == "Values":
        _values(seen, concept)
        return
    # With keys: without, the canvas would begin anew whenever something above comes or goes.
    with st.container(horizontal=True, gap="medium", key="pipeline_body"):
        with st.container(width="stretch", key="pipeline_wide"):
            done = _canvas(app, drawn) if view == "Canvas" else _list(app, drawn)
        panel = st.container(border=True, width=PANEL_WIDTH, height=CANVAS_HEIGHT)
    _act(app, seen, drawn, done)
    with panel:
        _panel(app, seen, drawn, state.get("open"))


# --- what was refused ----------------------------------------------------------------------------
def _refuse(error: TippersError) -> NoReturn:
    """Keep what went wrong: what is drawn next is drawn anew within seconds."""
    st.session_state[REFUSED] = error
    st.rerun()


def _refused() -> None:
    """Show what went wrong last, until it is read."""
    error = st.session_state.get(REFUSED)
    if error is None:
        return
    tell(error)
    if st.button("Understood", icon=":material/check:", key="pipeline_understood"):
        del st.session_state[REFUSED]
        st.rerun()


# --- above the canvas ----------------------------------------------------------------------------
# Two lines, each as high whatever it says: a canvas that moves under the hand draws what nobody
# meant.
def _summary(app: App, seen: Look, drawn: Picture) -> None:
    """How all of it stands, and bringing it up to date."""
    stale = drawn.stale
    may = app.person.may(Role.ANALYST)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(_standing_in_words(drawn), width="content")
        if st.button(
            f"Materialise what is stale ({len(stale)})" if stale else "Nothing is stale",
            disabled=not stale or not may,
            icon=":material/play_arrow:" if stale else ":material/check:",
            help=None if may else "This takes the role analyst.",
            key="pipeline_stale",
        ):
            _materialise(app, seen, stale, stale_only=True)


def _standing_in_words(drawn: Picture) -> str:
    where = plain(drawn.concept) if drawn.concept else "All concepts"
    return f"**{where}** · {service.in_words_counted(drawn.members)}"


def _running(app: App, going: Sequence[Going]) -> None:
    """What runs: the first of it, the others behind a button."""
    with st.container(horizontal=True, vertical_alignment="center", key="pipeline_running"):
        if not going:
            st.caption("Nothing is running.", width="stretch")
            if st.button("Runs", icon=":material/history:", key="pipeline_runs"):
                go("runs")
            return
        first, *others = going
        _run(app, first)
        if others:
            with st.popover(f"{len(others)} more"):
                for other in others:
                    _run(app, other)


def _run(app: App, going: Going) -> None:
    """How far a run is, with what can be done about it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(going.done / max(len(going.names), 1), text=plain(going.says))
        if st.button(
            "Cancel",
            key=f"cancel_{going.run_id}",
            disabled=not app.person.may(Role.ANALYST),
            icon=":material/stop:",
        ):
            try:
                with st.spinner("Stopping it ..."):
                    service.cancel(app, going.run_id)
            except TippersError as error:
                _refuse(error)
            st.toast("The run is asked to stop; what it has computed is kept.")
        st.link_button("Run", run_link(app.settings, going.run_id), icon=":material/open_in_new:")


# --- the canvas, and the same as a list ----------------------------------------------------------
def _canvas(app: App, drawn: Picture) -> Done:
    if not drawn.members:
        st.info(
            "Nothing is defined here yet. Begin with an index: choose it above the canvas, or "
            "draw an edge from a source table.",
            icon=":material/account_tree:",
        )
    return canvas(
        f"Pipeline of {drawn.concept or 'all concepts'}",
        [_node(drawn, item) for item in drawn.items.values()],
        [Edge(e.parent, e.child, e.through, e.implied) for e in drawn.edges],
        key=f"canvas {drawn.concept}",
        links={kind: [k.value for k in kinds] for kind, kinds in service.EDGES.items()},
        palette=[kind.value for kind in service.CREATED],
        may_edit=app.person.may(Role.ANALYST),
        opened=state.get("open"),
        layout=st.session_state.get(_layout_key(drawn), 0),
        height=CANVAS_HEIGHT,
    )


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


def _list(app: App, drawn: Picture) -> Done:
    """The nodes as a table: to sort, to choose many of, and for who does not see the canvas."""
    items = list(drawn.items.values())
    chosen = st.dataframe(
        [_row(item) for item in items],
        width="stretch",
        height=CANVAS_HEIGHT - 60,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"list_{drawn.concept}",
        column_config={
            "Rows": st.column_config.NumberColumn(format="localized"),
            "Covers": st.column_config.NumberColumn(format="percent"),
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
        return Done(materialise=names)
    return Done()


def _row(item: Item) -> dict[str, object]:
    return {
        "Name": item.reference,
        "Kind": item.kind.replace("_", " "),
        "State": item.standing,
        "Why": item.why,
        "Rows": item.rows,
        "Covers": item.coverage,
        "Seconds": item.seconds,
        "Computed": item.materialized_at,
    }


def _layout_key(drawn: Picture) -> str:
    return f"pipeline layout {drawn.concept}"


# --- what somebody did ---------------------------------------------------------------------------
def _act(app: App, seen: Look, drawn: Picture, done: Done) -> None:
    """Do what was asked for on the canvas."""
    if done.opened:
        state.put(open=done.opened)
    if done.created:
        _create(seen, drawn, *done.created)
    if done.materialise:
        _materialise(app, seen, done.materialise, stale_only=False)
    try:
        if done.moved:
            service.arrange(app, drawn, done.moved)
        if done.reset:
            service.lay_out_anew(app, drawn.concept)
        change = service.change_of_edge(seen, *done.connected) if done.connected else None
    except TippersError as error:
        _refuse(error)
    if change is not None:
        _confirm(app, change)
    if done.reset:
        key = _layout_key(drawn)
        st.session_state[key] = st.session_state.get(key, 0) + 1
        st.rerun()


def _materialise(app: App, seen: Look, names: Collection[str], *, stale_only: bool) -> None:
    try:
        run = service.materialise(app, seen, names, stale_only=stale_only)
    except TippersError as error:
        _refuse(error)
    if run is None:
        st.toast("All of it is up to date, or under way.", icon=":material/check:")
    else:
        st.toast(f"Run {run[:8]} begins.", icon=":material/play_arrow:")


def _create(seen: Look, drawn: Picture, kind: str, parent: str) -> None:
    """Go to where a definition is written, with its parent filled in."""
    above = seen.items.get(parent)
    concept = drawn.concept or (above.concept if above else "") or seen.concepts[0]
    go("definitions", new=kind, concept=concept, parent=above.reference if above else "")


@st.dialog("Change a definition?")
def _confirm(app: App, change: Change) -> None:
    """Say what an edge between two definitions changes, before it does."""
    st.markdown(plain(change.says))
    st.caption("All that stands on it becomes stale, and is computed anew.")
    yes, no = st.columns(2)
    if yes.button("Change it", type="primary", width="stretch"):
        with told():
            service.connect(app, change)
            st.rerun()
    if no.button("Leave it as it is", width="stretch"):
        st.rerun()


# --- the side panel ------------------------------------------------------------------------------
def _panel(app: App, seen: Look, drawn: Picture, name: str) -> None:
    """The opened node, or what to do with the canvas."""
    found = service.details(app, seen, name) if name else None
    if found is None:
        _help(app, drawn)
    else:
        _details(app, seen, drawn, found)


def _help(app: App, drawn: Picture) -> None:
    st.markdown("**What needs a look**")
    wrong = [i for i in drawn.items.values() if i.standing in WANTING]
    unseen = [i for i in drawn.hidden if i.standing in WANTING]
    for item in wrong[:8]:
        _jump(item, f"{item.reference}: {item.standing}")
    if unseen:
        names = ", ".join(item.reference for item in unseen[:3])
        st.caption(f"Not drawn, and not fresh: {plain(names)}. Turn on staging models to see them.")
    if not wrong and not unseen:
        st.caption("Nothing: all of it is up to date, or under way.")
    st.markdown("**How to**")
    st.caption(
        "Click a node, or press Enter on it, to see its definition here. Drag nodes where you "
        "want them: everybody sees them there. Shift and drag selects several; Ctrl and click "
        "adds one. Drag from the dot at a node's right side to make what stands on it."
    )
    if web_address(app.settings) is None:
        st.caption(
            "Nothing that could compute runs at the moment: start it with `tippers up`.",
        )


def _details(app: App, seen: Look, drawn: Picture, found: Details) -> None:
    item = found.item
    title, close = st.columns([5, 1], vertical_alignment="center")
    title.markdown(f"**{plain(item.reference)}**")
    if close.button(":material/close:", key="pipeline_close", type="tertiary", help="Close"):
        state.put(open=None)
        st.rerun()
    st.caption(f"{plain(item.kind.replace('_', ' '))} · {ICONS[item.standing]} {item.standing}")
    if item.why:
        show = st.error if item.standing in ("failed", "broken") else st.info
        show(plain(item.why))
    if found.tries or found.next_try is not None:
        st.caption(_tries(app, found))
    if found.description:
        st.markdown(plain(found.description))
    _figures(found)
    _actions(app, seen, drawn, found)
    if found.text:
        st.code(found.text, language=found.language, wrap_lines=True)
    _columns(found)
    _around(seen, "Reads", found.reads)
    _around(seen, "Read by", found.read_by)


def _tries(app: App, found: Details) -> str:
    times = {0: "", 1: "Tried once. "}.get(found.tries, f"Tried {found.tries:,} times. ")
    if found.next_try is None:
        return f"{times}Automation retries only when something changes."
    return f"{times}Automation retries at {found.next_try:%H:%M:%S} UTC."


def _figures(found: Details) -> None:
    item = found.item
    if item.materialized_at is not None:
        took = "" if item.seconds is None else f" in {item.seconds:.1f} s"
        rows = "" if item.rows is None else f", {item.rows:,} rows"
        st.caption(f"Computed {item.materialized_at:%Y-%m-%d %H:%M} UTC{took}{rows}.")
    if found.votes:
        parts = [f"{label} {count:,}" for label, count in found.votes.items()]
        covers = "" if not item.facts else f" It {item.facts}."
        st.markdown(plain(f"{', '.join(parts)}.{covers}"))


def _actions(app: App, seen: Look, drawn: Picture, found: Details) -> None:
    item = found.item
    may = app.person.may(Role.ANALYST)
    with st.container(horizontal=True, gap="small"):
        if found.definition is not None and st.button("Definition", icon=":material/edit_note:"):
            go("definitions", open=str(found.definition.ref))
        if item.standing != "source":
            label, icon = "Materialise", ":material/play_arrow:"
            if st.button(label, icon=icon, disabled=not may, key="pipeline_materialise"):
                _materialise(app, seen, (item.name,), stale_only=False)
            address = asset_link(app.settings, item.name)
            st.link_button("Asset", address, icon=":material/open_in_new:")
        if found.creates and may:
            with st.popover("New from this", icon=":material/add:"):
                for kind in found.creates:
                    words = kind.value.replace("_", " ")
                    if st.button(words.capitalize(), key=f"new_{kind.value}", width="stretch"):
                        _create(seen, drawn, kind.value, item.name)


def _columns(found: Details) -> None:
    if found.columns:
        st.dataframe(
            found.columns,
            width="stretch",
            hide_index=True,
            column_config={"nulls": "empty"},
        )


def _around(seen: Look, title: str, names: tuple[str, ...]) -> None:
    """What it reads, or what reads it; each opens in its turn."""
    items = [seen.items[name] for name in names if name in seen.items]
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


# --- the tree of values --------------------------------------------------------------------------
def _values(seen: Look, concept: str) -> None:
    """Labels, and the concepts that refine them."""
    tops = [concept] if concept else _tops(seen)
    for top in tops:
        with told():
            st.markdown("\n".join(_lines(service.value_tree(seen, top), concept, 0)))
    st.caption(
        "A label can be refined by a concept of its own: its entities are labelled anew there, at "
        "the next level. Numbers are those of the last label model that was computed."
    )


def _tops(seen: Look) -> list[str]:
    """Concepts that refine none."""
    trees = {name: service.value_tree(seen, name).concept for name in seen.concepts}
    return list(dict.fromkeys(trees.values()))


def _lines(branch: Branch, here: str, depth: int) -> list[str]:
    count = f" · {branch.entities:,} by {plain(branch.by)}" if branch.entities is not None else ""
    about = f" · {plain(branch.description)}" if branch.description else ""
    if branch.label:
        name = f"**{plain(branch.label)}**"
    else:
        mark = " (this one)" if branch.concept == here else ""
        name = f"Concept **{plain(branch.concept)}**{mark}"
    lines = [f"{'    ' * depth}- {name}{count}{about}"]
    for below in branch.below:
        lines += _lines(below, here, depth + 1)
    return lines
