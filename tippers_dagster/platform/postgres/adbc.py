"""Connections for bulk data: Arrow in and out of PostgreSQL."""

from __future__ import annotations

from functools import lru_cache

from adbc_driver_postgresql import dbapi


def adbc_connection(url: str) -> dbapi.Connection:
    """A new connection, in a transaction; to be closed by its user.

    The driver reads the server's types on the first connection to a database, which takes 40 ms;
    further ones are clones of it, and take 3.
    """
    return _first_connection(url).adbc_clone()


@lru_cache(maxsize=8)
def _first_connection(url: str) -> dbapi.Connection:
    # Idle from now on, in no transaction. Clones do not need it to be alive, only its types.
    return dbapi.connect(url, autocommit=True)
