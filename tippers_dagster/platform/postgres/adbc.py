"""Connections that read and write Arrow data in PostgreSQL in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from adbc_driver_manager import Error as ArrowDriverError

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

KEPT = 1
"""Connections to a database that a process keeps open; while more are needed, more are opened."""

RECYCLE_SECONDS = 600


def adbc_connection(url: str) -> dbapi.Connection:
    """A new connection, in a transaction; the caller closes it.

    The first connection to a database takes 40 ms, as the driver reads the server's types. Further
    ones are clones of it and take 3 ms, and as much again on the server.
    """
    return _first_connection(url).adbc_clone()


@contextmanager
def kept_connection(url: str) -> Iterator[dbapi.Connection]:
    """A connection that the process keeps open, in a new transaction that is rolled back after.

    For reading with queries of our own only: what one of them sets for its session, the next user
    of the connection finds.
    """
    with closing(_pool(url).connect()) as connection:
        yield cast("dbapi.Connection", connection)


@lru_cache(maxsize=8)
def _first_connection(url: str) -> dbapi.Connection:
    from adbc_driver_postgresql import dbapi  # it imports pandas

    # It stays idle, in no transaction. Clones use its types, and do not need it to be alive.
    return dbapi.connect(url, autocommit=True)


@lru_cache(maxsize=8)
def _pool(url: str) -> sa.QueuePool:
    pool = sa.QueuePool(
        lambda: cast(Any, _resting(url)),
        pool_size=KEPT,
        max_overflow=-1,
        recycle=RECYCLE_SECONDS,
    )
    sa.event.listen(pool, "checkout", _begin)
    sa.event.listen(pool, "checkin", _rest)
    return pool


def _resting(url: str) -> dbapi.Connection:
    connection = adbc_connection(url)
    connection.adbc_connection.set_autocommit(True)
    return connection


def _begin(connection: Any, _record: object, _proxy: object) -> None:
    """Begin a transaction, or let the pool replace a connection that the server has closed."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
        connection.adbc_connection.set_autocommit(False)
    except ArrowDriverError as error:
        raise sa.exc.DisconnectionError from error


def _rest(connection: Any, record: sa.PoolProxiedConnection) -> None:
    """Leave no transaction open, as the driver begins one after each that it rolls back."""
    if connection is not None:  # else the server closed it
        try:
            connection.adbc_connection.set_autocommit(True)
        except ArrowDriverError:
            record.invalidate()
