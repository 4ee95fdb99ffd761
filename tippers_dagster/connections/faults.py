"""What is wrong with a connection, as a sentence, whatever its driver says."""

from __future__ import annotations

import re
import socket

import sqlalchemy as sa

from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.errors import TippersError

CONNECT_SECONDS = 10
"""A server that does not answer for so long is taken to be unreachable."""

DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
EXTRAS = {"mssql": "mssql"}

_AUTHENTICATION = re.compile(
    r"authentication failed|no pg_hba.conf entry|no password supplied|role .* does not exist"
    r"|\(1045,|\(1698,|\b18456\b|[Ll]ogin failed"
)
_DATABASE = re.compile(r"database .* does not exist|\(104[49],|\b4060\b|\b911\b")
_ENCRYPTION = re.compile(r"(?i)\bssl\b|certificate")


class ConnectionFault(TippersError):
    """Another database that cannot be reached, or a table of it that cannot be read."""


def find_server(name: str, body: Connection) -> None:
    """Look whether somebody answers at the connection's address.

    Raises
    ------
    ConnectionFault
        When the host is unknown, refuses, or does not answer.
    """
    host = body.host or "/"  # SQLite; or libpq's own folder of sockets
    if host.startswith("/") or "," in host:  # libpq tries several by itself
        return
    port = body.port or DEFAULT_PORTS[body.dialect]
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except socket.gaierror:
        raise ConnectionFault(
            f"{name}: there is no host {body.host!r}.", "Mend its name, or ask for its address."
        ) from None
    except TimeoutError:
        raise ConnectionFault(
            f"{name}: {body.host}:{port} does not answer within {CONNECT_SECONDS} s.",
            "A firewall may stand between.",
        ) from None
    except OSError as error:
        raise ConnectionFault(
            f"{name}: {body.host}:{port} refuses the connection ({error.strerror or error}).",
            "Is the database running there, and is that its port?",
        ) from None


def fault(name: str, body: Connection, said: str) -> ConnectionFault:
    """The fault behind what a driver said, which must be redacted already."""
    said = said.strip()
    if _DATABASE.search(said):
        return ConnectionFault(
            f"{name}: the server has no database {body.database!r}, or does not show it to "
            f"{body.user}.",
            "Mend --database.",
        )
    if _AUTHENTICATION.search(said):
        return ConnectionFault(
            f"{name}: the server does not let {body.user!r} in: wrong user or password.",
            f"Give it again: tippers connections edit {name} --password-stdin",
        )
    if _ENCRYPTION.search(said):
        return ConnectionFault(f"{name}: no encrypted connection could be made: {said}")
    return ConnectionFault(f"{name}: {said}")


def driver_missing(name: str, body: Connection) -> ConnectionFault:
    """The fault of a dialect whose driver is not installed."""
    return ConnectionFault(
        f"{name}: the driver for {body.dialect} is not installed.",
        f"Install it: pip install 'tippers[{EXTRAS.get(body.dialect, body.dialect)}]'",
    )


def words_of(error: Exception) -> str:
    """What a driver said, without SQLAlchemy's statement and links."""
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        return str(error.orig)
    return str(error)
