"""Copy, rename, retire, activate and delete."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from streamlit_app.services import definition_files as files
from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from streamlit_app.services.definitions import Opened
from streamlit_app.ui.messages import plain, told
from streamlit_app.views.definitions import works
from streamlit_app.views.definitions.words import names
from tippers_dagster.catalog.model import Definition


def menu(app: App, found: Opened) -> None:
    """All that may be done with a definition besides changing its text."""
    definition = found.definition
    assert definition is not None
    with st.popover("More", icon=":material/more_horiz:"):
        if not service.unreadable(definition):
            _copy(definition)
            st.download_button(
                "Download",
                data=lambda: files.exported([definition]),
                file_name=f"{found.ref}.zip",
                mime="application/zip",
                icon=":material/download:",
                on_click="ignore",
            )
        _rename(app, found)
        _put_away(app, found, definition)


def _copy(definition: Definition) -> None:
    ref = definition.ref

    def copied() -> None:
        name = works.new_name(ref.kind.value, ref.concept, f"copy_of_{ref.name}")
        works.all_works()[name] = forms.begin_copy(definition, f"{ref.name}_copy")
        works.go(name)

    st.button("Copy", on_click=copied, icon=":material/content_copy:", key="copy")


def _rename(app: App, found: Opened) -> None:
    if found.from_files or found.shadows:
        return
    if found.users:
        st.caption("It keeps its name while others use it.")
        return
    name = st.text_input("New name", key=f"rename {found.ref}", placeholder=found.ref.name)
    if st.button("Rename", key="rename", disabled=not name.strip()):
        with told(), st.spinner("Renaming, and having Dagster load it"):
            ref, reloaded = service.rename(app, found.ref, name)
            works.forget(str(found.ref))
            works.note(str(ref)).update(saved=f"It was {found.ref}.", reloaded=reloaded)
            works.go(str(ref))
            st.rerun()


def _put_away(app: App, found: Opened, definition: Definition) -> None:
    ref, version = found.ref, definition.version
    if definition.status == "retired":
        _button("Activate", lambda: _done(found, "activated", service.activate(app, ref, version)))
    elif not service.unreadable(definition):
        _used(found, "Retiring it keeps its name and history; these cannot work meanwhile:")
        _button("Retire", lambda: _done(found, "retired", service.retire(app, ref, version)))
    what = service.removal(service.load(app), ref)
    if what == "files":
        st.caption("It comes with the project's files: it can be retired, not deleted.")
    elif what == "used":
        st.caption(
            f"It cannot be deleted, as these use it: {plain(names(list(found.users)))}. "
            "Retire it, or change those first."
        )
    else:
        sure = st.checkbox("I want to delete it", key=f"sure {ref}")
        _button("Delete", lambda: _deleted(app, found, version), disabled=not sure)


def _used(found: Opened, why: str) -> None:
    if found.users:
        st.caption(f"{why} {plain(names(list(found.users)))}.")


def _button(label: str, act: Callable[[], None], *, disabled: bool = False) -> None:
    if st.button(label, key=label.lower(), disabled=disabled):
        with told(), st.spinner("Saving, and having Dagster load it"):
            act()


def _done(found: Opened, word: str, reloaded: object) -> None:
    works.forget(str(found.ref))
    works.note(str(found.ref)).update(saved=f"It is {word}.", reloaded=reloaded)
    st.rerun()


def _deleted(app: App, found: Opened, version: int) -> None:
    reloaded = service.delete(app, found.ref, version)
    if found.git is not None and found.git.ref == found.ref:
        _done(found, "deleted, and that of the project's files is back", reloaded)
    works.forget(str(found.ref))
    st.session_state["definitions.told"] = (
        f"{found.ref} is deleted. Its history stays: open it by its address to restore a version."
    )
    works.go()
    st.rerun()
