"""Saving a mapping as a log source of files."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from streamlit_app.services import log_files as service
from streamlit_app.services.app import App
from streamlit_app.services.log_files import Fields
from streamlit_app.ui.notes import attempt, show_note
from tippers_dagster.catalog.model import Definition

_NOTE = "log.source"


def save(
    app: App, file_id: str, fields: Fields, defined: Mapping[str, Definition], chosen: str
) -> None:
    """Show a form that saves the mapping.

    Parameters
    ----------
    defined
        The log sources of files, by name.
    chosen
        The one that the file is read as; empty: none.
    """
    show_note(_NOTE)
    if not fields.get("device"):
        return
    with st.expander("Save as a log source", icon=":material/save:"):
        st.caption(
            "Then it can be chosen as the kind of other files, and by "
            "`tippers ingest log FILE --source NAME`. No values of this file are saved."
        )
        known = defined.get(chosen)
        name = st.text_input(
            "Name",
            value=chosen,
            key=f"log source {file_id} {chosen}",
            placeholder="wifi",
            help="Lower-case words joined by underscores.",
        ).strip()
        description = st.text_input(
            "Description",
            value="" if known is None else known.description,
            key=f"log source {file_id} {chosen} description",
            help="What these files are, and where they come from.",
        )
        replaced = defined.get(name)
        label = "Save" if replaced is None else f"Replace {name}"
        st.button(
            label,
            disabled=not name,
            key="log.source.save",
            on_click=attempt,
            args=(_NOTE, service.save_source, app, name, description, fields, replaced),
        )
