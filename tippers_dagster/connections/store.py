"""Adds, tests and changes connections, and chooses the tables that they sync."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.catalog import Catalog, draft_of
from tippers_dagster.catalog.kinds import Connection, ConnectionTable, Kind, LogSource
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.names import read_body
from tippers_dagster.connections.bodies import (
    SOURCE,
    check_body,
    check_table,
    connections,
    is_source,
    schema_of,
)
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.connections.opening import Place, opened, place_of
from tippers_dagster.connections.publish import drop_copy
from tippers_dagster.connections.reading import FoundTable, find_tables, reflect
from tippers_dagster.connections.secrets import UnreadablePassword, encrypt
from tippers_dagster.connections.sync import check_choice
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

_ADDRESS = {"dialect", "host", "port"}


@dataclass(frozen=True)
class Tested:
    """Whether a connection works, with a message: the server, or the error and a hint."""

    works: bool
    sentence: str


class PasswordNeeded(BadInput):
    """A connection's address is to change, and its password was not given again."""


def ref_of(name: str) -> Ref:
    """The reference of a connection among the definitions."""
    return Ref("", name, Kind.CONNECTION)


# --- finding -------------------------------------------------------------------------------------
def list_connections(settings: Settings) -> dict[str, Connection]:
    """All connections by name, including that of ``TIPPERS_SOURCE_URL``."""
    return connections(settings, catalog_store.load_catalog(settings))


def get(settings: Settings, name: str) -> Connection:
    """One connection; BadInput with similar names if there is none."""
    found = list_connections(settings)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=3)
        hint = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else "`tippers connections list` shows all connections."
        )
        raise BadInput(f"There is no connection {name!r}.", hint)
    return found[name]


def test(settings: Settings, name: str) -> Tested:
    """Test a connection."""
    try:
        return _test(settings, name, get(settings, name))
    except BadInput as error:
        return Tested(False, str(error))


def try_out(
    settings: Settings, name: str, fields: Mapping[str, object], *, password: str | None = None
) -> Tested:
    """Test a connection with changed fields; nothing is saved.

    Parameters
    ----------
    name
        A connection whose other fields and password are used, or a new name.
    """
    if name in list_connections(settings):
        body = _changed(settings, _definition(settings, name), fields, password)
    else:
        body = _with_password(settings, _read({**fields, "password": None}), password)
    return _test(settings, name, body)


def _test(settings: Settings, name: str, body: Connection) -> Tested:
    try:
        place = place_of(settings, name, body)
        with opened(settings, place) as connection:
            info = connection.dialect.server_version_info or ()
            dialect = connection.dialect.name
    except (ConnectionFault, UnreadablePassword, BadInput) as error:
        return Tested(False, str(error))
    version = ".".join(str(part) for part in info)
    return Tested(True, f"{name} works: {dialect} {version}, read only.")


def list_tables(settings: Settings, name: str) -> list[FoundTable]:
    """The tables and views that a connection's user may see.

    Raises
    ------
    ConnectionFault
        When it cannot be reached.
    """
    return find_tables(settings, _place(settings, name))


def _place(settings: Settings, name: str) -> Place:
    return place_of(settings, name, get(settings, name))


# --- changing ------------------------------------------------------------------------------------
def add(
    settings: Settings,
    name: str,
    fields: Mapping[str, object],
    *,
    by: str,
    password: str | None = None,
    description: str = "",
    owner: str = "",
) -> Definition:
    """Save a new connection. Its database is not contacted yet.

    Parameters
    ----------
    fields
        Of :class:`~tippers_dagster.catalog.kinds.Connection`, without the password.
    password
        In plain text; only its token is stored.

    Raises
    ------
    BadInput
        The name is taken, or a setting is invalid.
    """
    if name == SOURCE:
        raise BadInput(
            "The name `source` is reserved for TIPPERS_SOURCE_URL.", "Choose another name."
        )
    body = _with_password(settings, _read({**fields, "password": None}), password)
    check_body(name, body)
    draft = Draft(ref_of(name), body, description, owner)
    return catalog_store.save(settings, draft, by=by, expected_version=0)


def edit(
    settings: Settings,
    name: str,
    fields: Mapping[str, object],
    *,
    by: str,
    password: str | None = None,
    expected_version: int | None = None,
) -> Definition:
    """Change some fields of a connection; without a password, the stored one is kept.

    Raises
    ------
    BadInput
        As :func:`add`; also if the address changes without a password: the stored one is never
        sent to another server.
    """
    found = _definition(settings, name)
    body = _changed(settings, found, fields, password)
    if not is_source(settings, name):
        check_body(name, body)
    draft = replace(draft_of(found), body=body)
    return catalog_store.save(settings, draft, by=by, expected_version=expected_version)


def _changed(
    settings: Settings, found: Definition, fields: Mapping[str, object], password: str | None
) -> Connection:
    """A connection with some fields changed; without a password, the stored one is kept."""
    name, before = found.ref.name, _body(found)
    if is_source(settings, name) and (password is not None or set(fields) - {"sync_seconds"}):
        raise BadInput(
            "The address of the connection `source` comes from TIPPERS_SOURCE_URL.",
            "Change that setting. Here you can only set how often it is synced.",
        )
    body = _read({**before.model_dump(), **fields})
    moved = any(getattr(body, part) != getattr(before, part) for part in _ADDRESS)
    if moved and before.password is not None and password is None:
        raise PasswordNeeded(
            f"The address of {name} changes, so its password must be given again.",
            "Use --password-stdin, or enter it at the prompt.",
        )
    return _with_password(settings, body, password)


def delete(settings: Settings, name: str, *, by: str) -> Connection:
    """Delete a connection, and the copies of its tables.

    Raises
    ------
    BadInput
        When definitions read its tables, with their names; then nothing is changed.
    """
    catalog = catalog_store.load_catalog(settings)
    body = get(settings, name)
    if catalog.saved(ref_of(name)) is None:
        raise BadInput("The connection `source` comes from TIPPERS_SOURCE_URL.", "Unset it there.")
    readers = [
        definition.ref.name
        for definition in catalog.of_kind(Kind.LOG_SOURCE, broken=True)
        if isinstance(definition.body, LogSource) and definition.body.connection == name
    ]
    if readers:
        raise BadInput(
            f"The connection {name} is read by the log source {', '.join(readers)}.",
            f"Delete that first: tippers definitions delete log_source.{readers[0]}",
        )
    if not is_source(settings, name):
        for table in body.tables:
            _refuse_used(catalog, name, table.name)
            _drop(settings, name, table.name)
    catalog_store.delete(settings, ref_of(name), by=by)
    return body


def choose(settings: Settings, name: str, table: ConnectionTable, *, by: str) -> ConnectionTable:
    """Choose a table for syncing, or change its options. Returns it as saved.

    The primary key defaults to that of the other database, if it has one.

    Raises
    ------
    BadInput
        The cursor or key is not a column, or there is a cursor but no key.
    ConnectionFault
        When the table does not exist.
    """
    found = _definition(settings, name)
    with opened(settings, _place(settings, name)) as connection:
        reflected = reflect(connection, name, table)
    table = table.model_copy(update={"primary_key": table.primary_key or reflected.primary_key})
    check_table(name, table)
    check_choice(reflected, table)
    others = [t for t in _body(found).tables if t.name != table.name]
    _save_tables(settings, found, [*others, table], by)
    return table


def leave_out(settings: Settings, name: str, table: str, *, by: str) -> None:
    """Stop syncing a table, and remove its copy.

    Raises
    ------
    BadInput
        When it is not a chosen table, or definitions read it.
    """
    found = _definition(settings, name)
    kept = [t for t in _body(found).tables if t.name != table]
    if len(kept) == len(_body(found).tables):
        chosen = ", ".join(t.name for t in kept) or "none"
        raise BadInput(f"{name} does not sync {table!r}.", f"Its tables: {chosen}.")
    _refuse_used(catalog_store.load_catalog(settings), name, table)
    _drop(settings, name, table)
    _save_tables(settings, found, kept, by)


def users(catalog: Catalog, name: str, table: str | None = None) -> list[str]:
    """The definitions whose SQL names a connection's tables, or one of them."""
    dot = r'"?\s*\.\s*"?' if table is not None else ""
    pattern = re.compile(rf"(?i)\b{schema_of(name)}{dot}{re.escape(table or '')}\b")
    return [
        str(ref)
        for ref, definition in catalog.definitions.items()
        if pattern.search(getattr(definition.body, "sql", ""))
    ]


def _definition(settings: Settings, name: str) -> Definition:
    body = get(settings, name)
    saved = catalog_store.load_catalog(settings).saved(ref_of(name))
    if saved is None:
        return Definition(ref_of(name), body)  # from the settings
    return replace(saved, body=body)


def _body(definition: Definition) -> Connection:
    assert isinstance(definition.body, Connection)
    return definition.body


def _read(fields: Mapping[str, object]) -> Connection:
    body = read_body(Kind.CONNECTION, fields)
    assert isinstance(body, Connection)
    return body


def _with_password(settings: Settings, body: Connection, password: str | None) -> Connection:
    if password is None:
        return body
    if body.dialect == "sqlite":
        raise BadInput("A SQLite file has no password.")
    return body.model_copy(update={"password": encrypt(settings, password, body)})


def _save_tables(
    settings: Settings, found: Definition, tables: Sequence[ConnectionTable], by: str
) -> None:
    ordered = tuple(sorted(tables, key=lambda t: t.name))
    body = _body(found).model_copy(update={"tables": ordered})
    if not is_source(settings, found.ref.name):
        check_body(found.ref.name, body)
    draft = replace(draft_of(found), body=body)
    catalog_store.save(settings, draft, by=by, expected_version=found.version)


def _refuse_used(catalog: Catalog, name: str, table: str) -> None:
    by = users(catalog, name, table)
    if by:
        raise BadInput(
            f"{name}.{table} cannot be removed: it is read by {', '.join(by)}.",
            "Change or delete those first.",
        )


def _drop(settings: Settings, name: str, table: str) -> None:
    with warehouse_engine(settings).begin() as warehouse:
        drop_copy(warehouse, name, table)
