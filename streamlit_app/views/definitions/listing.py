"""The list of definitions."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import listing as service
from streamlit_app.services.definitions.edit import CREATED
from streamlit_app.services.definitions.listing import STATES, Row
from streamlit_app.services.definitions.saving import may_write
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions import edits, transfer
from streamlit_app.views.definitions.words import ABOUT, KINDS
from streamlit_app.views.definitions.words import STATES as STATE_WORDS
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.platform.text import counted


def render(app: App, catalog: Catalog) -> None:
    """Search, filters, the table, and buttons to create, import and export definitions."""
    st.title("Definitions")
    rows = service.rows(catalog)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(_summary(rows))
        st.space("stretch")
        _new(app, catalog)
        transfer.import_button(app)
        transfer.export_button(catalog)
    _deleted_note()
    transfer.imported_note()
    _unsaved()
    for place, reason in catalog.unusable.items():
        st.warning(f"{plain(place)}: {plain(reason)}", icon=":material/warning:")
    if not rows:
        _empty(app)
        return
    _table(_filters(rows))


def _summary(rows: list[Row]) -> str:
    broken = sum(r.state == "broken" for r in rows)
    saved = sum(r.origin == "catalog" for r in rows)
    summary = f"{counted(len(rows), 'definition')}, {saved:,} saved here"
    return f"{summary}; {broken:,} broken." if broken else f"{summary}."


def _empty(app: App) -> None:
    with st.container(border=True):
        st.markdown("**No definitions yet.** Start with a concept: what you want to label.")
        if may_write(app, Kind.CONCEPT):
            st.button("New concept", on_click=edits.begin, args=("concept", ""), type="primary")


def _new(app: App, catalog: Catalog) -> None:
    if not may_write(app, Kind.RULE):
        return
    concepts = [d.ref.name for d in catalog.of_kind(Kind.CONCEPT, broken=True)]
    with st.popover("New", icon=":material/add:", type="primary"):
        kind = st.selectbox("Kind", CREATED, format_func=KINDS.__getitem__, index=2)
        st.caption(ABOUT[kind])
        concept = ""
        if kind.in_concept:
            chosen = state.one_of("concept", concepts)
            at = concepts.index(chosen) if chosen in concepts else 0
            concept = st.selectbox("Concept", concepts, index=at) or ""
        ready = bool(concept) or not kind.in_concept
        st.button("Create", on_click=edits.begin, args=(kind.value, concept), disabled=not ready)
        if not ready:
            st.caption("Create a concept first.")


def _unsaved() -> None:
    """The unsaved edits of this session."""
    dirty = {name: edit for name, edit in edits.all_edits().items() if edit.dirty}
    if not dirty:
        return
    with st.container(border=True):
        st.markdown(":material/edit: **Unsaved edits** (kept while this browser tab is open)")
        for name in dirty:
            with st.container(horizontal=True, vertical_alignment="center"):
                label = name if not name.startswith("new ") else _new_label(name)
                st.button(plain(label), key=f"go {name}", on_click=edits.go, args=(name,))
                st.button(
                    "Discard",
                    key=f"forget {name}",
                    on_click=edits.forget,
                    args=(name,),
                    type="tertiary",
                    help=f"Discard unsaved edits of {plain(label)}",
                )


def _new_label(name: str) -> str:
    _, kind, *rest = name.split(" ")
    known = KINDS[Kind(kind)].lower() if kind in set(Kind) else kind
    typed = edits.all_edits()[name].name
    where = f" in {rest[0]}" if rest else ""
    return f"{typed or f'a new {known}'}{where}" + (f" ({known})" if typed else "")


def _deleted_note() -> None:
    message = st.session_state.pop("definitions.deleted", None)
    if message:
        st.success(plain(message), icon=":material/check_circle:")


# --- the table -----------------------------------------------------------------------------------
def _filters(rows: list[Row]) -> list[Row]:
    concepts = list(dict.fromkeys(r.concept for r in rows if r.concept))
    kinds = [k for k in CREATED if any(r.ref.kind == k for r in rows)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = _kept_text("Search", "q", "Name, description, owner")
        in_concepts = _kept("Concept", "concept", concepts)
        of_kinds = _kept("Kind", "kind", [k.value for k in kinds])
        in_states = _kept("State", "state", list(STATES))
    return service.filtered(rows, text, in_concepts, [Kind(k) for k in of_kinds], in_states)


def _kept_text(label: str, name: str, placeholder: str) -> str:
    key = f"definitions.{name}"
    if key not in st.session_state:
        st.session_state[key] = state.get(name)
    text = st.text_input(
        label, key=key, placeholder=placeholder, icon=":material/search:", width=300
    )
    state.put(**{name: text})
    return text


def _kept(label: str, name: str, options: list[str]) -> list[str]:
    """A filter that is kept in the page's address."""
    key = f"definitions.{name}"
    if key not in st.session_state:
        st.session_state[key] = [o for o in state.get(name).split(",") if o in options]
    st.session_state[key] = [o for o in st.session_state[key] if o in options]
    chosen = st.multiselect(
        label, options, key=key, format_func=_option, placeholder="All", width=210
    )
    state.put(**{name: ",".join(chosen)})
    return chosen


def _option(value: str) -> str:
    return KINDS[Kind(value)] if value in set(Kind) else value


def _table(rows: list[Row]) -> None:
    if not rows:
        st.info("No definition matches. Remove a filter.", icon=":material/search_off:")
        return
    names = [str(r.ref) for r in rows]
    _open_by_name(names)
    table = pd.DataFrame(
        {
            "Name": names,
            "Kind": [KINDS[r.ref.kind] for r in rows],
            "State": [STATE_WORDS[r.state][2] for r in rows],
            "Description": [r.description for r in rows],
            "Used by": [r.users for r in rows],
            "Version": [str(r.version) if r.origin == "catalog" else "files" for r in rows],
            "Changed (UTC)": [_changed(r) for r in rows],
            "Owner": [r.owner for r in rows],
        }
    )
    chosen = st.dataframe(
        table.style.apply(_marked, axis=1),
        key="definitions.table",
        hide_index=True,
        height=min(36 * len(rows) + 40, 720),
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "Name": st.column_config.TextColumn(width=190),
            "Kind": st.column_config.TextColumn(width=125),
            "State": st.column_config.TextColumn(width=85),
            "Description": st.column_config.TextColumn(width=300),
            "Used by": st.column_config.NumberColumn(width=60),
            "Version": st.column_config.TextColumn(width=60),
        },
    )
    st.caption("Select a row, or a name above, to open a definition.")
    if chosen["selection"]["rows"]:
        edits.go(names[chosen["selection"]["rows"][0]])
        st.rerun()


def _changed(row: Row) -> str:
    return f"{row.updated_at:%Y-%m-%d %H:%M} {row.updated_by}" if row.updated_at else ""


def _marked(row: object) -> list[str]:
    """Broken definitions in bold, retired ones in italics, as the column State says."""
    style = {"broken": "font-weight: bold", "retired": "font-style: italic"}
    return [style.get(row["State"], "")] * len(row)  # type: ignore[index, arg-type]


def _open_by_name(names: list[str]) -> None:
    """Open a definition by keyboard: type part of its name."""

    def opened() -> None:
        if st.session_state["definitions.open"]:
            edits.go(st.session_state["definitions.open"])

    st.selectbox(
        "Open",
        names,
        index=None,
        key="definitions.open",
        placeholder=f"Type a name ({len(names):,} shown below)",
        on_change=opened,
        label_visibility="collapsed",
    )
