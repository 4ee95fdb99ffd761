"""Connections that read and write Arrow data in PostgreSQL in bulk."""

from __future__ import annotations

from functools import lru_cache

from adbc_driver_postgresql import dbapi


def adbc_connection(url: str) -> dbapi.Connection:
    """A new connection, in a transaction; the caller closes it.

    The first connection to a database takes 40 ms, as the driver reads the server's types. Further
    ones are clones of it and take 3 ms.
    """
    return _first_connection(url).adbc_clone()


@lru_cache(maxsize=8)
def _first_connection(url: str) -> dbapi.Connection:
    # It stays idle, in no transaction. Clones use its types, and do not need it to be alive.
    return dbapi.connect(url, autocommit=True)
