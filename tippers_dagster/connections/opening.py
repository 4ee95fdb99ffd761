"""Opens other databases: read only, with time limits and restricted driver options.

A driver's exception may contain its arguments, so only its redacted message is passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from psycopg2.extensions import parse_dsn

from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.connections.bodies import check_body, is_source
from tippers_dagster.connections.faults import (
    CONNECT_SECONDS,
    check_server,
    driver_message,
    driver_missing,
    fault,
)
from tippers_dagster.connections.secrets import decrypt
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.redaction import redact
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

ANSWER_SECONDS = 600
"""A server that sends nothing for this long counts as gone."""

_APPLICATION = "tippers"

DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pymssql"}


@dataclass(frozen=True)
class Place:
    """The address of a connection, for opening it. Its representation shows no password.

    Attributes
    ----------
    url
        For SQLAlchemy.
    dsn
        The same for libpq; None for databases other than PostgreSQL.
    secrets
        Values that must not appear in messages.
    """

    name: str
    body: Connection
    url: sa.URL
    dsn: str | None
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Place({self.name!r})"


def place_of(settings: Settings, name: str, body: Connection) -> Place:
    """The address of a connection.

    Raises
    ------
    BadInput
        When the connection's settings are invalid.
    UnreadablePassword
        When its password cannot be decrypted.
    """
    from psycopg2.extensions import make_dsn

    if is_source(settings, name):
        given = databases(settings).source
        url = sa.make_url(sqlalchemy_url(given))
        return Place(name, body, url, given, (url.password,) if url.password else ())
    check_body(name, body)
    _refuse_own_server(settings, name, body)
    password = decrypt(settings, name, body)
    url = _url(body, password)
    found = {
        "host": body.host,
        "port": body.port,
        "dbname": body.database,
        "user": body.user,
        "password": password,
        **body.options,
    }
    dsn = None
    if body.dialect == "postgresql":
        dsn = make_dsn(**{key: value for key, value in found.items() if value is not None})
    return Place(name, body, url, dsn, (password, quote(password)) if password else ())


def _refuse_own_server(settings: Settings, name: str, body: Connection) -> None:
    """Refuse the embedded server: through its socket anyone can log in as any role."""
    embedded = databases(settings).mlflow
    if embedded is None:
        return
    own = Path(parse_dsn(embedded)["host"])
    for host in (body.host or "").split(","):  # libpq tries several
        if host.startswith("/") and Path(host).is_dir() and own.samefile(host):
            raise BadInput(
                f"{name}: {host} is the deployment's own database server, not another one.",
                "Definitions can read its tables directly.",
            )


def _url(body: Connection, password: str | None) -> sa.URL:
    if body.dialect == "sqlite":
        # The file is opened by a URI, as only a URI can open it read only.
        file = f"file:{quote(body.database)}"
        return sa.URL.create("sqlite", database=file, query={"mode": "ro", "uri": "true"})
    return sa.URL.create(
        f"{body.dialect}+{DRIVERS[body.dialect]}",
        username=body.user,
        password=password,
        host=body.host,
        port=body.port,
        database=body.database,
    )


def _arguments(place: Place) -> dict[str, Any]:
    """The driver's arguments besides the URL."""
    body = place.body
    if body.dialect == "postgresql":
        alive = {"keepalives_idle": 60, "keepalives_interval": 20, "keepalives_count": 5}
        arguments = {"connect_timeout": CONNECT_SECONDS, "application_name": _APPLICATION, **alive}
        return {**arguments, **body.options}
    if body.dialect == "mysql":
        return {
            # The driver would encode it as Latin-1; everybody else uses UTF-8.
            **({"password": place.url.password.encode()} if place.url.password else {}),
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "charset": "utf8mb4",
            # Times with a zone are transferred in UTC, whatever the server's zone is.
            "init_command": "SET SESSION time_zone = '+00:00'",
            **({"ssl": {"ca": body.options["ssl_ca"]}} if "ssl_ca" in body.options else {}),
        }
    if body.dialect == "mssql":
        return {"login_timeout": CONNECT_SECONDS, "timeout": ANSWER_SECONDS, **body.options}
    return {"timeout": CONNECT_SECONDS}


@contextmanager
def opened(settings: Settings, place: Place) -> Iterator[sa.Connection]:
    """A connection in a read-only transaction.

    Raises
    ------
    ConnectionFault
        With the reason; also for errors while it is in use.
    """
    check_server(place.name, place.body)
    with _errors_as_faults(settings, place):
        try:
            engine = sa.create_engine(
                place.url, poolclass=sa.NullPool, connect_args=_arguments(place)
            )
        except ImportError:
            raise driver_missing(place.name, place.body) from None
        read_only = {"postgresql_readonly": True} if place.body.dialect == "postgresql" else {}
        with engine.connect().execution_options(**read_only) as connection:
            _only_read(connection)
            yield connection


def _only_read(connection: sa.Connection) -> None:
    if connection.dialect.name == "mysql":
        connection.exec_driver_sql("START TRANSACTION READ ONLY")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = on")


@contextmanager
def opened_for_arrow(settings: Settings, place: Place) -> Iterator[dbapi.Connection]:
    """Like :func:`opened`, for PostgreSQL: reads Arrow directly from the binary COPY format."""
    from adbc_driver_postgresql import dbapi

    assert place.dsn is not None
    check_server(place.name, place.body)
    # Not the clones of platform/postgres/adbc.py, which keep their first connection open.
    with _errors_as_faults(settings, place), dbapi.connect(place.dsn) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            connection.commit()
        yield connection


@contextmanager
def _errors_as_faults(settings: Settings, place: Place) -> Iterator[None]:
    from adbc_driver_manager import Error as ArrowDriverError

    try:
        yield
    except (sa.exc.SQLAlchemyError, ArrowDriverError) as error:
        message = redact(driver_message(error), settings, place.secrets)
        # Not chained: the driver's error and its frames may show the password.
        raise fault(place.name, place.body, message) from None
