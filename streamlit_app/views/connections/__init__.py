"""Connections: other databases whose tables are synced into the warehouse."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from streamlit_app.services.connections import DIALECTS, ConnectionInfo
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.connections import choosing, form, tables
from streamlit_app.views.connections.notes import go_to, note, show_note
from tippers_dagster.access.model import Role
from tippers_dagster.platform.text import counted


def render(app: App) -> None:
    """The page: all connections, or the one that the address names."""
    st.title("Connections")
    listing = service.listing(app)
    by_name = {c.name: c for c in listing.connections}
    admin = app.person.may(Role.ADMIN)
    show_note()
    if state.get("new") and admin:
        _back()
        form.show_new(app)
        return
    opened = by_name.get(state.get("open"))
    if opened is not None:
        _connection(app, opened, admin=admin)
        return
    st.caption(
        "Tables of other databases are copied into the warehouse, where SQL can read them. Nothing "
        "is written to the other databases."
    )
    if admin:
        st.button("Add a connection", on_click=go_to, args=("", True), icon=":material/add:")
    else:
        st.caption(":material/lock: Adding or changing connections needs the administrator role.")
    for name, why in listing.unreadable.items():
        st.error(f"**{plain(name)}** cannot be used: {plain(why)}", icon=":material/error:")
    if not by_name:
        _empty()
    for connection in listing.connections:
        _card(connection)


def _empty() -> None:
    with st.container(border=True):
        st.markdown("**There are no connections yet.**")
        st.caption(
            "Add one to use, for example, the registrar's rooms or a staff table in rules. In SQL, "
            "its tables are called `connection_<name>.<table>`."
        )


def _back() -> None:
    st.button(
        "All connections",
        on_click=go_to,
        icon=":material/arrow_back:",
        type="tertiary",
        key="back",
    )


def _card(connection: ConnectionInfo) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(connection.name)}**")
            st.badge(DIALECTS[connection.body.dialect], color="blue")
            st.caption(plain(connection.place))
            st.space("stretch")
            st.button(
                "Open", key=f"open {connection.name}", on_click=go_to, args=(connection.name,)
            )
        if connection.description:
            st.caption(plain(connection.description))
        st.caption(_summary(connection))


def _summary(connection: ConnectionInfo) -> str:
    if not connection.tables:
        return "No tables are synced yet. Open the connection to choose some."
    failed = [t.choice.name for t in connection.tables if t.error]
    never = sum(t.synced_at is None for t in connection.tables)
    syncs = [t.synced_at for t in connection.tables if t.synced_at is not None]
    rows = sum(t.rows or 0 for t in connection.tables)
    parts = [f"{counted(len(connection.tables), 'table')}, {counted(rows, 'row')}"]
    if syncs:
        parts.append(f"last sync {max(syncs):%Y-%m-%d %H:%M} UTC")
    if never:
        parts.append(f"{never:,} never synced")
    if failed:
        parts.append(f":material/error: failed: {plain(', '.join(failed))}")
    return f"{'; '.join(parts)}."


def _connection(app: App, connection: ConnectionInfo, *, admin: bool) -> None:
    _back()
    st.header(plain(connection.name))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(DIALECTS[connection.body.dialect], color="blue")
        st.caption(_facts(connection), width="stretch")
        if app.person.may(Role.ANALYST) and st.button("Test", icon=":material/cable:", key="test"):
            _test(app, connection)
    if connection.is_source:
        st.info(
            "Its address is the setting `TIPPERS_SOURCE_URL`. Here you choose which of its tables "
            "are synced, how, and how often.",
            icon=":material/info:",
        )
    tables.show(app, connection, admin=admin)
    if admin:
        choosing.show(app, connection)
        with st.expander("Edit the connection"):
            form.show_edit(app, connection)
        if not connection.is_source:
            with st.expander("Delete the connection"):
                form.show_delete(app, connection)


def _facts(connection: ConnectionInfo) -> str:
    password = "password stored" if connection.has_password else "no password"
    origin = "from the settings" if connection.is_source else password
    interval = f"synced every {connection.body.sync_seconds:,} s"
    return f"{plain(connection.place)} · {origin} · {interval}"


def _test(app: App, connection: ConnectionInfo) -> None:
    with show_errors(), st.spinner("Testing the connection"):
        tested = service.test(app, connection.name)
        note(tested.sentence, success=tested.works)
        st.rerun()
