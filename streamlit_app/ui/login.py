"""The current person: from a login, from the proxy's header, or else this machine's user."""

from __future__ import annotations

import streamlit as st

from streamlit_app.ui.messages import show_error
from tippers_dagster.access.login import entrance, has_login, person_from_claims, person_from_header
from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.access.model import NotAllowed, Person, Role
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.dagster.addresses import LOOPBACK
from tippers_dagster.settings import Settings


def current_person(settings: Settings) -> Person | None:
    """The person of this session; None when the page shows a login button or denies access.

    Raises
    ------
    SettingsError
        Nothing identifies people, and the app can be reached from other machines.
    """
    method = entrance(settings)
    if method == "local":
        if st.get_option("server.address") not in LOOPBACK:
            raise SettingsError(
                "Without a login, the app is for this machine only, but it listens on other "
                "addresses.",
                "Start it with `tippers app`.",
            )
        return Person(machine_user() or "local", Role.ADMIN)
    if method == "login" and not st.user.get("is_logged_in", False):
        _log_in()
        return None
    try:
        if method == "proxy":
            return person_from_header(settings, _header_values(settings.streamlit_user_header))
        return person_from_claims(settings, st.user.to_dict())
    except NotAllowed as error:
        st.title("tippers")
        show_error(error)
        if method == "login":
            st.button("Log out", on_click=st.logout)
        return None


def log_out(settings: Settings) -> None:
    """A log-out button, if the app has a login."""
    if has_login(settings):
        st.button("Log out", on_click=st.logout, type="tertiary", icon=":material/logout:")


def _header_values(name: str) -> list[str]:
    """All values of a header of this session's connection, decoded from UTF-8."""
    values = st.context.headers.get_all(name)
    # Invalid UTF-8 becomes characters that cannot occur in an e-mail address.
    return [value.encode("latin-1").decode("utf-8", "surrogateescape") for value in values]


def _log_in() -> None:
    st.title("tippers")
    st.write("How full every space on campus is, and who is there.")
    st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
