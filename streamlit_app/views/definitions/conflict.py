"""Two people editing one definition: both sets of changes, side by side."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.opened import changed_by_others
from streamlit_app.services.definitions.saving import take_theirs
from streamlit_app.services.definitions.text import diff, text_of
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions.saving import save
from tippers_dagster.catalog.catalog import Catalog


def render(app: App, catalog: Catalog, edit: Edit) -> None:
    """What to do if somebody else saved first."""
    _set_aside(edit)
    if not edit.conflict:
        _warn(catalog, edit)
        return
    theirs = edit.theirs
    with st.container(border=True):
        if theirs is None:
            st.warning(
                "Somebody deleted this definition while you were editing it. Your changes are "
                "still here.",
                icon=":material/group:",
            )
        else:
            st.warning(
                f"**{plain(theirs.updated_by)}** saved version {theirs.version} on "
                f"{theirs.updated_at:%Y-%m-%d at %H:%M:%S} UTC while you were editing. Your "
                "changes are not saved, but still here.",
                icon=":material/group:",
            )
            _side_by_side(edit)
        _choices(app, edit)


def _warn(catalog: Catalog, edit: Edit) -> None:
    """Warn before saving."""
    if edit.is_new or not changed_by_others(catalog, edit):
        return
    current = catalog.saved(edit.ref)
    if current is None:
        message = "Somebody deleted the saved definition after you opened it."
    else:
        message = (
            f"{plain(current.updated_by)} saved version {current.version} after you opened this "
            "definition. If you save, you can compare both."
        )
    st.warning(message, icon=":material/group:")


def _side_by_side(edit: Edit) -> None:
    assert edit.theirs is not None
    base = text_of(edit.base) if edit.base is not None else ""
    mine, theirs = text_of(edit), text_of(edit.theirs)
    by = edit.theirs.updated_by
    left, right = st.columns(2)
    with left:
        st.markdown(f"**Changes by {plain(by)}**")
        _diff(base, theirs, "before", by)
    with right:
        st.markdown("**Your changes**")
        _diff(base, mine, "before", "you")
    with st.expander("Compare their version with yours"):
        _diff(theirs, mine, by, "you")


def _diff(before: str, after: str, old: str, new: str) -> None:
    text = diff(before, after, old, new) or "No differences"
    st.code(text, language="diff", wrap_lines=True)


def _choices(app: App, edit: Edit) -> None:
    over = edit.theirs
    with st.container(horizontal=True):
        if st.button("Save mine over it", type="primary", key="save mine"):
            save(app, edit, over=over, deleted=over is None)
        if st.button("Take theirs", key="take theirs", disabled=over is None):
            take_theirs(app, edit)
            st.rerun()
        if st.button("Continue editing", key="continue"):
            edit.conflict = False
            st.rerun()


def _set_aside(edit: Edit) -> None:
    """Texts of this session that were replaced by somebody else's, newest first."""
    total = len(edit.set_aside)
    for at, text in enumerate(reversed(edit.set_aside)):
        number = f" {total - at}" if total > 1 else ""
        with st.expander(f"Your replaced text{number}"):
            st.code(text, language=None, wrap_lines=True)
