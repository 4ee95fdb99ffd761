"""Who is there: by OpenID Connect where it is configured, else the user of this machine."""

from __future__ import annotations

import streamlit as st

from streamlit_app.ui.messages import tell
from tippers_dagster.cli.datasets import user_name
from tippers_dagster.people.login import has_login, person_of
from tippers_dagster.people.model import NotAllowed, Person, Role
from tippers_dagster.settings import Settings


def current_person(settings: Settings) -> Person | None:
    """The person of this session; None: they were shown how to log in, or why they cannot."""
    if not has_login(settings):
        return Person(user_name() or "local", Role.ADMIN)
    if not st.user.get("is_logged_in", False):
        _sign_in()
        return None
    try:
        return person_of(settings, st.user.to_dict())
    except NotAllowed as error:
        st.title("tippers")
        tell(error)
        st.button("Log out", on_click=st.logout)
        return None


def log_out(settings: Settings) -> None:
    """A button for those who logged in."""
    if has_login(settings):
        st.button("Log out", on_click=st.logout, type="tertiary", icon=":material/logout:")


def _sign_in() -> None:
    st.title("tippers")
    st.write("How full every space of the campus is, and who is there.")
    st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
