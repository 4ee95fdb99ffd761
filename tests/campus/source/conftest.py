"""A MariaDB server, for logs that are read from its tables."""

from tests.mariadb import mariadb, mariadb_server

__all__ = ["mariadb", "mariadb_server"]
