"""Checks the settings of connections, and adds the connection ``source`` from the settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import sqlalchemy as sa

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Connection, ConnectionTable, Kind
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
from tippers_dagster.settings import Settings

SOURCE = "source"
"""The name of the connection to ``TIPPERS_SOURCE_URL``."""

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*|/[^\s\0]*")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _one_of(*values: str) -> Callable[[str], str | None]:
    return lambda value: None if value in values else f"must be one of {', '.join(values)}"


def _is_file(value: str) -> str | None:
    return None if Path(value).is_file() else "is not a file on this machine"


OPTIONS: dict[str, dict[str, Callable[[str], str | None]]] = {
    "postgresql": {"sslmode": _one_of(*_SSL_MODES), "sslrootcert": _is_file},
    "mysql": {"ssl_ca": _is_file},
    "sqlite": {},
    "mssql": {"tds_version": _one_of("7.2", "7.3", "7.4"), "encryption": _one_of("require")},
}
"""The only driver options that a connection may set: others read files or run commands."""


def check_body(name: str, body: Connection) -> None:
    """Refuse invalid settings of a connection.

    Raises
    ------
    BadInput
        An unknown option, an invalid host, a missing user, a missing SQLite file, or a table name
        that is not possible in the warehouse.
    """
    if body.dialect == "sqlite":
        _check_file(name, body)
    else:
        _check_server(name, body)
    known = OPTIONS[body.dialect]
    for option, value in body.options.items():
        if option not in known:
            raise BadInput(
                f"{name}: {option!r} is not an option of {body.dialect}.",
                f"Its options: {', '.join(known) or 'none'}.",
            )
        wrong = known[option](value)
        if wrong:
            raise BadInput(f"{name}: {option} {wrong}.")
    for table in body.tables:
        check_table(name, table)
    twice = [n for n, times in Counter(t.name.lower() for t in body.tables).items() if times > 1]
    if twice:
        raise BadInput(f"{name}: two tables are named {twice[0]!r}, ignoring case.")


def check_table(name: str, table: ConnectionTable) -> None:
    """Refuse a table that cannot be synced, before its database is asked."""
    if not _TABLE.fullmatch(table.name):
        raise BadInput(
            f"{name}: the table {table.name!r} cannot have the same name in the warehouse.",
            "Names here consist of letters, digits and underscores. Create a view with such a name "
            "in the other database, and choose that.",
        )
    if table.cursor is not None and not table.primary_key:
        raise BadInput(
            f"{name}: {table.name} has a cursor but no primary key.",
            "Name the primary key columns, or remove the cursor to sync all rows.",
        )


def _check_server(name: str, body: Connection) -> None:
    if body.host is None or not _HOST.fullmatch(body.host):
        raise BadInput(f"{name}: a host is needed, such as db.example.edu.")
    if not body.user:
        raise BadInput(f"{name}: a user is needed.", "A user with read access only is best.")


def _check_file(name: str, body: Connection) -> None:
    if body.host or body.port or body.user or body.password:
        raise BadInput(f"{name}: a SQLite file has no host, port, user or password.")
    path = Path(body.database)
    if not path.is_absolute():
        raise BadInput(f"{name}: give the absolute path of the SQLite file.")
    if not path.is_file():
        raise BadInput(f"{name}: there is no file {path} on this machine.")
    with path.open("rb") as file:
        start = file.read(16)
    if start not in (b"SQLite format 3\0", b""):
        raise BadInput(f"{name}: {path} is not a SQLite database.")


# --- all connections -----------------------------------------------------------------------------
def connections(settings: Settings, catalog: Catalog) -> dict[str, Connection]:
    """All connections by name, including the settings' source."""
    found = {d.ref.name: _body(d.body) for d in catalog.of_kind(Kind.CONNECTION)}
    if settings.source_url is not None:
        implied = _implied(settings)
        saved = found.get(SOURCE)
        if saved is not None:  # the address always comes from the settings
            choices = {"tables": saved.tables, "sync_seconds": saved.sync_seconds}
            implied = implied.model_copy(update=choices)
        found[SOURCE] = implied
    return dict(sorted(found.items()))


def is_source(settings: Settings, name: str) -> bool:
    """Whether the connection's address is ``TIPPERS_SOURCE_URL``."""
    return name == SOURCE and settings.source_url is not None


def is_optional(settings: Settings, name: str, table: ConnectionTable) -> bool:
    """Whether a campus's own database may do without a table: all but its spaces."""
    return is_source(settings, name) and table.name in _optional_tables(settings)


def schema_of(name: str) -> str:
    """The warehouse schema of a connection's tables."""
    return f"connection_{name}"


def _body(body: object) -> Connection:
    assert isinstance(body, Connection)
    return body


def _implied(settings: Settings) -> Connection:
    url = sa.make_url(sqlalchemy_url(databases(settings).source))
    # The log is read in place, by chunk.
    names = (settings.space_table, *_optional_tables(settings))
    return Connection(
        dialect="postgresql",
        host=url.host or _text(url.query, "host"),
        port=url.port,
        database=url.database or _text(url.query, "dbname") or "",
        user=url.username or _text(url.query, "user"),
        tables=tuple(ConnectionTable(name=n, schema_name=settings.source_schema) for n in names),
    )


def _optional_tables(settings: Settings) -> tuple[str, ...]:
    return settings.space_metadata_table, settings.faculty_table, settings.coverage_table


def _text(query: Mapping[str, tuple[str, ...] | str], name: str) -> str | None:
    value = query.get(name)
    return value if isinstance(value, str) else None
