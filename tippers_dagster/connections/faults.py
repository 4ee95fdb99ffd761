"""Turns errors of connections, from any driver, into messages."""

from __future__ import annotations

import re
import socket

import sqlalchemy as sa

from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.errors import TippersError

CONNECT_SECONDS = 10
"""A server that does not answer within this time counts as unreachable."""

DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
EXTRAS = {"mssql": "mssql"}

_AUTHENTICATION = re.compile(
    r"authentication failed|no pg_hba.conf entry|no password supplied|role .* does not exist"
    r"|\(1045,|\(1698,|\b18456\b|[Ll]ogin failed"
)
_DATABASE = re.compile(r"database .* does not exist|\(104[49],|\b4060\b|\b911\b")
_PERMISSION = re.compile(r"permission denied for|\(114[23],|permission was denied")
_BROKEN = re.compile(
    r"\(2006,|\(2013,|\(1927,|server closed the connection|terminating connection"
    r"|connection to server was lost|DBPROCESS is dead"
)
_ENCRYPTION = re.compile(r"(?i)\bssl\b|certificate")


class ConnectionFault(TippersError):
    """Another database cannot be reached, or one of its tables cannot be read."""


def check_server(name: str, body: Connection) -> None:
    """Check that a server listens at the connection's address.

    Raises
    ------
    ConnectionFault
        When the host is unknown, refuses, or does not answer.
    """
    host = body.host or "/"  # SQLite; or libpq's own folder of sockets
    if host.startswith("/") or "," in host:  # libpq itself tries several
        return
    port = body.port or DEFAULT_PORTS[body.dialect]
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except socket.gaierror:
        raise ConnectionFault(
            f"{name}: there is no host {body.host!r}.", "Fix the host name, or use its address."
        ) from None
    except TimeoutError:
        raise ConnectionFault(
            f"{name}: {body.host}:{port} does not answer within {CONNECT_SECONDS} s.",
            "A firewall may block the connection.",
        ) from None
    except OSError as error:
        raise ConnectionFault(
            f"{name}: {body.host}:{port} refuses the connection ({error.strerror or error}).",
            "Check that the database is running there, on this port.",
        ) from None


def fault(name: str, body: Connection, message: str) -> ConnectionFault:
    """The fault behind a driver's message, which must already be redacted."""
    message = message.strip()
    if _DATABASE.search(message):
        return ConnectionFault(
            f"{name}: the server has no database {body.database!r}, or {body.user} may not see it.",
            "Fix --database.",
        )
    if _AUTHENTICATION.search(message):
        return ConnectionFault(
            f"{name}: the server rejects the login of {body.user!r}: wrong user or password.",
            f"Set the password again: tippers connections edit {name} --password-stdin",
        )
    if _PERMISSION.search(message):
        return ConnectionFault(
            f"{name}: {body.user} may not read it: {message}",
            f"In that database: GRANT SELECT on the table or view to {body.user}.",
        )
    if _BROKEN.search(message):
        return ConnectionFault(
            f"{name}: the connection broke: {message}",
            "Nothing was changed. Try again; if it happens again, look at that database's log.",
        )
    if _ENCRYPTION.search(message):
        return ConnectionFault(f"{name}: could not encrypt the connection: {message}")
    return ConnectionFault(f"{name}: {message}")


def driver_missing(name: str, body: Connection) -> ConnectionFault:
    """The fault for a dialect whose driver is not installed."""
    return ConnectionFault(
        f"{name}: the driver for {body.dialect} is not installed.",
        f"Install it: pip install 'tippers[{EXTRAS.get(body.dialect, body.dialect)}]'",
    )


def driver_message(error: Exception) -> str:
    """A driver's message, without SQLAlchemy's statement and links."""
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        return str(error.orig)
    return str(error)
