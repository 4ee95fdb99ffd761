"""The roles that run definitions: the builder computes them, the reader previews them.

Both have their own login and are members of no role, so there are no rights to regain with
``RESET ROLE`` or ``set_config('role', ...)``. The *builder* is dbt's role: it owns the tables of
definitions, and may read their inputs. The *reader* may read the same, except the source's own
tables. Neither can read the application's tables. ``privileges`` lists the functions that they may
execute.

The roles are created at first use, by the embedded server's administrator or by the warehouse's
owner. On a deployment's server their passwords are derived from the device key; where the owner may
not create roles, ``tippers database prepare`` does, or ``TIPPERS_BUILDER_URL`` and
``TIPPERS_READER_URL`` name two roles that an administrator created.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg2
import sqlalchemy as sa
from adbc_driver_manager import Error as ArrowDriverError
from adbc_driver_postgresql import StatementOptions
from psycopg2 import sql
from psycopg2.extensions import encrypt_password, parse_dsn
from pydantic import SecretStr

from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.postgres.adbc import adbc_connection
from tippers_dagster.platform.postgres.databases import databases, libpq_url
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.functions import words
from tippers_dagster.sql.log import SCHEMA as LOG
from tippers_dagster.sql.names import SCHEMAS, STAGING
from tippers_dagster.sql.privileges import (
    GROUP,
    Login,
    builder_login,
    reader_login,
    restrict,
    restricted,
)

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

BUILDER = "tippers_builder"
READER = "tippers_reader"

ANSWERS = ("labels", "predictions", LOG)
"""Schemas of label models' and classifiers' results, and of the log: the owner writes them, models
read them."""

WRITTEN = (STAGING, *sorted(set(SCHEMAS.values()) - {*ANSWERS}))
"""Schemas in which dbt creates tables. The builder owns these."""

LOCK_TIMEOUT = "2s"

LIMITS = {
    BUILDER: {
        "lock_timeout": "10min",
        "idle_in_transaction_session_timeout": "1h",
        "statement_timeout": "6h",  # dbt sets a shorter one, TIPPERS_MODEL_TIMEOUT_SECONDS
        "work_mem": "32MB",
    },
    READER: {
        "default_transaction_read_only": "on",
        "lock_timeout": LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": "10min",
        "statement_timeout": "5min",  # previews set a shorter one, TIPPERS_SQL_TIMEOUT_SECONDS
        "work_mem": "16MB",
    },
}
"""Settings of the roles. SELECT cannot change them: that needs ``set_config``."""

TEMPORARY_FILES = {BUILDER: "50GB", READER: "4GB"}
"""Temporary files per session, for sorting; only a superuser can set or change this."""

CONNECTIONS = 50
"""Connections per role. The server allows 200 in total."""

_LOCK = 0x7469_7070_6572_7302
_MAX_ATTEMPTS = 8


@dataclass(frozen=True)
class Roles:
    """The names of the three roles of a warehouse."""

    owner: str
    builder: str
    reader: str
    further: frozenset[str] = frozenset()
    """Functions that the builder may execute besides the listed ones."""

    @property
    def logins(self) -> tuple[Login, Login]:
        """The builder and the reader, with the functions that they may execute."""
        return builder_login(self.builder, self.further), reader_login(self.reader)


def roles_of(settings: Settings) -> Roles:
    """The names of the roles.

    Raises
    ------
    SettingsError
        A URL names no user, or two name the same one.
    """
    urls = {
        "TIPPERS_DATABASE_URL": databases(settings).warehouse,
        "TIPPERS_BUILDER_URL": _given(settings.builder_url),
        "TIPPERS_READER_URL": _given(settings.reader_url),
    }
    named = {name: parse_dsn(url).get("user") if url else None for name, url in urls.items()}
    for name in ("TIPPERS_BUILDER_URL", "TIPPERS_READER_URL"):
        if urls[name] and not named[name]:
            raise SettingsError(
                f"{name} names no user.", "Expected postgresql://user:password@host:5432/database"
            )
    roles = Roles(
        named["TIPPERS_DATABASE_URL"] or os.environ.get("PGUSER") or getpass.getuser(),
        named["TIPPERS_BUILDER_URL"] or BUILDER,
        named["TIPPERS_READER_URL"] or READER,
        words(settings.builder_functions),
    )
    if len({roles.owner, roles.builder, roles.reader}) < 3:
        raise SettingsError(
            f"Owner ({roles.owner}), builder ({roles.builder}) and reader ({roles.reader}) must be "
            "three different roles.",
            "Fix TIPPERS_DATABASE_URL, TIPPERS_BUILDER_URL or TIPPERS_READER_URL.",
        )
    return roles


# --- logging in ---------------------------------------------------------------------------------
@contextmanager
def reading(
    settings: Settings, seconds: float, *, temporary_views: bool = False
) -> Iterator[dbapi.Cursor]:
    """A cursor of the reader in its own READ ONLY transaction, which is rolled back.

    Uses only the extended protocol, which accepts one statement at a time.

    Parameters
    ----------
    seconds
        Statement timeout.
    temporary_views
        Whether the transaction may write, as temporary views need; the caller makes it READ ONLY.

    Raises
    ------
    SettingsError
        There is no reader, and none can be created.
    """
    ensure_roles(settings)
    with _connect(settings, reader_url(settings)) as connection, connection.cursor() as cursor:
        # Otherwise the driver wraps queries in COPY, where EXPLAIN is not possible.
        cursor.adbc_statement.set_options(**{StatementOptions.USE_COPY.value: False})
        for setting in (
            f"TRANSACTION READ {'WRITE' if temporary_views else 'ONLY'}",
            f"LOCAL statement_timeout = '{round(seconds * 1000)}ms'",
            f"LOCAL lock_timeout = '{LOCK_TIMEOUT}'",
            "LOCAL search_path = pg_catalog",
            "LOCAL timezone = 'UTC'",
            "LOCAL standard_conforming_strings = on",
        ):
            cursor.execute(f"SET {setting}")
        yield cursor


@contextmanager
def built(settings: Settings) -> Iterator[dbapi.Connection]:
    """A connection as the builder, for reading dbt's results with no more rights than dbt.

    Raises
    ------
    SettingsError
        There is no builder, and none can be created.
    """
    ensure_roles(settings)
    with _connect(settings, builder_url(settings)) as connection:
        yield connection


def _connect(settings: Settings, url: str) -> dbapi.Connection:
    try:
        return adbc_connection(url)
    except ArrowDriverError as error:
        raise SettingsError(
            f"The database does not let the role {parse_dsn(url)['user']} log in.",
            "Does pg_hba.conf allow it? If another deployment created the role, its password "
            "differs, as it is derived from the device key: set it with "
            "`tippers database prepare`, or set TIPPERS_BUILDER_URL and TIPPERS_READER_URL.",
        ) from error


def builder_url(settings: Settings) -> str:
    """The libpq URL with which the builder logs in. Never print it."""
    return _given(settings.builder_url) or _url(settings, BUILDER)


def reader_url(settings: Settings) -> str:
    """The libpq URL with which the reader logs in. Never print it."""
    return _given(settings.reader_url) or _url(settings, READER)


def _given(url: SecretStr | None) -> str | None:
    return None if url is None else libpq_url(url.get_secret_value())


def _url(settings: Settings, role: str) -> str:
    url = urlsplit(databases(settings).warehouse)
    login = f"{role}:{quote(_password(settings, role))}@"
    others = [(k, v) for k, v in parse_qsl(url.query) if k not in ("user", "password")]
    host = url.netloc.rpartition("@")[2]
    return urlunsplit((url.scheme, login + host, url.path, urlencode(others), ""))


def _password(settings: Settings, role: str) -> str:
    return hmac.new(device_key(settings), role.encode(), hashlib.sha256).hexdigest()


# --- creating them ------------------------------------------------------------------------------
def ensure_roles(settings: Settings) -> None:
    """Create the roles and grant them what they need; only one query if nothing is missing.

    Safe in many processes at once.

    Raises
    ------
    SettingsError
        The warehouse's owner may not create roles or grant privileges, or a role can do more than
        it should.
    """
    _restrict_embedded(settings)
    roles = roles_of(settings)
    for attempt in range(_MAX_ATTEMPTS):
        try:
            with warehouse_engine(settings).connect() as connection:
                if not faults(connection, settings, roles):
                    return
            _make(settings, roles)
            return
        except (sa.exc.InternalError, sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
            # Two transactions changed one table's privileges, or the table was replaced meanwhile:
            # dbt creates tables all the time.
            passing = (
                psycopg2.errors.InternalError_,
                psycopg2.errors.DeadlockDetected,
                psycopg2.errors.UndefinedTable,
            )
            if attempt == _MAX_ATTEMPTS - 1 or not isinstance(error.orig, passing):
                raise
            time.sleep(0.05 * 2**attempt)


def _make(settings: Settings, roles: Roles) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        found = faults(connection, settings, roles)
        _refuse_too_powerful(found)
        if any(fault.what in ("role", "membership") for fault in found):
            _create_as_owner(connection, settings, roles, found)
            found = faults(connection, settings, roles)
        _give(connection, roles, found)
        left = faults(connection, settings, roles)
    if left:
        raise SettingsError(
            f"The role {roles.owner} cannot grant the roles that run definitions the rights they "
            f"need: {'; '.join(fault.text for fault in left[:5])}.",
            "Have an administrator run: "
            + " ".join(dict.fromkeys(fault.remedy(roles) for fault in left[:20])),
        )


def _refuse_too_powerful(found: Sequence[Fault]) -> None:
    powerful = next((fault.role for fault in found if fault.what == "power"), None)
    if powerful:
        raise SettingsError(
            f"The database role {powerful} has more rights than it should, so definitions do not "
            "run with it.",
            "Revoke its attributes and memberships, or set TIPPERS_BUILDER_URL or "
            "TIPPERS_READER_URL to a role that has none.",
        )


def _create_as_owner(
    connection: sa.Connection, settings: Settings, roles: Roles, found: Sequence[Fault]
) -> None:
    missing = [fault.role for fault in found if fault.what == "role"]
    foreign = [role for role in missing if role not in (BUILDER, READER)]
    if foreign:
        raise SettingsError(
            f"The role {foreign[0]} of TIPPERS_BUILDER_URL or TIPPERS_READER_URL is not on the "
            "warehouse's server.",
            "These URLs must use the same server and database as TIPPERS_DATABASE_URL.",
        )
    try:
        with connection.begin_nested():
            make_roles(connection, settings, roles)
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
            raise
        raise SettingsError(
            "The warehouse's owner may not create the roles that run definitions.",
            "Run: tippers database prepare --admin-url postgresql://postgres:...@host:5432/postgres"
            f"\nOr have an administrator run: "
            f"CREATE ROLE {BUILDER} LOGIN NOINHERIT PASSWORD '...'; "
            f"CREATE ROLE {READER} LOGIN NOINHERIT PASSWORD '...'; "
            f"GRANT {BUILDER} TO {roles.owner}; and set TIPPERS_BUILDER_URL and "
            f"TIPPERS_READER_URL to postgresql://{BUILDER}:...@host:5432/database and the like.",
        ) from None


def prepare(connection: sa.Connection, settings: Settings, roles: Roles) -> None:
    """Create the roles, set their limits, and restrict the functions of this database to them.

    The connection is a superuser's, in a transaction of the caller.
    """
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    make_roles(connection, settings, roles)
    restrict(connection, roles.owner, roles.logins)


def prepared(connection: sa.Connection, roles: Roles) -> bool:
    """Whether ``prepare`` has nothing to do."""
    found = connection.execute(
        sa.text(
            "SELECT rolname, rolconfig FROM pg_catalog.pg_roles "
            "WHERE rolname IN (:builder, :reader)"
        ),
        {"builder": roles.builder, "reader": roles.reader},
    )
    set_for = {row.rolname: set(row.rolconfig or ()) for row in found}
    wanted = {
        role: {f"{name}={value}" for name, value in _limits(ours).items()}
        for role, ours in ((roles.builder, BUILDER), (roles.reader, READER))
    }
    return set_for == wanted and restricted(connection, roles.logins)


def _limits(role: str) -> dict[str, str]:
    return {**LIMITS[role], "temp_file_limit": TEMPORARY_FILES[role]}


@lru_cache(maxsize=4)
def _restrict_embedded(settings: Settings) -> None:
    """Do what only an administrator can do, on the embedded server; once per process."""
    administrator = databases(settings).administrator
    if administrator is None:
        return
    warehouse_engine(settings)  # creates its tables
    roles = roles_of(settings)
    engine = sa.create_engine(sqlalchemy_url(administrator), poolclass=sa.NullPool)
    with engine.begin() as connection:
        if not prepared(connection, roles):
            prepare(connection, settings, roles)


def make_roles(connection: sa.Connection, settings: Settings, roles: Roles) -> None:
    """Create the builder and the reader, or reset those that have this version's names.

    Existing roles that the settings name are left unchanged.
    """
    is_superuser = connection.scalar(sa.text("SELECT current_setting('is_superuser') = 'on'"))
    for role, ours, url in (
        (roles.builder, BUILDER, builder_url(settings)),
        (roles.reader, READER, reader_url(settings)),
    ):
        there = connection.scalar(
            sa.text("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = :r"), {"r": role}
        )
        if there and role != ours:
            continue
        if not there or is_superuser:  # only superusers may revoke attributes
            how = "ALTER" if there else "CREATE"
            password = _secret(connection, url)
            _run(connection, f"{how} ROLE {{}} {_ATTRIBUTES} PASSWORD {{}}", role, password)
        limits = _limits(ours) if is_superuser else LIMITS[ours]
        for name, value in limits.items():
            _run(connection, f"ALTER ROLE {{}} SET {name} = {{}}", role, sql.Literal(value))
    _run(connection, "GRANT {} TO {}", roles.builder, roles.owner)


_ATTRIBUTES = (
    "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS "
    f"CONNECTION LIMIT {CONNECTIONS}"
)


def _secret(connection: sa.Connection, url: str) -> sql.Literal:
    """The password of a URL in the server's encrypted form."""
    raw = connection.connection.driver_connection
    assert raw is not None
    login = parse_dsn(url)
    given = login.get("password")
    return sql.Literal(
        None if given is None else encrypt_password(given, login["user"], raw, "scram-sha-256")
    )


# --- faults -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fault:
    """A problem with a role's rights; ``what`` is the query that found it."""

    what: str
    role: str
    schema: str | None = None
    table: str | None = None

    @property
    def text(self) -> str:
        """A description."""
        place = ".".join(filter(None, (self.schema, self.table)))
        return {
            "role": f"there is no role {self.role}",
            "power": f"{self.role} has more rights than it should",
            "membership": f"the owner is not a member of {self.role}",
            "connect": f"{self.role} may not connect or make temporary tables",
            "no schema": f"there is no schema {place}",
            "schema": f"{self.role} may not use the schema {place}",
            "owner": f"{place} does not belong to {self.role}",
            "select": f"{self.role} may not read {place}",
        }[self.what]

    def remedy(self, roles: Roles) -> str:
        """The statement that fixes it."""
        role, schema = self.role, self.schema
        create = ", CREATE" if role == roles.builder and schema in WRITTEN else ""
        return {
            "role": f"CREATE ROLE {role} LOGIN NOINHERIT PASSWORD '...';",
            "power": f"ALTER ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE;",
            "membership": f"GRANT {role} TO {roles.owner};",
            "connect": f"GRANT CONNECT, TEMPORARY ON DATABASE ... TO {role};",
            "no schema": f"CREATE SCHEMA {schema} AUTHORIZATION {roles.owner};",
            "schema": f"GRANT USAGE{create} ON SCHEMA {schema} TO {role};",
            "owner": f"ALTER TABLE {schema}.{self.table} OWNER TO {role};",
            "select": f"GRANT SELECT ON {schema}.{self.table} TO {role};",
        }[self.what]


_FAULTS = r"""
    WITH logins AS (
        SELECT r.*, rolname::text AS role, rolname = :builder AS builds
        FROM pg_catalog.pg_roles r WHERE rolname IN (:builder, :reader)
    ), places AS (
        SELECT oid, nspname::text AS schema, nspname = ANY(:written) AS written,
               nspname = :source AS source
        FROM pg_catalog.pg_namespace
        WHERE nspname = ANY(:schemas) OR nspname = :source OR nspname LIKE 'connection\_%'
    ), things AS (
        SELECT c.oid, c.relname::text AS name, c.relowner, p.schema, p.written, p.source
        FROM pg_catalog.pg_class c JOIN places p ON p.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f')
    )
    SELECT 'role' AS what, role, NULL AS schema, NULL AS name
    FROM unnest(ARRAY[:builder, :reader]) AS role WHERE role NOT IN (SELECT role FROM logins)
    UNION ALL
    SELECT 'power', role, NULL, NULL FROM logins
    WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
    OR pg_has_role(oid, current_user, 'MEMBER')
    OR EXISTS (SELECT FROM pg_catalog.pg_roles other
               WHERE other.oid <> logins.oid AND pg_has_role(logins.oid, other.oid, 'MEMBER')
               -- PostgreSQL's own roles give rights over the server or all tables.
               AND (starts_with(other.rolname, 'pg_') OR other.rolname IN (:builder, :group)))
    UNION ALL
    SELECT 'membership', role, NULL, NULL FROM logins
    WHERE builds AND NOT pg_has_role(current_user, oid, 'USAGE')
    UNION ALL
    SELECT 'connect', role, NULL, NULL FROM logins
    WHERE NOT has_database_privilege(oid, current_database(), 'CONNECT')
    OR NOT has_database_privilege(oid, current_database(), 'TEMPORARY')
    UNION ALL
    SELECT 'no schema', '', schema, NULL FROM unnest(CAST(:schemas AS text[])) AS schema
    WHERE schema NOT IN (SELECT schema FROM places)
    UNION ALL
    SELECT 'schema', role, schema, NULL FROM logins, places
    WHERE (builds OR NOT source) AND NOT has_schema_privilege(logins.oid, places.oid, 'USAGE')
    OR builds AND written AND NOT has_schema_privilege(logins.oid, places.oid, 'CREATE')
    UNION ALL
    SELECT 'owner', role, schema, name FROM logins, things
    WHERE builds AND written AND relowner <> logins.oid
    UNION ALL
    SELECT 'select', role, schema, name FROM logins, things
    WHERE (builds OR NOT source) AND NOT has_table_privilege(logins.oid, things.oid, 'SELECT')
    AND has_table_privilege(things.oid, 'SELECT')  -- otherwise definitions never read it
    ORDER BY 1, 2, 3, 4
"""


def faults(connection: sa.Connection, settings: Settings, roles: Roles) -> list[Fault]:
    """Rights that the roles lack, or have but should not; one query, run by the owner."""
    found = connection.execute(
        sa.text(_FAULTS),
        {
            "builder": roles.builder,
            "reader": roles.reader,
            "group": GROUP,
            "written": list(WRITTEN),
            "schemas": [*WRITTEN, *ANSWERS],
            # The tables of another database are copied to the schema of a connection.
            "source": settings.source_schema if settings.source_url is None else "",
        },
    )
    return [Fault(row.what, row.role, row.schema, row.name) for row in found]


# --- granting -----------------------------------------------------------------------------------
def _give(connection: sa.Connection, roles: Roles, found: Sequence[Fault]) -> None:
    """Grant the roles what they lack, as far as the owner can."""
    database = str(connection.scalar(sa.text("SELECT current_database()")))
    for fault in found:
        role, schema = fault.role, str(fault.schema)
        if fault.what == "connect":
            rights = "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}"
            _attempt(connection, rights, database, role)
        elif fault.what == "no schema":
            _attempt(connection, "CREATE SCHEMA IF NOT EXISTS {}", schema)
            _open(connection, roles, schema, roles.builder)
            _open(connection, roles, schema, roles.reader)
        elif fault.what == "schema":
            _open(connection, roles, schema, role)
    for fault in found:  # the new owner of a table needs CREATE on its schema
        if fault.what == "owner":
            place = str(fault.schema), str(fault.table)
            _attempt(connection, "ALTER TABLE {}.{} OWNER TO {}", *place, fault.role)
    for fault in found:
        if fault.what == "select":
            place = str(fault.schema), str(fault.table)
            _attempt(connection, "GRANT SELECT ON {}.{} TO {}", *place, fault.role)


def _open(connection: sa.Connection, roles: Roles, schema: str, role: str) -> None:
    """Let a role use a schema, and read what the owner and the builder create there later."""
    written = schema in WRITTEN
    rights = "USAGE, CREATE" if written and role == roles.builder else "USAGE"
    _attempt(connection, f"GRANT {rights} ON SCHEMA {{}} TO {{}}", schema, role)
    later = "IN SCHEMA {} GRANT SELECT ON TABLES TO {}"
    _attempt(connection, f"ALTER DEFAULT PRIVILEGES {later}", schema, role)
    if written and role != roles.builder:
        by = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} {later}"
        _attempt(connection, by, roles.builder, schema, role)


def _attempt(connection: sa.Connection, statement: str, *parts: str) -> None:
    """Run a statement for which the owner may lack the right; remaining faults are reported."""
    try:
        with connection.begin_nested():
            _run(connection, statement, *parts)
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
            raise


def _run(connection: sa.Connection, statement: str, *parts: str | sql.Literal) -> None:
    raw = connection.connection.driver_connection
    assert raw is not None
    names = (sql.Identifier(p) if isinstance(p, str) else p for p in parts)
    text = sql.SQL(statement).format(*names).as_string(raw)
    connection.exec_driver_sql(text.replace("%", "%%"))
