"""The versions of a definition."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from streamlit_app.services.definitions import Opened, Past
from streamlit_app.ui.messages import told
from streamlit_app.views.definitions import works
from streamlit_app.views.definitions.words import ACTIONS


def render(app: App, found: Opened) -> None:
    """Who changed what, when; and taking a version back."""
    past = service.history(app, found.ref)
    if not past:
        st.info(
            "It comes with the project's files, and its history is in git. Saving it here begins "
            "a history of its own.",
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
    current = st.toggle("Against what is there now", disabled=found.definition is None)
    _diff(found, chosen, against_current=current)
    _restore(app, found, chosen)


def _row(past: Past) -> dict[str, object]:
    v = past.version
    return {
        "Version": v.version,
        "When (UTC)": f"{v.changed_at:%Y-%m-%d %H:%M:%S}",
        "Who": v.changed_by,
        "What": ACTIONS.get(v.action, v.action),
        "Fields": ", ".join(past.changed),
    }


def _label(past: Past) -> str:
    v = past.version
    return f"{v.version} · {ACTIONS.get(v.action, v.action)} by {v.changed_by}"


def _diff(found: Opened, chosen: Past, *, against_current: bool) -> None:
    text = forms.text_of(chosen.version)
    if against_current and found.definition is not None:
        now = forms.text_of(found.definition)
        shown = service.diff(text, now, f"version {chosen.version.version}", "now")
    else:
        shown = chosen.diff
    if shown:
        st.code(shown, language="diff", wrap_lines=True)
    else:
        st.caption("Nothing differs in what it says.")
    with st.expander("The whole version"):
        st.code(text, language=None, wrap_lines=True)


def _restore(app: App, found: Opened, chosen: Past) -> None:
    if not service.may_write(app, found.ref.kind) or chosen.version.action == "delete":
        return
    number = chosen.version.version
    expected = found.definition.version if found.definition is not None else 0
    if number == expected:
        st.caption("This is what is there now.")
        return
    if st.button(f"Restore version {number}", icon=":material/restore:"):
        with told(), st.spinner("Saving, and having Dagster load it"):
            done = service.restore(app, found.ref, number, expected)
            works.forget(str(found.ref))
            works.note(str(found.ref))["saved"] = f"It is as in version {number} again."
            works.note(str(found.ref))["reloaded"] = done
            st.rerun()
    st.caption("It is saved again as the newest version; nothing of the history goes.")
