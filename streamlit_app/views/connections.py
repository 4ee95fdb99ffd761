"""Connections: other databases whose tables are synced into the warehouse."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from streamlit_app.services.connections import DIALECTS, Shown, Table
from streamlit_app.ui import state
from streamlit_app.ui.messages import live, plain, told
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.connections.bodies import OPTIONS, schema_of
from tippers_dagster.connections.faults import DEFAULT_PORTS
from tippers_dagster.connections.reading import FoundTable
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.dagster.addresses import asset_link, run_link

_NOTE = "connections.note"
_FOUND = "connections.found"


def render(app: App) -> None:
    """The page: all connections, or the one that the address names."""
    st.title("Connections")
    listing = service.listing(app)
    by_name = {c.name: c for c in listing.connections}
    admin = app.person.may(Role.ADMIN)
    _note()
    if state.get("new") and admin:
        _new(app)
        return
    opened = by_name.get(state.get("open"))
    if opened is not None:
        _open(app, opened, admin=admin)
        return
    st.caption(
        "Tables of other databases are copied into the warehouse, where the SQL of indexes, rules "
        "and features reads them. Other databases are only ever read."
    )
    if admin:
        st.button("Add a connection", on_click=_go, args=("", True), icon=":material/add:")
    else:
        st.caption(":material/lock: Adding and changing connections takes an administrator.")
    for name, why in listing.unreadable.items():
        st.error(f"**{plain(name)}** cannot be used: {plain(why)}", icon=":material/error:")
    if not by_name:
        _empty()
    for shown in listing.connections:
        _card(app, shown)


def _empty() -> None:
    with st.container(border=True):
        st.markdown("**There are no connections yet.**")
        st.caption(
            "Add one to use, for instance, the registrar's rooms or a table of staff in rules: "
            "its tables are then named `connection_<name>.<table>` in SQL."
        )


def _note() -> None:
    found = st.session_state.pop(_NOTE, None)
    if found:
        fine, text = found
        show = st.success if fine else st.warning
        show(plain(text), icon=":material/check_circle:" if fine else ":material/warning:")


def _tell(text: str, *, fine: bool = True) -> None:
    """Say something on the next run of the page."""
    st.session_state[_NOTE] = (fine, text)


def _go(name: str = "", new: bool = False) -> None:
    st.session_state.pop(_FOUND, None)
    state.put(open=name, new="1" if new else None)


def _back() -> None:
    st.button(
        "All connections", on_click=_go, icon=":material/arrow_back:", type="tertiary", key="back"
    )


# --- the list ------------------------------------------------------------------------------------
def _card(app: App, shown: Shown) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(shown.name)}**")
            st.badge(DIALECTS[shown.body.dialect], color="blue")
            st.caption(plain(shown.place))
            st.space("stretch")
            st.button("Open", key=f"open {shown.name}", on_click=_go, args=(shown.name,))
        if shown.description:
            st.caption(plain(shown.description))
        st.caption(_summary(shown))


def _summary(shown: Shown) -> str:
    if not shown.tables:
        return "No table is synced yet: open it to choose some."
    failed = [t.choice.name for t in shown.tables if t.error]
    never = sum(t.synced_at is None for t in shown.tables)
    last = [t.synced_at for t in shown.tables if t.synced_at is not None]
    rows = sum(t.rows or 0 for t in shown.tables)
    told_ = f"{len(shown.tables):,} tables, {rows:,} rows"
    if last:
        told_ += f"; last sync {max(last):%Y-%m-%d %H:%M} UTC"
    if never:
        told_ += f"; {never:,} never synced"
    if failed:
        told_ += f"; :material/error: failed: {plain(', '.join(failed))}"
    return told_ + "."


# --- one connection ------------------------------------------------------------------------------
def _open(app: App, shown: Shown, *, admin: bool) -> None:
    _back()
    st.header(plain(shown.name))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(DIALECTS[shown.body.dialect], color="blue")
        stored = "password stored" if shown.has_password else "no password"
        whose = "of the settings" if shown.is_source else stored
        every = f"synced every {shown.body.sync_seconds:,} s"
        st.caption(f"{plain(shown.place)} · {whose} · {every}", width="stretch")
        if app.person.may(Role.ANALYST) and st.button("Test", icon=":material/cable:", key="test"):
            _test(app, shown)
    if shown.is_source:
        st.info(
            "It leads where `TIPPERS_SOURCE_URL` says: only how often and how its tables are "
            "synced is chosen here.",
            icon=":material/info:",
        )
    _tables(app, shown, admin=admin)
    if admin:
        _choosing(app, shown)
        with st.expander("Change the connection"):
            _editing(app, shown)
        if not shown.is_source:
            with st.expander("Delete the connection"):
                _deleting(app, shown)


def _test(app: App, shown: Shown) -> None:
    with told(), st.spinner("Asking the database"):
        tested = service.test(app, shown.name)
        _tell(tested.sentence, fine=tested.works)
        st.rerun()


# --- its tables ----------------------------------------------------------------------------------
def _tables(app: App, shown: Shown, *, admin: bool) -> None:
    st.subheader("Tables")
    if not shown.tables:
        st.info("No table is synced yet: choose one below.", icon=":material/table:")
        return
    if app.person.may(Role.ANALYST):
        _sync(app, shown)
    _state(app, shown.name)
    st.caption(
        f"In SQL they are named {plain(schema_of(shown.name))}.{plain(shown.tables[0].choice.name)}"
        " and so on."
    )
    if admin:
        _leaving_out(app, shown)


def _sync(app: App, shown: Shown) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.multiselect(
            "Tables to sync",
            [t.choice.name for t in shown.tables],
            placeholder="All tables",
            key=f"sync {shown.name}",
            width=420,
        )
        if st.button("Sync now", type="primary", icon=":material/sync:", key="sync"):
            with told():
                run = service.sync(app, shown, chosen)
                st.session_state["connections.run"] = (shown.name, run)
    name, run = st.session_state.get("connections.run", ("", ""))
    if name == shown.name:
        st.link_button(
            "The run in Dagster",
            run_link(app.settings, run),
            icon=":material/open_in_new:",
            type="tertiary",
        )


@live(2)
def _state(app: App, name: str) -> None:
    shown = next((c for c in service.listing(app).connections if c.name == name), None)
    if shown is None:
        return
    st.dataframe(
        [_row(app, table) for table in shown.tables],
        hide_index=True,
        column_config={
            "Dagster": st.column_config.LinkColumn(display_text="Asset", width="small"),
        },
    )
    for table in shown.tables:
        if table.error:
            st.error(
                f"**{plain(table.choice.name)}**: {plain(table.error)}", icon=":material/error:"
            )


def _row(app: App, table: Table) -> dict[str, object]:
    if table.running:
        standing = "syncing"
    elif table.error:
        standing = "failed"
    else:
        standing = "synced" if table.synced_at else "never synced"
    last = f"{table.synced_at:%Y-%m-%d %H:%M:%S}" if table.synced_at else ""
    return {
        "Table": table.choice.name,
        "State": standing,
        "Rows": "" if table.rows is None else f"{table.rows:,}",
        "Last sync (UTC)": last,
        "Took": "" if table.seconds is None else f"{table.seconds:.2f} s",
        "What changed": table.change,
        "How": table.how,
        "Read by": ", ".join(table.users),
        "Dagster": asset_link(app.settings, table.asset),
    }


def _leaving_out(app: App, shown: Shown) -> None:
    with st.popover("Leave a table out"):
        table = st.selectbox("Table", [t.choice.name for t in shown.tables], key="leave out")
        users = next(t.users for t in shown.tables if t.choice.name == table)
        if users:
            st.caption(f"It cannot be left out, as these read it: {plain(', '.join(users))}.")
        else:
            st.caption("Its copy in the warehouse is removed; the table itself stays as it is.")
        if st.button("Leave it out", disabled=bool(users), key="leave it out"):
            with told(), st.spinner("Removing the copy"):
                done = service.leave_out(app, shown.name, table)
                _tell(f"{table} is not synced any more. {done.message}")
                st.rerun()


# --- choosing tables -----------------------------------------------------------------------------
def _choosing(app: App, shown: Shown) -> None:
    st.subheader("Choose a table")
    found = st.session_state.get(_FOUND)
    if found is None or found[0] != shown.name:
        if st.button("Look which tables there are", icon=":material/search:", key="look"):
            with told(), st.spinner("Asking the database"):
                st.session_state[_FOUND] = (shown.name, service.find_tables(app, shown.name))
                st.rerun()
        return
    tables: list[FoundTable] = found[1]
    if not tables:
        st.info("Its user sees no table there.", icon=":material/table:")
        return
    table = st.selectbox(
        f"Table or view ({len(tables):,} there)",
        tables,
        format_func=_table_label,
        key=f"choose {shown.name}",
        width=520,
    )
    _how(app, shown, table)


def _table_label(table: FoundTable) -> str:
    schema = f"{table.schema_name}." if table.schema_name else ""
    rows = f", about {table.rows:,} rows" if table.rows is not None else ""
    return f"{schema}{table.name} ({len(table.columns)} columns{rows})"


def _how(app: App, shown: Shown, table: FoundTable) -> None:
    before = next((t.choice for t in shown.tables if t.choice.name == table.name), None)
    names = [column.name for column in table.columns]
    key = f"{shown.name} {table.schema_name} {table.name}"
    st.dataframe(
        [
            {"Column": c.name, "Type": c.type, "May be null": "yes" if c.nullable else "no"}
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
            placeholder="None: sync it whole",
            key=f"cursor {key}",
            help="A column that is larger in every new or changed row: only these are read then.",
            width=260,
        )
        given = before.primary_key if before and before.primary_key else table.primary_key
        primary_key = st.multiselect(
            "Primary key",
            names,
            default=[c for c in given if c in names],
            key=f"key {key}",
            help="The columns that tell its rows apart; needed with a cursor.",
            width=320,
        )
        lag = st.number_input(
            "Lag (s)",
            min_value=0,
            value=before.lag_seconds if before else 300,
            key=f"lag {key}",
            help="How far below the last cursor rows are read again: some are committed later.",
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
        with told(), st.spinner("Saving, and having Dagster load it"):
            _, done = service.choose(app, shown.name, choice)
            _tell(f"{shown.name}.{table.name} will be synced. {done.message}")
            st.rerun()


# --- adding and changing -------------------------------------------------------------------------
def _new(app: App) -> None:
    _back()
    st.header("New connection")
    dialect = st.selectbox(
        "Kind of database", list(DIALECTS), format_func=DIALECTS.__getitem__, width=320
    )
    with st.form("new connection", border=False):
        name = st.text_input("Name", placeholder="registrar", width=320)
        form, password = _fields(dialect, None)
        description = st.text_input("Description", placeholder="What is in it")
        add, test = _buttons("Add")
    if add or test:
        _submitted(app, None, name.strip(), dialect, form, password, description, only_test=test)


def _editing(app: App, shown: Shown) -> None:
    if shown.is_source:
        with st.form("source", border=False):
            seconds = _every(shown.body.sync_seconds)
            if st.form_submit_button("Save", type="primary"):
                _save(app, shown, {"sync_seconds": int(seconds)}, None)
        return
    dialect = shown.body.dialect
    with st.form(f"edit {shown.name} {shown.version}", border=False):
        form, password = _fields(dialect, shown)
        save, test = _buttons("Save")
    if save or test:
        _submitted(app, shown, shown.name, dialect, form, password, "", only_test=test)


def _buttons(label: str) -> tuple[bool, bool]:
    with st.container(horizontal=True):
        first = st.form_submit_button(label, type="primary")
        return first, st.form_submit_button("Test without saving")


def _fields(dialect: str, shown: Shown | None) -> tuple[dict[str, str | int | None], str]:
    """What a connection of a dialect says; the password is apart, and never filled in."""
    body = shown.body if shown else None
    if dialect == "sqlite":
        path = st.text_input(
            "File",
            value=body.database if body else "",
            placeholder="/data/rooms.sqlite",
            help="The whole path, on the machine that runs the syncs.",
        )
        every = _every(body.sync_seconds if body else 3600)
        return {"dialect": dialect, "database": path, "sync_seconds": int(every)}, ""
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
            help="Best one that may only read.",
        )
        password = st.text_input(
            "Password",
            type="password",
            placeholder="Stored; empty keeps it" if shown and shown.has_password else "",
            autocomplete="new-password",
            help="It is stored encrypted, and never shown again.",
        )
    options = st.text_area(
        "Options, one name=value a line",
        value="\n".join(f"{k}={v}" for k, v in body.options.items()) if body else "",
        placeholder=f"Possible: {', '.join(OPTIONS[dialect])}",
        height=80,
    )
    every = _every(body.sync_seconds if body else 3600)
    form: dict[str, str | int | None] = {
        "dialect": dialect,
        "host": host,
        "port": port,
        "database": database,
        "user": user,
        "options": options,
        "sync_seconds": int(every),
    }
    return form, password


def _every(seconds: int) -> float:
    return st.number_input(
        "Seconds from one sync to the next", min_value=1, value=seconds, width=280
    )


def _submitted(
    app: App,
    shown: Shown | None,
    name: str,
    dialect: str,
    form: dict[str, str | int | None],
    password: str,
    description: str,
    *,
    only_test: bool,
) -> None:
    with told(), st.spinner("Asking the database"):
        fields = service.fields_of(form)
        if only_test:
            tested = service.try_out(app, name, fields, password)
            show = st.success if tested.works else st.warning
            show(plain(tested.sentence))
        elif shown is not None:
            _save(app, shown, fields, password)
        else:
            tested = service.add(app, name, fields, password, description)
            _tell(f"{name} is added. {tested.sentence}", fine=tested.works)
            _go(name)
            st.rerun()


def _save(app: App, shown: Shown, fields: dict[str, object], password: str | None) -> None:
    with told():
        tested, done = service.edit(app, shown, fields, password)
        _tell(f"{shown.name} is changed. {tested.sentence} {done.message}", fine=tested.works)
        st.rerun()


def _deleting(app: App, shown: Shown) -> None:
    if shown.users:
        st.caption(f"It cannot be deleted, as these read it: {plain(', '.join(shown.users))}.")
        return
    st.caption("The copies of its tables are removed. The other database stays as it is.")
    sure = st.checkbox("I want to delete it", key=f"sure {shown.name}")
    if st.button("Delete", disabled=not sure, key="delete"):
        with told(), st.spinner("Removing the copies"):
            try:
                done = service.delete(app, shown.name)
            except TippersError as error:
                _tell(str(error), fine=False)
            else:
                _tell(f"{shown.name} is deleted. {done.message}")
                _go()
            st.rerun()
