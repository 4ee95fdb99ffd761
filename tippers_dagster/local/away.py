"""The errors raised when a database is unavailable."""

from __future__ import annotations


def away_errors() -> tuple[type[Exception], ...]:
    """Exception classes for an ``except`` clause; imported only when an error is handled."""
    import psycopg2
    import sqlalchemy as sa
    from adbc_driver_manager import OperationalError as AdbcOperationalError
    from dagster_postgres.utils import DagsterPostgresException  # takes seconds to import

    return (
        sa.exc.OperationalError,
        sa.exc.InterfaceError,
        psycopg2.OperationalError,
        psycopg2.InterfaceError,
        AdbcOperationalError,
        DagsterPostgresException,
    )
