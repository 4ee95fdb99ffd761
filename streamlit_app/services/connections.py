"""Other databases: listing, testing, changing and syncing them. A password never comes back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.kinds import Connection, ConnectionTable
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


# --- finding -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Table:
    """A table that is synced.

    ``asset``: its name in Dagster; ``rows``, ``synced_at``: of the last sync; ``error``: why the
    last try failed; ``running``: the run that syncs it now; ``users``: definitions that read it.
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
        """How it is synced, in words."""
        if self.choice.cursor is None:
            return "whole"
        return f"from the last {self.choice.cursor} on, by {', '.join(self.choice.primary_key)}"


@dataclass(frozen=True)
class Shown:
    """A connection without its password.

    ``is_source``: it leads where the settings say; ``has_password``: whether one is stored;
    ``version`` 0: never saved.
    """

    name: str
    body: Connection
    is_source: bool
    has_password: bool
    version: int
    updated_by: str
    description: str
    tables: tuple[Table, ...]

    @property
    def users(self) -> list[str]:
        """The definitions that read any of its tables."""
        return sorted({user for table in self.tables for user in table.users})

    @property
    def place(self) -> str:
        """Where it leads, for people."""
        b = self.body
        if b.dialect == "sqlite":
            return b.database
        port = f":{b.port}" if b.port else ""
        return f"{b.user or ''}@{b.host or ''}{port}/{b.database}"


@dataclass(frozen=True)
class Listing:
    """All connections, and those that cannot be read: name and why."""

    connections: tuple[Shown, ...]
    unreadable: Mapping[str, str]


def listing(app: App) -> Listing:
    """All connections, how their tables stand, and who reads them."""
    from tippers_dagster.automation.runs import being_computed
    from tippers_dagster.automation.state import load_states
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.connections.bodies import connections, is_source
    from tippers_dagster.connections.store import ref_of, users

    catalog = load_catalog(app.settings)
    bodies = connections(app.settings, catalog)
    states = load_states(app.settings)
    assets = {_asset(name, t.name) for name, body in bodies.items() for t in body.tables}
    running = being_computed(app.instance, assets) if assets else {}
    found = []
    for name, body in bodies.items():
        saved = catalog.saved(ref_of(name))
        tables = []
        for choice in body.tables:
            asset = _asset(name, choice.name)
            readers = tuple(users(catalog, name, choice.name))
            tables.append(_table(choice, asset, states.get(asset), running.get(asset), readers))
        found.append(
            Shown(
                name=name,
                body=body.model_copy(update={"password": None}),
                is_source=is_source(app.settings, name),
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
        if ref.kind == Kind.CONNECTION and ref.name not in bodies
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
) -> Table:
    from tippers_dagster.automation.state import NEVER, AssetState

    known = state if isinstance(state, AssetState) else NEVER
    details = known.details
    change = ""
    if "inserted" in details:
        change = (
            f"{details['inserted']:,} new, {details['updated']:,} changed, "
            f"{details['deleted']:,} gone"
        )
    return Table(
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
    """Whether a saved connection works, as a sentence."""
    from tippers_dagster.connections import store

    app.person.require(Role.ANALYST, "test connections")
    return store.test(app.settings, name)


def try_out(app: App, name: str, fields: Mapping[str, object], password: str | None) -> Tested:
    """Whether a connection would work with these fields; nothing is saved.

    Raises
    ------
    BadInput
        What cannot be a connection.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "test connections that are not saved")
    return store.try_out(app.settings, name or "it", fields, password=password or None)


def find_tables(app: App, name: str) -> list[FoundTable]:
    """The tables and views that the connection's user sees.

    Raises
    ------
    TippersError
        When it cannot be reached.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "choose tables")
    return store.list_tables(app.settings, name)


# --- changing ------------------------------------------------------------------------------------
def fields_of(form: Mapping[str, str | int | None]) -> dict[str, object]:
    """The fields of a connection from what a form holds: texts, empty for what is not given.

    ``options``: lines of ``name=value``.

    Raises
    ------
    BadInput
        A line of options that is none.
    """
    fields: dict[str, object] = dict(form)
    for name in ("host", "user"):
        fields[name] = str(form.get(name) or "").strip() or None
    fields["port"] = form.get("port") or None
    options = {}
    for line in str(form.get("options") or "").splitlines():
        name, equals, value = line.partition("=")
        if line.strip() and not equals:
            raise BadInput("An option is written name=value, one a line.", "sslmode=require")
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
        A name that is taken, or what a connection may not say.
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
    app: App, shown: Shown, fields: Mapping[str, object], password: str | None
) -> tuple[Tested, Reloaded]:
    """Change a connection, and test it; an empty password keeps the one that is stored.

    Raises
    ------
    Conflict
        When somebody else changed it meanwhile.
    BadInput
        What a connection may not say; an address that changed, without the password for it.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "change connections")
    try:
        store.edit(
            app.settings,
            shown.name,
            fields,
            by=app.person.name,
            password=password or None,
            expected_version=shown.version,
        )
    except BadInput as error:
        if "password must be given again" in error.message:
            raise BadInput(error.message, "Type it into the field Password.") from None
        raise
    return store.test(app.settings, shown.name), _reload(app)


def choose(app: App, name: str, table: ConnectionTable) -> tuple[ConnectionTable, Reloaded]:
    """Have a table synced, or change how.

    Raises
    ------
    TippersError
        A cursor or key that is none, or a database that is away.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "choose tables")
    saved = store.choose(app.settings, name, table, by=app.person.name)
    return saved, _reload(app)


def leave_out(app: App, name: str, table: str) -> Reloaded:
    """Have a table synced no more, and remove its copy.

    Raises
    ------
    BadInput
        When definitions read it, with their names.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "choose tables")
    store.leave_out(app.settings, name, table, by=app.person.name)
    return _reload(app)


def delete(app: App, name: str) -> Reloaded:
    """Forget a connection, and remove the copies of its tables.

    Raises
    ------
    BadInput
        When definitions read its tables, with their names.
    """
    from tippers_dagster.connections import store

    app.person.require(Role.ADMIN, "delete connections")
    store.delete(app.settings, name, by=app.person.name)
    return _reload(app)


def sync(app: App, shown: Shown, tables: Collection[str] = ()) -> str:
    """Start a run that syncs tables now, all unless some are named; returns its id.

    Raises
    ------
    TippersError
        When nothing runs that could do it.
    """
    from tippers_dagster.graph.start import start_run

    app.person.require(Role.ANALYST, "sync connections")
    wanted = [t.asset for t in shown.tables if not tables or t.choice.name in tables]
    if not wanted:
        raise BadInput(f"{shown.name} syncs no table.", "Choose one first.")
    return start_run(app.settings, wanted, by=app.person.name)


def _reload(app: App) -> Reloaded:
    from tippers_dagster.graph.reload import reload_definitions

    return reload_definitions(app.settings)
