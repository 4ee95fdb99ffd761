"""The role with which user SQL is tried: it logs in by itself and can read, and nothing else.

Being another login, it cannot be left from within (``RESET ROLE``, ``set_config('role', ...)``):
there is nothing to go back to. The embedded server lets every local user in. On a deployment's
server the role is made with a password that follows from the device key; where the warehouse's
user may not make roles, ``TIPPERS_READER_URL`` names one that an administrator made.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg2
import sqlalchemy as sa
from adbc_driver_postgresql import StatementOptions, dbapi
from psycopg2 import sql
from psycopg2.extensions import encrypt_password, parse_dsn

from tippers_dagster.errors import SettingsError
from tippers_dagster.local.adbc import adbc_connection
from tippers_dagster.local.databases import databases, libpq_url
from tippers_dagster.local.keys import device_key
from tippers_dagster.settings import Settings
from tippers_dagster.sql.names import SCHEMAS, STAGING
from tippers_dagster.warehouse.engine import warehouse_engine

ROLE = "tippers_reader"
READABLE = (STAGING, *sorted(set(SCHEMAS.values())))
"""Schemas that the role may read, besides those of connections. They hold views and tables of the
source's rows; the source's own schema is not among them."""

LOCK_TIMEOUT = "2s"
TEMPORARY_FILES = "4GB"
"""What one query may write to disk while it sorts; only a superuser can set it."""

_LOCK = 0x7469_7070_6572_7302
_TRIES = 8
_DANGEROUS = (
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
    "pg_write_all_data",
    "pg_read_all_data",
)
_LACKING = """
    SELECT n.nspname FROM pg_catalog.pg_namespace n
    WHERE (n.nspname = ANY(:schemas) OR n.nspname LIKE 'connection\\_%')
    AND (NOT has_schema_privilege(:role, n.oid, 'USAGE')
         OR EXISTS (SELECT FROM pg_catalog.pg_class c
                    WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
                    AND NOT has_table_privilege(:role, c.oid, 'SELECT')))
    ORDER BY 1
"""


@contextmanager
def reading(
    settings: Settings, seconds: float, *, temporary_views: bool = False
) -> Iterator[dbapi.Cursor]:
    """A cursor of the reader in a READ ONLY transaction of its own, which is rolled back.

    Only the extended protocol is spoken, which takes one statement at a time.

    Parameters
    ----------
    seconds
        After which a statement is stopped.
    temporary_views
        Whether the transaction may write, as temporary views need; the caller makes it READ ONLY.

    Raises
    ------
    SettingsError
        There is no reader, and none can be made.
    """
    ensure_reader(settings)
    with _connect(settings) as connection, connection.cursor() as cursor:
        # Else the driver wraps queries in COPY, which EXPLAIN cannot be in.
        cursor.adbc_statement.set_options(**{StatementOptions.USE_COPY.value: False})
        cursor.execute(f"SET TRANSACTION READ {'WRITE' if temporary_views else 'ONLY'}")
        cursor.execute(
            "SELECT set_config('statement_timeout', $1, true), "
            f"set_config('lock_timeout', '{LOCK_TIMEOUT}', true), "
            "set_config('search_path', 'pg_catalog', true), "
            "set_config('timezone', 'UTC', true), "
            "set_config('standard_conforming_strings', 'on', true)",
            (f"{round(seconds * 1000)}ms",),
        )
        cursor.fetchall()
        yield cursor


def _connect(settings: Settings) -> dbapi.Connection:
    try:
        return adbc_connection(reader_url(settings))
    except dbapi.Error as error:
        raise SettingsError(
            f"The database does not let the role {_role(settings)} log in.",
            "Does pg_hba.conf allow it? A role that another deployment made has another password, "
            "as it follows from the device key: set TIPPERS_READER_URL then.",
        ) from error


def reader_url(settings: Settings) -> str:
    """The libpq URL with which the reader logs in. Never print it."""
    if settings.reader_url is not None:
        return libpq_url(settings.reader_url.get_secret_value())
    url = urlsplit(databases(settings).warehouse)
    login = f"{ROLE}:{quote(_password(settings))}@"
    others = [(k, v) for k, v in parse_qsl(url.query) if k not in ("user", "password")]
    host = url.netloc.rpartition("@")[2]
    return urlunsplit((url.scheme, login + host, url.path, urlencode(others), ""))


def ensure_reader(settings: Settings) -> None:
    """Make the role and let it read what it should; a query when all is as it should be.

    Safe in many processes at once.

    Raises
    ------
    SettingsError
        The warehouse's user may not make roles, or the role that is there can do more than read.
    """
    role = _role(settings)
    for attempt in range(_TRIES):
        try:
            with warehouse_engine(settings).connect() as connection:
                if _exists(connection, role):
                    _refuse_powerful(connection, role)
                    if not _lacking(connection, role):
                        return
            _make(settings, role)
            return
        except sa.exc.InternalError:
            # Two transactions changed the rights of one table; dbt makes tables all the time.
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.05 * 2**attempt)


def _role(settings: Settings) -> str:
    if settings.reader_url is None:
        return ROLE
    role = parse_dsn(reader_url(settings)).get("user")
    if not role:
        raise SettingsError(
            "TIPPERS_READER_URL names no user.", "postgresql://user:password@host:5432/database"
        )
    return str(role)


def _password(settings: Settings) -> str:
    return hmac.new(device_key(settings), ROLE.encode(), hashlib.sha256).hexdigest()


def _exists(connection: sa.Connection, role: str) -> bool:
    found = connection.execute(
        sa.text("SELECT FROM pg_catalog.pg_roles WHERE rolname = :role"), {"role": role}
    )
    return found.first() is not None


def _lacking(connection: sa.Connection, role: str) -> list[str]:
    """Readable schemas that the role cannot read all of, and those that are not there yet."""
    parameters = {"role": role, "schemas": list(READABLE)}
    lacking = connection.scalars(sa.text(_LACKING), parameters).all()
    there = connection.scalars(
        sa.text("SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY(:schemas)"),
        {"schemas": list(READABLE)},
    ).all()
    return [*lacking, *(schema for schema in READABLE if schema not in there)]


def _refuse_powerful(connection: sa.Connection, role: str) -> None:
    powerful = connection.scalar(
        sa.text(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls "
            "OR pg_has_role(rolname, current_user, 'MEMBER') OR EXISTS ("
            "  SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = ANY(:dangerous) "
            "  AND pg_has_role(r.rolname, g.rolname, 'MEMBER')) "
            "FROM pg_catalog.pg_roles r WHERE rolname = :role"
        ),
        {"role": role, "dangerous": list(_DANGEROUS)},
    )
    if powerful:
        raise SettingsError(
            f"The database role {role} may do more than read; user SQL is not tried with it.",
            "Take those rights from it, or let TIPPERS_READER_URL name a role that has none.",
        )


def _make(settings: Settings, role: str) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        if not _exists(connection, role):
            _create(connection, settings, role)
        for schema in _lacking(connection, role):
            _grant(connection, schema, role)


def _create(connection: sa.Connection, settings: Settings, role: str) -> None:
    if settings.reader_url is not None:
        raise SettingsError(
            f"The role {role} of TIPPERS_READER_URL is not on the warehouse's server.",
            "The reader works on the same database as TIPPERS_DATABASE_URL.",
        )
    raw = connection.connection.driver_connection
    assert raw is not None
    secret = encrypt_password(_password(settings), role, scope=raw, algorithm="scram-sha-256")
    options = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS"
    try:
        with connection.begin_nested():
            _run(connection, f"CREATE ROLE {{}} {options} PASSWORD {{}}", role, sql.Literal(secret))
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
            raise
        raise SettingsError(
            "The warehouse's user may not make the role that user SQL is tried with.",
            f"Let an administrator run: CREATE ROLE {role} LOGIN PASSWORD '...'; and set "
            f"TIPPERS_READER_URL to postgresql://{role}:...@host:5432/database",
        ) from None
    _run(connection, "ALTER ROLE {} SET default_transaction_read_only = on", role)
    if connection.scalar(sa.text("SELECT current_setting('is_superuser')::bool")):
        _run(connection, f"ALTER ROLE {{}} SET temp_file_limit = '{TEMPORARY_FILES}'", role)


def _grant(connection: sa.Connection, schema: str, role: str) -> None:
    if not schema.startswith("connection_"):
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", schema, role)
    _run(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}", schema, role)
    # Those that the same user makes later.
    _run(
        connection,
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT SELECT ON TABLES TO {}",
        schema,
        role,
    )


def _run(connection: sa.Connection, statement: str, *parts: str | sql.Literal) -> None:
    raw = connection.connection.driver_connection
    assert raw is not None
    names = (sql.Identifier(p) if isinstance(p, str) else p for p in parts)
    text = sql.SQL(statement).format(*names).as_string(raw)
    connection.exec_driver_sql(text.replace("%", "%%"))
