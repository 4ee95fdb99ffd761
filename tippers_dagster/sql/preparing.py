"""Prepares a deployment's server: the owner, its databases, and the other roles.

The embedded server is prepared when it starts. Another server needs an administrator, once and
each upgrade. Earlier versions used one superuser for everything; its objects are transferred to
the owner here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import encrypt_password, make_dsn, parse_dsn

from tippers_dagster.errors import SettingsError, TippersError
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.owner import (
    administering,
    allow_login,
    keep_to_owner,
    make_database,
    make_owner,
    transfer_ownership,
)
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.privileges import beyond, statements
from tippers_dagster.sql.roles import Roles, ensure_roles, prepare, prepared, roles_of


@dataclass(frozen=True)
class _Server:
    """The server to prepare; ``databases`` with their owners, the warehouse first."""

    administrator: str
    roles: Roles
    password: str | None
    databases: dict[str, str]

    def url(self, database: str) -> str:
        """The administrator's connection string for a database."""
        return make_dsn(self.administrator, dbname=database)


def prepare_server(settings: Settings, administrator: str, also: tuple[str, ...]) -> Iterator[str]:
    """Prepare the server of ``TIPPERS_DATABASE_URL``; yields a line for each step.

    Nothing is lost, and every step can be repeated. A step that fails stops it with an error.

    Parameters
    ----------
    administrator
        A libpq URL of a superuser.
    also
        Further databases for the owner, such as MLflow's.

    Raises
    ------
    TippersError
        The settings name no server, or name the administrator as the owner; a database is in use.
    """
    server = _server(settings, administrator, also)
    owner = server.roles.owner
    with administering(server.administrator) as cursor:
        _refuse_weak(cursor)
        secret = None
        if server.password is not None:
            secret = encrypt_password(server.password, owner, cursor, "scram-sha-256")
        made = make_owner(cursor, owner, secret)
        yield f"role {owner}: {'created' if made else 'exists'}, not a superuser"
        for name, whose in server.databases.items():
            made = make_database(cursor, name, whose)
            yield f"database {name}: {'created' if made else 'exists'}, owned by {whose}"
        closed = ["postgres", "template1", *list(server.databases)[1:]]
        keep_to_owner(cursor, closed)
        yield f"databases {', '.join(closed)}: accessible to their owners only"
        for name, whose in server.databases.items():
            yield f"database {name}: {_given(server, name, whose)} objects transferred to {whose}"
        yield _restrict(settings, server)
        allow_login(cursor, owner)
    ensure_roles(settings)
    yield "schemas and tables: the builder owns the tables of definitions and can read the others"


def _server(settings: Settings, administrator: str, also: tuple[str, ...]) -> _Server:
    if settings.database_url is None:
        raise SettingsError(
            "The embedded server is prepared when it starts; there is nothing to do.",
            "For another server, set TIPPERS_DATABASE_URL to the application's URL.",
        )
    roles = roles_of(settings)
    found = databases(settings)
    warehouse, dagster = parse_dsn(found.warehouse), parse_dsn(found.dagster)
    if parse_dsn(administrator).get("user") == roles.owner:
        raise SettingsError(
            f"TIPPERS_DATABASE_URL names the administrator, {roles.owner}, as the owner.",
            "Use another role, such as tippers_owner, with its own password; it will be created.",
        )
    names = {warehouse["dbname"]: roles.owner}
    if settings.dagster_url is not None and dagster.get("host") == warehouse.get("host"):
        names[dagster["dbname"]] = dagster.get("user", roles.owner)
    names |= dict.fromkeys(also, roles.owner)
    return _Server(administrator, roles, warehouse.get("password"), names)


def _refuse_weak(cursor: psycopg2.extensions.cursor) -> None:
    cursor.execute("SELECT current_user, current_setting('is_superuser') = 'on'")
    name, strong = cursor.fetchone() or ("?", False)
    if not strong:
        raise TippersError(
            f"The role {name} is not a superuser, and cannot restrict PostgreSQL's built-in "
            "functions.",
            "Without a superuser, create the roles by hand (docs/operations.md); `tippers doctor` "
            "shows what remains open.",
        )


def _given(server: _Server, name: str, owner: str) -> int:
    with _waiting_briefly(name), closing(psycopg2.connect(server.url(name))) as connection:
        return transfer_ownership(connection, owner)


@contextmanager
def _waiting_briefly(name: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.errors.LockNotAvailable as error:
        raise TippersError(
            f"Tables of the database {name} are in use.",
            "Stop the services of the deployment, and run it again: finished steps stay done.",
        ) from error


def _restrict(settings: Settings, server: _Server) -> str:
    def connect() -> psycopg2.extensions.connection:
        return psycopg2.connect(server.url(next(iter(server.databases))))

    engine = sa.create_engine("postgresql+psycopg2://", creator=connect, poolclass=sa.NullPool)
    names = f"roles {server.roles.builder} and {server.roles.reader}"
    with engine.begin() as connection:
        if prepared(connection, server.roles):
            return f"{names}: up to date"
        prepare(connection, settings, server.roles)
    return f"{names}: created, limited, and restricted to the listed functions"


# --- without a superuser ------------------------------------------------------------------------
def restricting_sql(settings: Settings) -> list[str]:
    """The statements for a superuser to run in the warehouse's database to restrict functions."""
    ensure_roles(settings)
    roles = roles_of(settings)
    with warehouse_engine(settings).connect() as connection:
        return list(statements(connection, roles.owner, roles.logins))


def open_functions(connection: sa.Connection, roles: Roles) -> dict[str, list[str]]:
    """Functions that the builder and the reader may execute but should not."""
    return {login.role: beyond(connection, login) for login in roles.logins}
