"""What is raised when a database does not answer."""

from __future__ import annotations


def away_errors() -> tuple[type[Exception], ...]:
    """The classes of it, for an ``except``: evaluated only when there is something to catch."""
    import psycopg2
    import sqlalchemy as sa
    from adbc_driver_manager import OperationalError as AdbcOperationalError
    from dagster_postgres.utils import DagsterPostgresException  # it takes seconds

    return (
        sa.exc.OperationalError,
        sa.exc.InterfaceError,
        psycopg2.OperationalError,
        psycopg2.InterfaceError,
        AdbcOperationalError,
        DagsterPostgresException,
    )
