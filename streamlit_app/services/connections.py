"""Connections to other databases: list, test, change and sync them. Passwords stay hidden."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.kinds import Connection, ConnectionTable, Kind
from tippers_dagster.connections import bodies
from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from tippers_dagster.connections.reading import FoundTable
    from tippers_dagster.connections.store import Tested
    from tippers_dagster.graph.reload import Reloaded

DIALECTS = {
    "postgresql": "PostgreSQL",
    "mysql": "MySQL or MariaDB",
    "sqlite": "SQLite file",
    "mssql": "SQL Server",
}


# --- listing -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class SyncedTable:
    """A synced table.

    Attributes
    ----------
    asset
        The asset's name in Dagster.
    rows, seconds, synced_at, run_id, change
        Of the last successful sync.
    error
        Why the last attempt failed; empty if it did not.
    running
        The run that is syncing it now.
    users
        The definitions that read it.
    """

    choice: ConnectionTable
    asset: str
    rows: int | None
    seconds: float | None
    synced_at: dt.datetime | None
    run_id: str | None
    error: str
    running: str | None
    users: tuple[str, ...]
    change: str

    @property
    def how(self) -> str:
        """How it is synced."""
        if self.choice.cursor is None:
            return "full copy"
        key = ", ".join(self.choice.primary_key)
        return f"incremental by {self.choice.cursor}, key {key}"


@dataclass(frozen=True)
class ConnectionInfo:
    """A connection without its password.

    ``is_source``: it is the source database of the settings. ``has_password``: whether a password
    is stored. ``version``: 0 if it has never been saved.
    """

    name: str
    body: Connection
    is_source: bool
    has_password: bool
    version: int
    updated_by: str
    description: str
    tables: tuple[SyncedTable, ...]

    @property
    def users(self) -> list[str]:
        """The definitions that read any of its tables."""
        return sorted({user for table in self.tables for user in table.users})

    @property
    def place(self) -> str:
        """The address of its database, for people."""
        body = self.body
        if body.dialect == "sqlite":
            return body.database
        port = f":{body.port}" if body.port else ""
        return f"{body.user or ''}@{body.host or ''}{port}/{body.database}"


@dataclass(frozen=True)
class Listing:
    """All connections; ``unreadable``: the reason per name."""

    connections: tuple[ConnectionInfo, ...]
    unreadable: Mapping[str, str]


def listing(app: App) -> Listing:
    """All connections with the state of their tables and the definitions that read them."""
    from tippers_dagster.automation.runs import being_computed
    from tippers_dagster.automation.state import load_states
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.connections.store import ref_of, users

    catalog = load_catalog(app.settings)
    by_name = bodies.connections(app.settings, catalog)
    states = load_states(app.settings)
    assets = {_asset(name, t.name) for name, body in by_name.items() for t in body.tables}
    running = being_computed(app.instance, assets) if assets else {}
    found = []
    for name, body in by_name.items():
        saved = catalog.saved(ref_of(name))
        tables = []
        for choice in body.tables:
            asset = _asset(name, choice.name)
            readers = tuple(users(catalog, name, choice.name))
            tables.append(_table(choice, asset, states.get(asset), running.get(asset), readers))
        found.append(
            ConnectionInfo(
                name=name,
                body=body.model_copy(update={"password": None}),
                is_source=bodies.is_source(app.settings, name),
                has_password=body.password is not None,
                version=saved.version if saved else 0,
                updated_by=saved.updated_by if saved else "",
                description=saved.description if saved else "",
                tables=tuple(tables),
            )
        )
    broken = {
        ref.name: why
        for ref, why in catalog.problems.items()
        if ref.kind == Kind.CONNECTION and ref.name not in by_name
    }
    return Listing(tuple(found), broken)


def _asset(name: str, table: str) -> str:
    from tippers_dagster.connections.running import key_of

    return "/".join(key_of(name, table))


def _table(
    choice: ConnectionTable,
    asset: str,
    state: object,
    running: str | None,
    readers: tuple[str, ...],
) -> SyncedTable:
    from tippers_dagster.automation.state import NEVER, AssetState

    known = state if isinstance(state, AssetState) else NEVER
    details = known.details
    change = ""
    if "inserted" in details:
        change = (
            f"{details['inserted']:,} added, {details['updated']:,} changed, "
            f"{details['deleted']:,} deleted"
        )
    return SyncedTable(
        choice=choice,
        asset=asset,
        rows=known.rows,
        seconds=known.seconds,
        synced_at=known.materialized_at,
        run_id=known.run_id,
        error=known.error or "",
        running=running,
        users=readers,
        change=change,
    )


# --- testing -------------------------------------------------------------------------------------
def test(app: App, name: str) -> Tested:
    """Test a saved connection."""
    from tippers_dagster.connections import store

    app.person.require(Role.ANALYST, "test connections")
    return store.test(app.settings, name)


def try_out(app: App, name: str, fields: Mapping[str, object], password: str | None) -> Tested:
    """Test these fields without saving them.

    Raises
    ------
    BadInput
        The fields do not make a valid connection.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "test connections that are not saved")
    return store.try_out(app.settings, name or "it", fields, password=password or None)


def find_tables(app: App, name: str) -> list[FoundTable]:
    """The tables and views that the connection's user can see.

    Raises
    ------
    TippersError
        The database is unavailable.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "choose tables")
    return store.list_tables(app.settings, name)


# --- changing ------------------------------------------------------------------------------------
def fields_of(form: Mapping[str, str | int | None]) -> dict[str, object]:
    """The fields of a connection, from a form whose empty fields hold empty texts.

    ``options``: lines of ``name=value``.

    Raises
    ------
    BadInput
        A line of the options is not ``name=value``.
    """
    fields: dict[str, object] = dict(form)
    for name in ("host", "user"):
        fields[name] = str(form.get(name) or "").strip() or None
    fields["port"] = form.get("port") or None
    options = {}
    for line in str(form.get("options") or "").splitlines():
        name, equals, value = line.partition("=")
        if line.strip() and not equals:
            raise BadInput(
                "Write one option per line, as name=value.", "For example sslmode=require."
            )
        if equals:
            options[name.strip()] = value.strip()
    fields["options"] = options
    if form.get("dialect") == "sqlite":
        fields |= {"host": None, "port": None, "user": None, "options": {}}
    return fields


def add(
    app: App, name: str, fields: Mapping[str, object], password: str | None, description: str = ""
) -> Tested:
    """Save a new connection, and test it.

    Raises
    ------
    BadInput
        The name is taken, or the fields do not make a valid connection.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "add connections")
    store.add(
        app.settings,
        name,
        fields,
        by=app.person.name,
        password=password or None,
        description=description,
        owner=app.person.name,
    )
    return store.test(app.settings, name)


def edit(
    app: App, connection: ConnectionInfo, fields: Mapping[str, object], password: str | None
) -> tuple[Tested, Reloaded]:
    """Change a connection, and test it; an empty password keeps the stored one.

    Raises
    ------
    Conflict
        Somebody else has changed it in the meantime.
    BadInput
        The fields do not make a valid connection, or the address changed without its password
        being entered again.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "change connections")
    try:
        store.edit(
            app.settings,
            connection.name,
            fields,
            by=app.person.name,
            password=password or None,
            expected_version=connection.version,
        )
    except store.PasswordNeeded as error:
        raise BadInput(error.message, "Enter it in the Password field.") from None
    return store.test(app.settings, connection.name), _reload(app)


def choose(app: App, name: str, table: ConnectionTable) -> tuple[ConnectionTable, Reloaded]:
    """Start syncing a table, or change how it is synced.

    Raises
    ------
    TippersError
        The cursor or key is not suitable, or the database is unavailable.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "choose tables")
    saved = store.choose(app.settings, name, table, by=app.person.name)
    return saved, _reload(app)


def leave_out(app: App, name: str, table: str) -> Reloaded:
    """Stop syncing a table, and delete its copy.

    Raises
    ------
    BadInput
        Definitions read it; their names are in the message.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "choose tables")
    store.leave_out(app.settings, name, table, by=app.person.name)
    return _reload(app)


def delete(app: App, name: str) -> Reloaded:
    """Delete a connection and the copies of its tables.

    Raises
    ------
    BadInput
        Definitions read its tables; their names are in the message.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "delete connections")
    store.delete(app.settings, name, by=app.person.name)
    return _reload(app)


def sync(app: App, connection: ConnectionInfo, tables: Collection[str] = ()) -> str:
    """Start a run that syncs these tables, or all tables; returns the run's id.

    Raises
    ------
    TippersError
        No table is chosen for syncing, or the deployment is not running.
    """
    from tippers_dagster.graph.start import start_run

    app.person.require(Role.ANALYST, "sync connections")
    wanted = [t.asset for t in connection.tables if not tables or t.choice.name in tables]
    if not wanted:
        raise BadInput(f"{connection.name} syncs no tables yet.", "Choose a table first.")
    return start_run(app.settings, wanted, by=app.person.name)


def _reload(app: App) -> Reloaded:
    from tippers_dagster.graph.reload import reload_definitions

    return reload_definitions(app.settings)
