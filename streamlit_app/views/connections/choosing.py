"""Choosing a table of another database, and how it is synced."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from streamlit_app.services.connections import ConnectionInfo
from streamlit_app.ui.messages import show_errors
from streamlit_app.views.connections.notes import FOUND, note
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.connections.reading import FoundTable
from tippers_dagster.platform.text import counted


def show(app: App, connection: ConnectionInfo) -> None:
    """List the tables of the database, and set how one of them is synced."""
    st.subheader("Choose a table")
    found = st.session_state.get(FOUND)
    if found is None or found[0] != connection.name:
        if st.button("List tables", icon=":material/search:", key="list tables"):
            with show_errors(), st.spinner("Reading the list of tables"):
                found = (connection.name, service.find_tables(app, connection.name))
                st.session_state[FOUND] = found
                st.rerun()
        return
    tables: list[FoundTable] = found[1]
    if not tables:
        st.info("The connection's user cannot see any tables.", icon=":material/table:")
        return
    table = st.selectbox(
        f"Table or view ({len(tables):,} available)",
        tables,
        format_func=_title,
        key=f"choose {connection.name}",
        width=520,
    )
    _method(app, connection, table)


def _title(table: FoundTable) -> str:
    schema = f"{table.schema_name}." if table.schema_name else ""
    rows = f", about {counted(table.rows, 'row')}" if table.rows is not None else ""
    return f"{schema}{table.name} ({counted(len(table.columns), 'column')}{rows})"


def _method(app: App, connection: ConnectionInfo, table: FoundTable) -> None:
    before = next((t.choice for t in connection.tables if t.choice.name == table.name), None)
    names = [column.name for column in table.columns]
    key = f"{connection.name} {table.schema_name} {table.name}"
    st.dataframe(
        [
            {"Column": c.name, "Type": c.type, "Nullable": "yes" if c.nullable else "no"}
            for c in table.columns
        ],
        hide_index=True,
        height=min(36 * len(names) + 40, 260),
    )
    with st.container(horizontal=True):
        cursor = st.selectbox(
            "Cursor",
            names,
            index=names.index(before.cursor) if before and before.cursor in names else None,
            placeholder="None: copy the whole table",
            key=f"cursor {key}",
            help="A column that grows with every new or changed row, such as a modification time. "
            "Each sync then reads only rows above the last value.",
            width=260,
        )
        known = before.primary_key if before and before.primary_key else table.primary_key
        primary_key = st.multiselect(
            "Primary key",
            names,
            default=[c for c in known if c in names],
            key=f"key {key}",
            help="The columns that identify a row. Required with a cursor.",
            width=320,
        )
        lag = st.number_input(
            "Lag (s)",
            min_value=0,
            value=before.lag_seconds if before else 300,
            key=f"lag {key}",
            help="Each sync also rereads rows this far below the last cursor value, as they may "
            "have been committed late.",
            width=160,
        )
    label = "Change how it is synced" if before else "Sync this table"
    if st.button(label, type="primary", key=f"take {key}"):
        choice = ConnectionTable(
            name=table.name,
            schema_name=table.schema_name,
            cursor=cursor,
            primary_key=tuple(primary_key),
            lag_seconds=int(lag),
        )
        with show_errors(), st.spinner("Saving, and reloading the definitions in Dagster"):
            _, reloaded = service.choose(app, connection.name, choice)
            note(f"{connection.name}.{table.name} will be synced. {reloaded.message}")
            st.rerun()
