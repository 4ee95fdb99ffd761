"""The synced tables of a connection."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from streamlit_app.services.connections import ConnectionInfo, SyncedTable
from streamlit_app.ui.links import external_link
from streamlit_app.ui.messages import live, plain, show_errors
from streamlit_app.views.connections.notes import note
from tippers_dagster.access.model import Role
from tippers_dagster.connections.bodies import schema_of
from tippers_dagster.platform.dagster.addresses import asset_link, run_link

_RUN = "connections.run"


def show(app: App, connection: ConnectionInfo, *, admin: bool) -> None:
    """All synced tables with their state, and syncing them now."""
    st.subheader("Tables")
    if not connection.tables:
        st.info("No tables are synced yet.", icon=":material/table:")
        return
    if app.person.may(Role.ANALYST):
        _sync(app, connection)
    _state(app, connection.name)
    schema, first = schema_of(connection.name), connection.tables[0].choice.name
    st.caption(f"In SQL, the tables are called {plain(schema)}.{plain(first)} and so on.")
    if admin:
        _stop_syncing(app, connection)


def _sync(app: App, connection: ConnectionInfo) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.multiselect(
            "Tables to sync",
            [t.choice.name for t in connection.tables],
            placeholder="All tables",
            key=f"sync {connection.name}",
            width=420,
        )
        if st.button("Sync now", type="primary", icon=":material/sync:", key="sync"):
            with show_errors():
                run = service.sync(app, connection, chosen)
                st.session_state[_RUN] = (connection.name, run)
    name, run = st.session_state.get(_RUN, ("", ""))
    if name == connection.name:
        external_link("Run in Dagster", run_link(app.settings, run))


@live(2)
def _state(app: App, name: str) -> None:
    connections = service.listing(app).connections
    connection = next((c for c in connections if c.name == name), None)
    if connection is None:
        return
    st.dataframe(
        [_row(app, table) for table in connection.tables],
        hide_index=True,
        column_config={
            "Dagster": st.column_config.LinkColumn(display_text="Asset", width="small"),
        },
    )
    for table in connection.tables:
        if table.error:
            st.error(
                f"**{plain(table.choice.name)}**: {plain(table.error)}", icon=":material/error:"
            )


def _row(app: App, table: SyncedTable) -> dict[str, object]:
    if table.running:
        state = "syncing"
    elif table.error:
        state = "failed"
    else:
        state = "synced" if table.synced_at else "never synced"
    return {
        "Table": table.choice.name,
        "State": state,
        "Rows": "" if table.rows is None else f"{table.rows:,}",
        "Last sync (UTC)": f"{table.synced_at:%Y-%m-%d %H:%M:%S}" if table.synced_at else "",
        "Duration": "" if table.seconds is None else f"{table.seconds:.2f} s",
        "Changes": table.change,
        "Method": table.how,
        "Read by": ", ".join(table.users),
        "Dagster": asset_link(app.settings, table.asset),
    }


def _stop_syncing(app: App, connection: ConnectionInfo) -> None:
    with st.popover("Remove a table"):
        name = st.selectbox("Table", [t.choice.name for t in connection.tables], key="remove table")
        users = next(t.users for t in connection.tables if t.choice.name == name)
        if users:
            st.caption(f"It cannot be removed, because it is read by {plain(', '.join(users))}.")
        else:
            st.caption("Deletes the copy in the warehouse. The original table is not touched.")
        if st.button("Stop syncing", disabled=bool(users), key="stop syncing"):
            with show_errors(), st.spinner("Deleting the copy"):
                reloaded = service.leave_out(app, connection.name, name)
                note(f"{name} is no longer synced. {reloaded.message}")
                st.rerun()
