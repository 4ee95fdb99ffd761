"""Opening another database: read only, with a time limit, and nothing that a driver can do else.

What a driver raises may hold what it was given. So nothing of it leaves but its redacted words.
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
    driver_missing,
    fault,
    find_server,
    words_of,
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
"""A server from which nothing came for so long is taken to be gone."""

_APPLICATION = "tippers"

DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pymssql"}


@dataclass(frozen=True)
class Place:
    """Where a connection leads, and how to open it. Its representation shows no password.

    Attributes
    ----------
    url
        For SQLAlchemy.
    dsn
        The same for libpq; None for other databases than PostgreSQL.
    secrets
        What must not be in any message.
    """

    name: str
    body: Connection
    url: sa.URL
    dsn: str | None
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Place({self.name!r})"


def place_of(settings: Settings, name: str, body: Connection) -> Place:
    """Where a connection leads.

    Raises
    ------
    BadInput
        When the connection says what it may not.
    UnreadablePassword
        When its password cannot be opened.
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
    """The embedded server lets in whoever reaches its socket, as any role, also its superuser."""
    embedded = databases(settings).mlflow
    if embedded is None:
        return
    own = Path(parse_dsn(embedded)["host"])
    for host in (body.host or "").split(","):  # libpq tries one after another
        if host.startswith("/") and Path(host).is_dir() and own.samefile(host):
            raise BadInput(
                f"{name}: {host} is the deployment's own database server, not another one.",
                "What it holds is read by definitions.",
            )


def _url(body: Connection, password: str | None) -> sa.URL:
    if body.dialect == "sqlite":
        # The file is opened by its URI, for only there can it be said that it is not written to.
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


def _arguments(body: Connection) -> dict[str, Any]:
    """What the driver is told besides the URL."""
    if body.dialect == "postgresql":
        alive = {"keepalives_idle": 60, "keepalives_interval": 20, "keepalives_count": 5}
        told = {"connect_timeout": CONNECT_SECONDS, "application_name": _APPLICATION, **alive}
        return {**told, **body.options}
    if body.dialect == "mysql":
        return {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "charset": "utf8mb4",
            # Times with a zone come and go in UTC, whatever the server's zone is.
            "init_command": "SET SESSION time_zone = '+00:00'",
            **({"ssl": {"ca": body.options["ssl_ca"]}} if "ssl_ca" in body.options else {}),
        }
    if body.dialect == "mssql":
        return {"login_timeout": CONNECT_SECONDS, "timeout": ANSWER_SECONDS, **body.options}
    return {"timeout": CONNECT_SECONDS}


@contextmanager
def opened(settings: Settings, place: Place) -> Iterator[sa.Connection]:
    """A connection in a transaction that writes nothing.

    Raises
    ------
    ConnectionFault
        What is wrong, in a sentence; also for what fails while it is in use.
    """
    find_server(place.name, place.body)
    with _told_as_faults(settings, place):
        try:
            engine = sa.create_engine(
                place.url, poolclass=sa.NullPool, connect_args=_arguments(place.body)
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
    """As :func:`opened`, for PostgreSQL: Arrow straight from the server's binary COPY."""
    from adbc_driver_postgresql import dbapi

    assert place.dsn is not None
    find_server(place.name, place.body)
    # Not the clones of platform/postgres/adbc.py, which keep a first connection open for good.
    with _told_as_faults(settings, place), dbapi.connect(place.dsn) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            connection.commit()
        yield connection


@contextmanager
def _told_as_faults(settings: Settings, place: Place) -> Iterator[None]:
    from adbc_driver_manager import Error as ArrowDriverError

    try:
        yield
    except (sa.exc.SQLAlchemyError, ArrowDriverError) as error:
        said = redact(words_of(error), settings, place.secrets)
        # Not chained: the driver's error, and the frames it holds, may show the password.
        raise fault(place.name, place.body, said) from None
