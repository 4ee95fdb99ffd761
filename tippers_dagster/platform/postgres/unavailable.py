"""The errors that mean: a database is unavailable."""

from __future__ import annotations

import sys

_ERRORS = {
    "sqlalchemy.exc": ("OperationalError", "InterfaceError"),
    "psycopg2": ("OperationalError", "InterfaceError"),
    "adbc_driver_manager": ("OperationalError",),
    "dagster_postgres.utils": ("DagsterPostgresException",),
}


def unavailable_errors() -> tuple[type[Exception], ...]:
    """The error classes of the database libraries, for an ``except``.

    It imports none of them, since some take seconds: a library that is not imported has raised
    nothing.
    """
    return tuple(
        getattr(sys.modules[module], name)
        for module, names in _ERRORS.items()
        if module in sys.modules
        for name in names
    )
