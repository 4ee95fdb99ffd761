"""Two people at one definition: what the other one changed, beside one's own."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions.saving import save
from tippers_dagster.catalog.catalog import Catalog


def render(app: App, catalog: Catalog, work: Work) -> None:
    """The choices, when somebody else saved meanwhile."""
    _aside(work)
    if not work.conflict:
        _warn(catalog, work)
        return
    theirs = work.theirs
    with st.container(border=True):
        if theirs is None:
            st.warning(
                "Somebody deleted this definition while you were at it. Nothing of yours is lost.",
                icon=":material/group:",
            )
        else:
            st.warning(
                f"**{plain(theirs.updated_by)}** saved version {theirs.version} on "
                f"{theirs.updated_at:%Y-%m-%d at %H:%M:%S} UTC, while you were at it. Nothing of "
                "yours was saved, and nothing is lost.",
                icon=":material/group:",
            )
            _side_by_side(work)
        _choices(app, work)


def _warn(catalog: Catalog, work: Work) -> None:
    """Tell before anybody saves."""
    if work.is_new or not service.changed_by_others(catalog, work):
        return
    now = catalog.saved(work.ref)
    if now is None:
        told = "Somebody deleted what was saved of this definition after you opened it."
    else:
        told = (
            f"{plain(now.updated_by)} saved version {now.version} of this after you opened it. "
            "Saving yours will show both."
        )
    st.warning(told, icon=":material/group:")


def _side_by_side(work: Work) -> None:
    assert work.theirs is not None
    base = forms.text_of(work.base) if work.base is not None else ""
    mine, theirs = forms.text_of(work), forms.text_of(work.theirs)
    by = work.theirs.updated_by
    left, right = st.columns(2)
    with left:
        st.markdown(f"**What {plain(by)} changed**")
        st.code(
            service.diff(base, theirs, "before", by) or "Nothing", language="diff", wrap_lines=True
        )
    with right:
        st.markdown("**What you changed**")
        st.code(
            service.diff(base, mine, "before", "you") or "Nothing", language="diff", wrap_lines=True
        )
    with st.expander("Theirs against yours"):
        st.code(
            service.diff(theirs, mine, by, "you") or "The same", language="diff", wrap_lines=True
        )


def _choices(app: App, work: Work) -> None:
    over = work.theirs
    with st.container(horizontal=True):
        if st.button("Save mine over it", type="primary", key="save mine"):
            save(app, work, over=over, deleted=over is None)
        if st.button("Take theirs", key="take theirs", disabled=over is None):
            service.take_theirs(app, work)
            st.rerun()
        if st.button("Go on editing", key="go on"):
            work.conflict = False
            st.rerun()


def _aside(work: Work) -> None:
    """One's own texts that were replaced by somebody else's."""
    for at, text in enumerate(reversed(work.aside)):
        with st.expander(f"What you had written before (put aside {len(work.aside) - at})"):
            st.code(text, language=None, wrap_lines=True)
