"""Copy, rename, retire, activate and delete."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import saving as service
from streamlit_app.services.definitions.edit import begin_copy
from streamlit_app.services.definitions.files import exported
from streamlit_app.services.definitions.listing import load
from streamlit_app.services.definitions.opened import Opened, removal, unreadable
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.definitions import edits
from streamlit_app.views.definitions.saving import SAVING
from streamlit_app.views.definitions.words import names
from tippers_dagster.catalog.model import Definition


def menu(app: App, found: Opened) -> None:
    """What can be done with a definition besides editing it."""
    definition = found.definition
    assert definition is not None
    with st.popover("More", icon=":material/more_horiz:"):
        if not unreadable(definition):
            _copy(definition)
            st.download_button(
                "Download",
                data=lambda: exported([definition]),
                file_name=f"{found.ref}.zip",
                mime="application/zip",
                icon=":material/download:",
                on_click="ignore",
            )
        _rename(app, found)
        _retire_or_delete(app, found, definition)


def _copy(definition: Definition) -> None:
    ref = definition.ref

    def copied() -> None:
        name = edits.new_name(ref.kind.value, ref.concept, f"copy_of_{ref.name}")
        edits.all_edits()[name] = begin_copy(definition, f"{ref.name}_copy")
        edits.go(name)

    st.button("Copy", on_click=copied, icon=":material/content_copy:", key="copy")


def _rename(app: App, found: Opened) -> None:
    if found.from_files or found.overrides_files:
        return
    if found.users:
        st.caption("It cannot be renamed while other definitions use it.")
        return
    name = st.text_input("New name", key=f"rename {found.ref}", placeholder=found.ref.name)
    if st.button("Rename", key="rename", disabled=not name.strip()):
        with show_errors(), st.spinner(SAVING):
            ref, reloaded = service.rename(app, found.ref, name)
            edits.forget(str(found.ref))
            edits.note(str(ref)).update(saved=f"Renamed from {found.ref}.", reloaded=reloaded)
            edits.go(str(ref))
            st.rerun()


def _retire_or_delete(app: App, found: Opened, definition: Definition) -> None:
    ref, version = found.ref, definition.version
    if definition.status == "retired":
        _button("Activate", lambda: _done(found, "Activated.", service.activate(app, ref, version)))
    elif not unreadable(definition):
        _used(found, "Retiring keeps its name and history. While it is retired, these are broken:")
        _button("Retire", lambda: _done(found, "Retired.", service.retire(app, ref, version)))
    what = removal(load(app), ref)
    if what == "files":
        st.caption("It comes with the project's files, so it can be retired but not deleted.")
    elif what == "used":
        st.caption(
            f"It cannot be deleted because these use it: {plain(names(list(found.users)))}. "
            "Retire it, or change them first."
        )
    else:
        sure = st.checkbox("I want to delete it", key=f"sure {ref}")
        _button("Delete", lambda: _deleted(app, found, version), disabled=not sure)


def _used(found: Opened, why: str) -> None:
    if found.users:
        st.caption(f"{why} {plain(names(list(found.users)))}.")


def _button(label: str, act: Callable[[], None], *, disabled: bool = False) -> None:
    if st.button(label, key=label.lower(), disabled=disabled):
        with show_errors(), st.spinner(SAVING):
            act()


def _done(found: Opened, message: str, reloaded: object) -> None:
    edits.forget(str(found.ref))
    edits.note(str(found.ref)).update(saved=message, reloaded=reloaded)
    st.rerun()


def _deleted(app: App, found: Opened, version: int) -> None:
    reloaded = service.delete(app, found.ref, version)
    if found.git is not None and found.git.ref == found.ref:
        _done(found, "Deleted. The one in the project's files is back.", reloaded)
    edits.forget(str(found.ref))
    st.session_state["definitions.deleted"] = (
        f"{found.ref} deleted. Its history is kept: to restore a version, open this page with "
        f"?open={found.ref} in the address."
    )
    edits.go()
    st.rerun()
