"""Saving from the page. A fault is shown at its line, a conflict in its panel."""

from __future__ import annotations

from copy import deepcopy

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import saving as service
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.validation import Fault, fault_of
from streamlit_app.ui import state
from streamlit_app.views.definitions import edits
from tippers_dagster.catalog.model import Definition
from tippers_dagster.errors import BadInput

SAVING = "Saving and reloading Dagster"
"""Shown while a change is saved."""


def save(app: App, edit: Edit, *, over: Definition | None = None, deleted: bool = False) -> None:
    """Save the form, and show the progress of its asset."""
    before = address(edit)
    version_before = edit.expected
    try:
        with st.spinner("Checking, saving and reloading Dagster"):
            saved = (
                service.save_deleted(app, edit) if deleted else service.save(app, edit, over=over)
            )
    except BadInput as error:
        remember(edit, (fault_of(error, edit),))
        st.rerun()
    if saved is None:
        st.rerun()
    after = str(saved.definition.ref)
    all_edits = edits.all_edits()
    all_edits.pop(before, None)
    all_edits[after] = edit
    edits.note(before).clear()
    note = edits.note(after)
    note.clear()
    version = saved.definition.version
    unchanged = version == version_before and not over
    note["saved"] = "Nothing changed." if unchanged else f"Saved as version {version}."
    note["reloaded"] = None if unchanged else saved.reloaded
    state.put(open=after, new=None, concept=None, parent=None)
    st.rerun()


def address(edit: Edit) -> str:
    """The name under which the session keeps an edit."""
    for name, kept in edits.all_edits().items():
        if kept is edit:
            return name
    return str(edit.ref)


def remember(edit: Edit, faults: tuple[Fault, ...]) -> None:
    """Keep the faults of the current content; they are dropped when it changes."""
    note = edits.note(address(edit))
    note["faults"] = faults
    note["faults of"] = deepcopy((edit.name, edit.concept, edit.fields))


def remembered(edit: Edit) -> tuple[Fault, ...]:
    """The faults of the current content, as of the last check."""
    note = edits.note(address(edit))
    if note.get("faults of") != (edit.name, edit.concept, edit.fields):
        return ()
    return note["faults"]
