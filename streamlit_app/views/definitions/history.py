"""The versions of a definition."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import opened as service
from streamlit_app.services.definitions.opened import Opened, Past
from streamlit_app.services.definitions.saving import may_write, restore
from streamlit_app.services.definitions.text import diff, text_of
from streamlit_app.ui.messages import show_errors
from streamlit_app.views.definitions import edits
from streamlit_app.views.definitions.saving import SAVING
from streamlit_app.views.definitions.words import ACTIONS


def render(app: App, found: Opened) -> None:
    """Who changed what and when, with a button to restore a version."""
    past = service.history(app, found.ref)
    if not past:
        st.info(
            "This definition comes with the project's files; its history is in git. Once you save "
            "it here, its versions are listed here too.",
            icon=":material/history:",
        )
        return
    st.dataframe([_row(p) for p in past], hide_index=True)
    by_number = {p.version.version: p for p in past}
    number = st.selectbox(
        "Version",
        list(by_number),
        format_func=lambda n: _label(by_number[n]),
        key=f"version of {found.ref}",
    )
    chosen = by_number[number]
    current = st.toggle("Compare with current version", disabled=found.definition is None)
    _diff(found, chosen, against_current=current)
    _restore(app, found, chosen)


def _row(past: Past) -> dict[str, object]:
    v = past.version
    return {
        "Version": v.version,
        "Time (UTC)": f"{v.changed_at:%Y-%m-%d %H:%M:%S}",
        "By": v.changed_by,
        "Action": ACTIONS.get(v.action, v.action),
        "Changed fields": ", ".join(past.changed),
    }


def _label(past: Past) -> str:
    v = past.version
    return f"{v.version} · {ACTIONS.get(v.action, v.action)} by {v.changed_by}"


def _diff(found: Opened, chosen: Past, *, against_current: bool) -> None:
    text = text_of(chosen.version)
    if against_current and found.definition is not None:
        current = text_of(found.definition)
        shown = diff(text, current, f"version {chosen.version.version}", "current version")
    else:
        shown = chosen.diff
    if shown:
        st.code(shown, language="diff", wrap_lines=True)
    else:
        st.caption("No differences in content.")
    with st.expander("Full text of this version"):
        st.code(text, language=None, wrap_lines=True)


def _restore(app: App, found: Opened, chosen: Past) -> None:
    if not may_write(app, found.ref.kind) or chosen.version.action == "delete":
        return
    number = chosen.version.version
    expected = found.definition.version if found.definition is not None else 0
    if number == expected:
        st.caption("This is the current version.")
        return
    if st.button(f"Restore version {number}", icon=":material/restore:"):
        with show_errors(), st.spinner(SAVING):
            reloaded = restore(app, found.ref, number, expected)
            edits.forget(str(found.ref))
            edits.note(str(found.ref)).update(
                saved=f"Version {number} restored.", reloaded=reloaded
            )
            st.rerun()
    st.caption("Saves its content as a new version. No version is lost.")
