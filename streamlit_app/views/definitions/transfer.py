"""Import and export of definitions as files."""

from __future__ import annotations

from functools import partial

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import files as service
from streamlit_app.services.definitions.files import Plan
from streamlit_app.services.definitions.listing import load
from streamlit_app.services.definitions.saving import may_write
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.definitions.saving import SAVING
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.platform.text import counted

_DONE = "definitions.imported"
_ROUND = "definitions.uploads"


def export_button(catalog: Catalog) -> None:
    """A zip of definitions."""
    with st.popover("Export", icon=":material/download:"):
        concepts = [d.ref.name for d in catalog.of_kind(Kind.CONCEPT, broken=True)]
        chosen = st.multiselect("Concepts", concepts, placeholder="All", key="export concepts")
        git = st.toggle("Include the project's files", key="export git")
        found = service.to_export(catalog, concepts=chosen, git=git)
        st.caption(
            f"{counted(len(found), 'definition')} as YAML, SQL and Python files, without "
            "passwords. Import them here, or unzip them for `tippers definitions import`."
        )
        st.download_button(
            "Download",
            data=partial(service.exported, found),
            file_name="definitions.zip",
            mime="application/zip",
            disabled=not found,
            on_click="ignore",
        )


def import_button(app: App) -> None:
    """A button that opens the import dialog."""
    if not may_write(app, Kind.RULE):
        return
    if st.button("Import", icon=":material/upload:"):
        _dialog(app)


@st.dialog("Import definitions", width="large")
def _dialog(app: App) -> None:
    with show_errors():
        importing(app)


def importing(app: App) -> None:
    """Upload files, see what they would change, and save them."""
    uploads = st.file_uploader(
        "A zip from an export, or YAML files with their SQL and Python files",
        type=["zip", "yml", "yaml", "sql", "py"],
        accept_multiple_files=True,
        max_upload_size=service.MAX_UPLOAD_BYTES >> 20,
        key=f"{_ROUND} {st.session_state.get(_ROUND, 0)}",
    )
    if not uploads:
        st.caption(
            "All or nothing: if any file cannot be used, nothing is imported. Definitions that are "
            "not in the files stay as they are."
        )
        return
    content = [(upload.name, upload.getvalue()) for upload in uploads]
    plan = service.plan(app, load(app), content)
    _show(plan)
    ready = bool(plan.changing) and not plan.problems
    label = f"Import {counted(len(plan.changing), 'definition')}" if ready else "Import"
    if st.button(label, type="primary", disabled=not ready):
        with st.spinner(SAVING):
            done = service.import_planned(app, plan)
        changed = sum(outcome != "unchanged" for outcome in done.outcomes.values())
        st.session_state[_DONE] = (
            f"{counted(changed, 'definition')} imported. {done.reloaded.message}"
        )
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
        st.rerun()


def _show(plan: Plan) -> None:
    for place, reason in plan.problems.items():
        st.error(f"**{plain(place)}**: {plain(reason)}", icon=":material/error:")
    unchanged = len(plan.planned) - len(plan.changing)
    st.markdown(
        f"{counted(len(plan.planned), 'definition')}: {_count(plan, 'created')} new, "
        f"{_count(plan, 'changed')} changed, {unchanged:,} unchanged."
    )
    for planned in plan.changing:
        with st.expander(f"{plain(str(planned.draft.ref))} ({planned.outcome})"):
            st.code(planned.diff or "No differences", language="diff")


def _count(plan: Plan, outcome: str) -> int:
    return sum(p.outcome == outcome for p in plan.planned)


def imported_note() -> None:
    """The result of the last import."""
    done = st.session_state.pop(_DONE, None)
    if done:
        st.success(plain(done), icon=":material/check_circle:")
