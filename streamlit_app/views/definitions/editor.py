"""The editor of one definition."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_preview as previews
from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from streamlit_app.services.definitions import Opened
from streamlit_app.ui import pages, state
from streamlit_app.ui.messages import plain, told
from streamlit_app.views.definitions import (
    conflict,
    following,
    functions,
    history,
    kinds,
    removing,
    works,
)
from streamlit_app.views.definitions import previews as shown
from streamlit_app.views.definitions.binding import Form
from streamlit_app.views.definitions.saving import address, remember, remembered, save
from streamlit_app.views.definitions.words import ABOUT, ICONS, KINDS, STATES, names
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.dagster.addresses import asset_link

SECTIONS = ("Definition", "History", "Around it")
_NO_ASSET = (Kind.CONCEPT, *service.ELSEWHERE)
_SQL = (Kind.INDEX, Kind.RULE, Kind.FEATURE)


# --- one that is there ---------------------------------------------------------------------------
def render_opened(app: App, catalog: Catalog, written: str) -> None:
    """The definition that the address names."""
    _back()
    try:
        ref = service.open_ref(app, catalog, written)
    except BadInput:
        st.title(plain(written))
        raise
    found = service.opened(catalog, ref)
    works.take(str(ref))
    _head(app, found)
    if ref.kind in service.ELSEWHERE:
        _elsewhere(ref)
        return
    panel = st.container()
    _notices(app, found)
    section = _section()
    if section == "History" or found.definition is None:
        history.render(app, found)
    elif section == "Around it":
        _around(app, found)
    else:
        _edit(app, catalog, found)
    with panel:
        following.render(app, ref)


def _elsewhere(ref: Ref) -> None:
    if ref.kind == Kind.CONNECTION:
        path, title = "connections", "Connections"
    else:
        path, title = "tracking", "Datasets and tracking"
    st.info(f"It is looked at and changed on the page {title}.", icon=":material/info:")
    if st.button(f"Open {title}", key="elsewhere"):
        pages.go(path, open=ref.name)


def _back() -> None:
    st.button(
        "All definitions",
        on_click=works.go,
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
        work = works.all_works().get(str(found.ref))
        if work is not None and work.dirty:
            st.badge("Unsaved edits", icon=":material/edit:", color="orange")
        if found.definition is not None:
            st.space("stretch")
            if found.ref.kind not in _NO_ASSET:
                st.link_button(
                    "Dagster",
                    asset_link(app.settings, found.ref.asset_name),
                    icon=":material/open_in_new:",
                    type="tertiary",
                    help="The asset that is computed from it",
                )
            if service.may_write(app, found.ref.kind):
                removing.menu(app, found)


def _version(found: Opened) -> str:
    d = found.definition
    assert d is not None
    if found.from_files or d.updated_at is None:
        return "from the project's files"
    return f"version {d.version} · {d.updated_at:%Y-%m-%d %H:%M} UTC by {plain(d.updated_by)}"


def _notices(app: App, found: Opened) -> None:
    if found.problem:
        st.error(plain(found.problem), icon=":material/error:")
    if found.state == "deleted":
        st.warning("It was deleted. A version can be restored.", icon=":material/delete:")
    elif found.from_files and service.may_write(app, found.ref.kind):
        st.info(
            "It comes with the project's files. Saving makes your own version, which takes its "
            "place; deleting that brings this one back.",
            icon=":material/folder:",
        )
    elif found.shadows:
        st.info(
            "It takes the place of the one in the project's files; deleting it brings that one "
            "back.",
            icon=":material/folder:",
        )
    if not service.may_write(app, found.ref.kind) and found.definition is not None:
        st.caption(":material/lock: You may look at definitions. Changing them takes an analyst.")


def _section() -> str:
    key = works.SECTION
    chosen = state.one_of("section", SECTIONS, SECTIONS[0])
    if key not in st.session_state:
        st.session_state[key] = chosen
    picked = st.segmented_control(
        "Section", SECTIONS, key=key, label_visibility="collapsed", required=True
    )
    state.put(section=None if picked == SECTIONS[0] else picked)
    return picked or SECTIONS[0]


# --- a new one -----------------------------------------------------------------------------------
def render_new(app: App, catalog: Catalog) -> None:
    """The form of a definition that is not there yet."""
    _back()
    kind = state.one_of("new", forms.CREATED)
    if kind is None:
        raise BadInput(f"There is no kind {state.get('new')!r}.", f"{', '.join(forms.CREATED)}")
    concept, parent = state.get("concept"), state.get("parent")
    name = works.new_name(kind.value, concept, parent)
    kept = works.all_works()
    if name not in kept:
        service.require_write(app, [kind])
        kept[name] = forms.begin_new(kind, concept, catalog, parent, by=app.person.name)
    works.take(name)
    work = kept[name]
    st.title(f"New {KINDS[kind].lower()}")
    st.caption(ABOUT[kind])
    _form(app, catalog, work, name, locked=not service.may_write(app, kind))


def _naming(catalog: Catalog, form: Form) -> None:
    work = form.work
    with st.container(horizontal=True):
        if work.kind.in_concept:
            concepts = [d.ref.name for d in catalog.of_kind(Kind.CONCEPT, broken=True)]
            form.choice("Concept", concepts, work.__dict__, "concept", width=240)
        form.text(
            "Name",
            work.__dict__,
            "name",
            placeholder="lower_case_words",
            help="Lower-case words joined by underscores; unique in its concept.",
            width=360,
        )


# --- the form ------------------------------------------------------------------------------------
def _edit(app: App, catalog: Catalog, found: Opened) -> None:
    assert found.definition is not None
    name = str(found.ref)
    kept = works.all_works()
    work = kept.get(name)
    if work is None or (not work.dirty and work.expected != found.definition.version):
        work = kept[name] = forms.begin(found.definition)
    work.status = found.definition.status
    _form(app, catalog, work, name, locked=not service.may_write(app, found.ref.kind))


def _form(app: App, catalog: Catalog, work: Work, name: str, *, locked: bool) -> None:
    conflict.render(app, catalog, work)
    form = works.note(name)["form"] = Form(work, name, locked=locked)
    faults = remembered(work)
    if work.is_new:
        _naming(catalog, form)
    with st.container(horizontal=True):
        form.text("Description", work.__dict__, "description", width="stretch")
        form.text("Owner", work.__dict__, "owner", width=160)
    _fields_of_kind(app, catalog, form, faults)
    faults = remembered(work)  # what was typed now may have mended it
    for fault in faults:
        if not fault.field:
            st.error(plain(f"{fault.message} {fault.hint}".strip()), icon=":material/error:")
    if not locked:
        _actions(app, catalog, work)
    _results(app, catalog, work)


def _fields_of_kind(
    app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]
) -> None:
    work = form.work
    if "yaml" in work.fields:
        kinds.as_text(app, catalog, form, faults)
    elif work.kind == Kind.LABELLING_FUNCTION:
        functions.labelling_function(app, catalog, form, faults)
    else:
        kinds.FORMS[work.kind](app, catalog, form, faults)


def _actions(app: App, catalog: Catalog, work: Work) -> None:
    note = works.note(address(work))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Save", type="primary", icon=":material/save:", disabled=not work.dirty, key="save"
        ):
            save(app, work)
        if st.button("Validate", icon=":material/rule:", key="validate"):
            with st.spinner("Checking"):
                note["checked"] = previews.check(app, catalog, work)
            note["checked of"] = forms.text_of(work)
            remember(work, note["checked"].faults)
            st.rerun()
        if work.kind in _SQL and st.button("Preview", icon=":material/table_view:", key="preview"):
            _preview(app, catalog, work)
        if work.dirty:
            label = "Discard" if work.is_new else "Discard edits"
            if st.button(label, type="tertiary", key="discard"):
                works.forget(address(work))
                works.go("" if work.is_new else str(work.ref))
                st.rerun()


def _preview(app: App, catalog: Catalog, work: Work) -> None:
    note = works.note(address(work))
    try:
        with st.spinner("Trying it on the database"):
            note["rows"] = previews.preview_rows(app, catalog, work)
    except BadInput as error:
        note.pop("rows", None)
        remember(work, (previews.fault_of(error, work),))
    else:
        remember(work, ())
        note["rows of"] = forms.text_of(work)
    st.rerun()


def _results(app: App, catalog: Catalog, work: Work) -> None:
    note = works.note(address(work))
    text = forms.text_of(work)
    if note.get("checked of") == text and note["checked"].fine:
        stale = note["checked"].makes_stale
        told_ = f" {len(stale):,} that stand on it are computed anew: {names(list(stale), 6)}."
        st.success(
            "It can be saved." + (plain(told_) if stale else ""), icon=":material/check_circle:"
        )
    if work.kind in shown.LIVE and "yaml" not in work.fields:
        shown.live(app, catalog, work)
    if "rows" in note:
        if note["rows of"] != text:
            st.caption(":material/history: The preview is of the text as it was before.")
        with told():
            shown.rows(note["rows"])


# --- around it -----------------------------------------------------------------------------------
def _around(app: App, found: Opened) -> None:
    _names("It reads", found.reads, "No other definition.")
    _names("Used by", found.users, "Nobody uses it.")
    if found.git is not None and found.definition is not None and found.shadows:
        st.markdown("**Against the one of the project's files**")
        text = service.diff(
            forms.text_of(found.git), forms.text_of(found.definition), "files", "saved"
        )
        st.code(text or "They say the same.", language="diff", wrap_lines=True)
    st.markdown("**As text**")
    if found.definition is not None:
        st.code(forms.text_of(found.definition), language=None, wrap_lines=True)


def _names(title: str, refs: tuple[object, ...], none: str) -> None:
    st.markdown(f"**{title}**")
    if not refs:
        st.caption(none)
        return
    with st.container(horizontal=True, gap="small"):
        for ref in refs:
            st.button(plain(str(ref)), key=f"{title} {ref}", on_click=works.go, args=(str(ref),))
