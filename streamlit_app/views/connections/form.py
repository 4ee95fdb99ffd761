"""Adding, editing and deleting a connection."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from streamlit_app.services.connections import DIALECTS, ConnectionInfo
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.connections.notes import go_to, note
from tippers_dagster.connections.bodies import OPTIONS
from tippers_dagster.connections.faults import DEFAULT_PORTS
from tippers_dagster.errors import TippersError

Fields = dict[str, str | int | None]


def show_new(app: App) -> None:
    """The form for a new connection."""
    st.header("New connection")
    dialect = st.selectbox(
        "Kind of database", list(DIALECTS), format_func=DIALECTS.__getitem__, width=320
    )
    with st.form("new connection", border=False):
        name = st.text_input("Name", placeholder="registrar", width=320)
        fields, password = _fields(dialect, None)
        description = st.text_input("Description", placeholder="What it contains")
        add, test = _buttons("Add")
    if test:
        _try_out(app, name.strip(), fields, password)
    elif add:
        _add(app, name.strip(), fields, password, description)


def show_edit(app: App, connection: ConnectionInfo) -> None:
    """The form for a saved connection."""
    if connection.is_source:
        with st.form("source", border=False):
            seconds = _interval(connection.body.sync_seconds)
            if st.form_submit_button("Save", type="primary"):
                _save(app, connection, {"sync_seconds": int(seconds)}, None)
        return
    with st.form(f"edit {connection.name} {connection.version}", border=False):
        fields, password = _fields(connection.body.dialect, connection)
        save, test = _buttons("Save")
    if test:
        _try_out(app, connection.name, fields, password)
    elif save:
        with show_errors():
            _save(app, connection, service.fields_of(fields), password)


def show_delete(app: App, connection: ConnectionInfo) -> None:
    """Delete a connection that no definition reads."""
    if connection.users:
        users = plain(", ".join(connection.users))
        st.caption(f"It cannot be deleted, because it is read by {users}.")
        return
    st.caption("Deletes the copies of its tables. The other database is not touched.")
    sure = st.checkbox("Yes, delete this connection", key=f"sure {connection.name}")
    if st.button("Delete", disabled=not sure, key="delete"):
        with show_errors(), st.spinner("Deleting the copies"):
            try:
                reloaded = service.delete(app, connection.name)
            except TippersError as error:
                note(str(error), success=False)
            else:
                note(f"{connection.name} was deleted. {reloaded.message}")
                go_to()
            st.rerun()


# --- fields --------------------------------------------------------------------------------------
def _buttons(label: str) -> tuple[bool, bool]:
    with st.container(horizontal=True):
        first = st.form_submit_button(label, type="primary")
        return first, st.form_submit_button("Test without saving")


def _fields(dialect: str, connection: ConnectionInfo | None) -> tuple[Fields, str]:
    """The fields of a connection, and the password, which is never filled in."""
    body = connection.body if connection else None
    if dialect == "sqlite":
        path = st.text_input(
            "File",
            value=body.database if body else "",
            placeholder="/data/rooms.sqlite",
            help="Absolute path on the machine that runs the syncs.",
        )
        seconds = _interval(body.sync_seconds if body else 3600)
        return {"dialect": dialect, "database": path, "sync_seconds": int(seconds)}, ""
    with st.container(horizontal=True):
        host = st.text_input(
            "Host", value=(body.host or "") if body else "", placeholder="db.example.edu"
        )
        port = st.number_input(
            "Port",
            min_value=1,
            max_value=65535,
            value=body.port if body else None,
            placeholder=str(DEFAULT_PORTS[dialect]),
            width=140,
        )
    database = st.text_input("Database", value=body.database if body else "")
    with st.container(horizontal=True):
        user = st.text_input(
            "User",
            value=(body.user or "") if body else "",
            help="Preferably a user that can only read.",
        )
        stored = connection is not None and connection.has_password
        password = st.text_input(
            "Password",
            type="password",
            placeholder="Stored; leave empty to keep it" if stored else "",
            autocomplete="new-password",
            help="Stored encrypted, and never shown again.",
        )
    options = st.text_area(
        "Options, one name=value per line",
        value="\n".join(f"{k}={v}" for k, v in body.options.items()) if body else "",
        placeholder=f"Available: {', '.join(OPTIONS[dialect])}",
        height=80,
    )
    seconds = _interval(body.sync_seconds if body else 3600)
    fields: Fields = {
        "dialect": dialect,
        "host": host,
        "port": port,
        "database": database,
        "user": user,
        "options": options,
        "sync_seconds": int(seconds),
    }
    return fields, password


def _interval(seconds: int) -> float:
    return st.number_input("Sync interval (s)", min_value=1, value=seconds, width=280)


# --- saving --------------------------------------------------------------------------------------
def _try_out(app: App, name: str, fields: Fields, password: str) -> None:
    with show_errors(), st.spinner("Testing the connection"):
        tested = service.try_out(app, name, service.fields_of(fields), password)
        show = st.success if tested.works else st.warning
        show(plain(tested.sentence))


def _add(app: App, name: str, fields: Fields, password: str, description: str) -> None:
    with show_errors(), st.spinner("Testing the connection"):
        tested = service.add(app, name, service.fields_of(fields), password, description)
        note(f"{name} was added. {tested.sentence}", success=tested.works)
        go_to(name)
        st.rerun()


def _save(
    app: App, connection: ConnectionInfo, fields: dict[str, object], password: str | None
) -> None:
    with show_errors(), st.spinner("Testing the connection"):
        tested, reloaded = service.edit(app, connection, fields, password)
        note(
            f"{connection.name} was saved. {tested.sentence} {reloaded.message}",
            success=tested.works,
        )
        st.rerun()
