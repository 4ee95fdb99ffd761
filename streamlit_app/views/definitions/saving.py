"""Saving from the page: what stands against it goes to its line, a conflict to its panel."""

from __future__ import annotations

from copy import deepcopy

import streamlit as st

from streamlit_app.services import definition_preview as previews
from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from streamlit_app.ui import state
from streamlit_app.views.definitions import works
from tippers_dagster.catalog.model import Definition
from tippers_dagster.errors import BadInput


def save(app: App, work: Work, *, over: Definition | None = None, deleted: bool = False) -> None:
    """Save what the form says, and show what becomes of it."""
    before = address(work)
    was = work.expected
    try:
        with st.spinner("Checking, saving, and having Dagster load it"):
            saved = (
                service.save_deleted(app, work) if deleted else service.save(app, work, over=over)
            )
    except BadInput as error:
        remember(work, (previews.fault_of(error, work),))
        st.rerun()
    if saved is None:
        st.rerun()
    after = str(saved.definition.ref)
    all_works = works.all_works()
    all_works.pop(before, None)
    all_works[after] = work
    works.note(before).clear()
    note = works.note(after)
    note.clear()
    version = saved.definition.version
    same = version == was and not over
    note["saved"] = "Nothing changed." if same else f"Saved as version {version}."
    note["reloaded"] = None if same else saved.reloaded
    state.put(open=after, new=None, concept=None, parent=None)
    st.rerun()


def address(work: Work) -> str:
    """What a work is kept under."""
    for name, kept in works.all_works().items():
        if kept is work:
            return name
    return str(work.ref)


def remember(work: Work, faults: tuple[previews.Fault, ...]) -> None:
    """Keep what stands against a text, for as long as the text stays as it is."""
    note = works.note(address(work))
    note["faults"] = faults
    note["faults of"] = deepcopy((work.name, work.concept, work.fields))


def remembered(work: Work) -> tuple[previews.Fault, ...]:
    """What stands against the text as it is now, by the last look at it."""
    note = works.note(address(work))
    if note.get("faults of") != (work.name, work.concept, work.fields):
        return ()
    return note["faults"]
