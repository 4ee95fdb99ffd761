"""Connections that read and write Arrow data in PostgreSQL in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, cast

import sqlalchemy as sa
from adbc_driver_postgresql import dbapi

POOL_SIZE = 1
"""Connections to a database that a process keeps open; while more are needed, more are opened."""

RECYCLE_SECONDS = 600


def adbc_connection(url: str) -> dbapi.Connection:
    """A new connection, in a transaction; the caller closes it.

    The first connection to a database takes 40 ms, as the driver reads the server's types. Further
    ones are clones of it and take 3 ms.
    """
    return _first_connection(url).adbc_clone()


@contextmanager
def pooled_adbc_connection(url: str) -> Iterator[dbapi.Connection]:
    """A connection that the process keeps open, in a transaction that is rolled back after use.

    For reading with queries of our own only: what a session sets, the next one to use the
    connection finds.
    """
    with closing(_pool(url).connect()) as pooled:
        yield cast(dbapi.Connection, pooled)


@lru_cache(maxsize=8)
def _first_connection(url: str) -> dbapi.Connection:
    # It stays idle, in no transaction. Clones use its types, and do not need it to be alive.
    return dbapi.connect(url, autocommit=True)


@lru_cache(maxsize=8)
def _pool(url: str) -> sa.QueuePool:
    pool = sa.QueuePool(
        lambda: cast(Any, adbc_connection(url)),
        pool_size=POOL_SIZE,
        max_overflow=-1,
        recycle=RECYCLE_SECONDS,
    )
    sa.event.listen(pool, "checkout", _require_alive)
    return pool


def _require_alive(connection: Any, _record: Any, _proxy: Any) -> None:
    """Let the pool replace a connection that the server has closed, after a restart say."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except dbapi.Error as error:
        raise sa.exc.DisconnectionError from error
