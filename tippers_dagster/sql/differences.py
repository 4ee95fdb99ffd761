"""Refuses SQL to which the two engines give different results without an error.

``docs/definitions.md`` lists all differences. Most are errors of the engine, with the place; what
is refused here would be another number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tippers_dagster.sql.functions import words
from tippers_dagster.sql.guard import check, refuse

if TYPE_CHECKING:
    from sqlglot import exp

_FRACTIONS = words(
    """
    avg corr covar_pop covar_samp exp ln log percentile_cont power sqrt stddev stddev_pop
    stddev_samp var_pop var_samp variance
    """
)
"""Functions whose results have digits after the point in both engines."""

_FRACTIONAL_TYPES = {"DECIMAL", "DOUBLE", "FLOAT"}


def refuse_differences(sql: str) -> None:
    """Refuse the quotient of a sum and a whole number.

    Whole numbers are divided without a remainder. The sum of ``bigint`` is one in DuckDB; in
    PostgreSQL it is ``numeric``, and the quotient has digits after the point.

    Raises
    ------
    RefusedSQL
        With the place, and what to write.
    """
    from sqlglot import exp

    for division in check(sql).tree.find_all(exp.Div):
        parts = list(division.walk())
        if any(map(_is_sum, parts)) and not any(map(_is_fraction, parts)):
            raise refuse(
                division,
                "difference",
                "What sum(...) is divided by may leave a remainder, which one engine keeps and the "
                "other drops.",
                "Write sum(...)::double precision / ... to keep it, or div(sum(...), ...) to drop "
                "it.",
            )


def _is_sum(node: exp.Expr) -> bool:
    return _function(node) == "sum"


def _is_fraction(node: exp.Expr) -> bool:
    from sqlglot import exp

    if isinstance(node, exp.Cast):
        return node.to.this.name in _FRACTIONAL_TYPES
    if isinstance(node, exp.Literal):
        return not node.is_string and not str(node.this).isdigit()
    return _function(node) in _FRACTIONS


def _function(node: exp.Expr) -> str | None:
    from sqlglot import exp

    return str(node.this) if isinstance(node, exp.Anonymous) else None
