"""The editor of one definition."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import CREATED, Edit, begin, begin_new
from streamlit_app.services.definitions.listing import OTHER_PAGES
from streamlit_app.services.definitions.opened import Opened, open_ref
from streamlit_app.services.definitions.opened import opened as opened_definition
from streamlit_app.services.definitions.preview_sql import preview_rows
from streamlit_app.services.definitions.saving import may_write, require_write
from streamlit_app.services.definitions.text import diff, text_of
from streamlit_app.services.definitions.validation import Fault, fault_of, validate
from streamlit_app.ui import pages, state
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.definitions import (
    conflict,
    edits,
    following,
    functions,
    history,
    kinds,
    previews,
    removing,
)
from streamlit_app.views.definitions.binding import Form
from streamlit_app.views.definitions.saving import address, remember, remembered, save
from streamlit_app.views.definitions.words import ABOUT, ICONS, KINDS, STATES, names
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.platform.text import counted

SECTIONS = ("Definition", "History", "Dependencies")
_NO_ASSET = (Kind.CONCEPT, *OTHER_PAGES)
_SQL = (Kind.INDEX, Kind.RULE, Kind.FEATURE)


# --- an existing definition ----------------------------------------------------------------------
def render_opened(app: App, catalog: Catalog, written: str) -> None:
    """The definition named in the page's address."""
    _back()
    try:
        ref = open_ref(app, catalog, written)
    except BadInput:
        st.title(plain(written))
        raise
    found = opened_definition(catalog, ref)
    edits.take_typed(str(ref))
    _head(app, found)
    if ref.kind in OTHER_PAGES:
        _link_to_its_page(ref)
        return
    panel = st.container()
    _notices(app, found)
    section = _section()
    if section == "History" or found.definition is None:
        history.render(app, found)
    elif section == "Dependencies":
        _dependencies(found)
    else:
        _edit_form(app, catalog, found)
    with panel:
        following.render(app, ref)


def _link_to_its_page(ref: Ref) -> None:
    if ref.kind == Kind.CONNECTION:
        path, title = "connections", "Connections"
    elif ref.kind == Kind.LOG_SOURCE:
        path, title = "load", "Load a log"
    else:
        path, title = "tracking", "Datasets and tracking"
    st.info(f"See the {title} page to view or change it.", icon=":material/info:")
    if st.button(f"Open {title}", key="other page"):
        pages.go(path, open=ref.name)


def _back() -> None:
    st.button(
        "All definitions",
        on_click=edits.go,
        icon=":material/arrow_back:",
        type="tertiary",
        key="back",
    )


def _head(app: App, found: Opened) -> None:
    icon, colour, word = STATES[found.state]
    st.title(plain(str(found.ref)))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(KINDS[found.ref.kind], icon=ICONS.get(found.ref.kind), color="blue")
        st.badge(word, icon=icon, color=colour)
        if found.definition is not None:
            st.caption(_version(found))
        edit = edits.all_edits().get(str(found.ref))
        if edit is not None and edit.dirty:
            st.badge("Unsaved edits", icon=":material/edit:", color="orange")
        if found.definition is not None:
            st.space("stretch")
            if found.ref.kind not in _NO_ASSET:
                st.link_button(
                    "Dagster",
                    asset_link(app.settings, found.ref.asset_name),
                    icon=":material/open_in_new:",
                    type="tertiary",
                    help="Open the asset that is computed from this definition",
                )
            if may_write(app, found.ref.kind):
                removing.menu(app, found)


def _version(found: Opened) -> str:
    d = found.definition
    assert d is not None
    if found.from_files or d.updated_at is None:
        return "from the project's files"
    return f"version {d.version} · {d.updated_at:%Y-%m-%d %H:%M} UTC by {plain(d.updated_by)}"


def _notices(app: App, found: Opened) -> None:
    may_edit = may_write(app, found.ref.kind)
    if found.problem:
        st.error(plain(found.problem), icon=":material/error:")
    if found.state == "deleted":
        st.warning(
            "This definition was deleted. You can restore a version.", icon=":material/delete:"
        )
    elif found.from_files and may_edit:
        st.info(
            "This definition comes with the project's files. If you save it here, your version "
            "overrides the file. Delete your version to go back to the file.",
            icon=":material/folder:",
        )
    elif found.overrides_files:
        st.info(
            "This version overrides the one in the project's files. Delete it to go back to the "
            "file.",
            icon=":material/folder:",
        )
    if not may_edit and found.definition is not None:
        st.caption(":material/lock: Read only: changing definitions needs the analyst role.")


def _section() -> str:
    key = edits.SECTION
    chosen = state.one_of("section", SECTIONS, SECTIONS[0])
    if key not in st.session_state:
        st.session_state[key] = chosen
    picked = st.segmented_control(
        "Section", SECTIONS, key=key, label_visibility="collapsed", required=True
    )
    state.put(section=None if picked == SECTIONS[0] else picked)
    return picked or SECTIONS[0]


# --- a new definition ----------------------------------------------------------------------------
def render_new(app: App, catalog: Catalog) -> None:
    """The form of a new definition."""
    _back()
    kind = state.one_of("new", CREATED)
    if kind is None:
        raise BadInput(f"There is no kind {state.get('new')!r}.", f"Kinds: {', '.join(CREATED)}")
    concept, parent = state.get("concept"), state.get("parent")
    name = edits.new_name(kind.value, concept, parent)
    kept = edits.all_edits()
    if name not in kept:
        require_write(app, [kind])
        kept[name] = begin_new(kind, concept, catalog, parent, by=app.person.name)
    edits.take_typed(name)
    edit = kept[name]
    st.title(f"New {KINDS[kind].lower()}")
    st.caption(ABOUT[kind])
    _form(app, catalog, edit, name, locked=not may_write(app, kind))


def _name_fields(catalog: Catalog, form: Form) -> None:
    edit = form.edit
    with st.container(horizontal=True):
        if edit.kind.in_concept:
            concepts = [d.ref.name for d in catalog.of_kind(Kind.CONCEPT, broken=True)]
            form.choice("Concept", concepts, edit.__dict__, "concept", width=240)
        form.text(
            "Name",
            edit.__dict__,
            "name",
            placeholder="lower_case_words",
            help="Lower-case words joined by underscores; unique within its concept",
            width=360,
        )


# --- the form ------------------------------------------------------------------------------------
def _edit_form(app: App, catalog: Catalog, found: Opened) -> None:
    assert found.definition is not None
    name = str(found.ref)
    kept = edits.all_edits()
    edit = kept.get(name)
    if edit is None or (not edit.dirty and edit.expected != found.definition.version):
        edit = kept[name] = begin(found.definition)
    edit.status = found.definition.status
    _form(app, catalog, edit, name, locked=not may_write(app, found.ref.kind))


def _form(app: App, catalog: Catalog, edit: Edit, name: str, *, locked: bool) -> None:
    conflict.render(app, catalog, edit)
    form = edits.note(name)["form"] = Form(edit, name, locked=locked)
    faults = remembered(edit)
    if edit.is_new:
        _name_fields(catalog, form)
    with st.container(horizontal=True):
        form.text("Description", edit.__dict__, "description", width="stretch")
        form.text("Owner", edit.__dict__, "owner", width=160)
    _fields_of_kind(app, catalog, form, faults)
    for fault in remembered(edit):  # again: what was typed in these fields may have fixed some
        if not fault.field:
            st.error(plain(f"{fault.message} {fault.hint}".strip()), icon=":material/error:")
    if not locked:
        _actions(app, catalog, edit)
    _results(app, catalog, edit)


def _fields_of_kind(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    edit = form.edit
    if "yaml" in edit.fields:
        kinds.as_text(app, catalog, form, faults)
    elif edit.kind == Kind.LABELLING_FUNCTION:
        functions.labelling_function(app, catalog, form, faults)
    else:
        kinds.FORMS[edit.kind](app, catalog, form, faults)


def _actions(app: App, catalog: Catalog, edit: Edit) -> None:
    note = edits.note(address(edit))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Save", type="primary", icon=":material/save:", disabled=not edit.dirty, key="save"
        ):
            save(app, edit)
        if st.button("Validate", icon=":material/rule:", key="validate"):
            with st.spinner("Checking"):
                note["checked"] = validate(app, catalog, edit)
            note["checked of"] = text_of(edit)
            remember(edit, note["checked"].faults)
            st.rerun()
        if edit.kind in _SQL and st.button("Preview", icon=":material/table_view:", key="preview"):
            _preview(app, catalog, edit)
        if edit.dirty:
            label = "Discard" if edit.is_new else "Discard edits"
            if st.button(label, type="tertiary", key="discard"):
                edits.forget(address(edit))
                edits.go("" if edit.is_new else str(edit.ref))
                st.rerun()


def _preview(app: App, catalog: Catalog, edit: Edit) -> None:
    note = edits.note(address(edit))
    try:
        with st.spinner("Running the query"):
            note["rows"] = preview_rows(app, catalog, edit)
    except BadInput as error:
        note.pop("rows", None)
        remember(edit, (fault_of(error, edit),))
    else:
        remember(edit, ())
        note["rows of"] = text_of(edit)
    st.rerun()


def _results(app: App, catalog: Catalog, edit: Edit) -> None:
    note = edits.note(address(edit))
    text = text_of(edit)
    if note.get("checked of") == text and note["checked"].passed:
        stale = note["checked"].makes_stale
        consequence = (
            f" {counted(len(stale), 'dependent')} will be recomputed: {names(list(stale), 6)}."
        )
        st.success(
            "Ready to save." + (plain(consequence) if stale else ""), icon=":material/check_circle:"
        )
    if edit.kind in previews.LIVE and "yaml" not in edit.fields:
        previews.live(app, catalog, edit)
    if "rows" in note:
        if note["rows of"] != text:
            st.caption(":material/history: This preview shows the query before your last changes.")
        with show_errors():
            previews.rows(note["rows"])


# --- dependencies --------------------------------------------------------------------------------
def _dependencies(found: Opened) -> None:
    _links("Depends on", found.reads, "No other definition.")
    _links("Used by", found.users, "No other definition.")
    if found.definition is None:
        return
    text = text_of(found.definition)
    if found.git is not None and found.overrides_files:
        st.markdown("**Compared with the project's files**")
        changes = diff(text_of(found.git), text, "files", "saved")
        st.code(changes or "No differences", language="diff", wrap_lines=True)
    st.markdown("**As text**")
    st.code(text, language=None, wrap_lines=True)


def _links(title: str, refs: tuple[object, ...], none: str) -> None:
    st.markdown(f"**{title}**")
    if not refs:
        st.caption(none)
        return
    with st.container(horizontal=True, gap="small"):
        for ref in refs:
            st.button(plain(str(ref)), key=f"{title} {ref}", on_click=edits.go, args=(str(ref),))
