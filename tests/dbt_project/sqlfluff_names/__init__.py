"""The names of dbt's Jinja context that our models use and sqlfluff does not know.

sqlfluff loads this package (`library_path` in `.sqlfluff`) when it renders models without dbt.
"""

from __future__ import annotations

execute = False


class adapter:
    """dbt's adapter: quotes names as PostgreSQL does."""

    @staticmethod
    def quote(name: object) -> str:
        return f'"{name}"'


class dbt:
    """dbt's own macros."""

    @staticmethod
    def string_literal(value: object) -> str:
        return f"'{value}'"


def var(name: str, default: object = None) -> object:
    """A variable of the project: a mapping of column names is empty, all others are text."""
    return {} if name.endswith("_columns") else "1"
