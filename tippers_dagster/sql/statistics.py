"""Column statistics of a table: nulls, distinct values, range, quantiles, top values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.campus.identities import DEVICE_ID, lake_name

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP = 5
"""How many of the most frequent values are shown; only values that occur more than once."""

MAX_VALUE_CHARACTERS = 80
"""Maximum characters of a text that are shown."""


@dataclass(frozen=True)
class ColumnStatistics:
    """One column's statistics; values are numbers or texts, as in JSON.

    ``quantiles`` are in the order of ``QUANTILES``, empty for types without a useful order; ``top``
    has values and their frequencies. For device ids only ``nulls`` and ``distinct`` are meaningful.
    """

    column: str
    type: str
    nulls: int
    distinct: int
    minimum: Any = None
    maximum: Any = None
    quantiles: tuple[Any, ...] = ()
    top: tuple[tuple[Any, int], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The statistics as a JSON dictionary."""
        return asdict(self)


def table_statistics(table: pa.Table) -> list[ColumnStatistics]:
    """The statistics of every column, each in a few vectorised passes."""
    return [
        _column(name, column)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]


def _column(name: str, column: pa.ChunkedArray) -> ColumnStatistics:
    values = column.drop_null()
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    counts = values.value_counts()
    common = ColumnStatistics(name, str(column.type), len(column) - len(values), len(counts))
    if name == DEVICE_ID or name.endswith(f"_{DEVICE_ID}") or not len(values):
        return common
    ends = pc.min_max(values)
    return ColumnStatistics(
        common.column,
        common.type,
        common.nulls,
        common.distinct,
        plain(ends["min"].as_py()),
        plain(ends["max"].as_py()),
        _quantiles(values),
        _top(counts),
    )


def _quantiles(values: pa.ChunkedArray) -> tuple[Any, ...]:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return tuple(map(plain, pc.quantile(values, list(QUANTILES)).to_pylist()))
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        integers = values.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        found = pc.quantile(integers, list(QUANTILES), interpolation="lower")
        return tuple(map(plain, found.cast(integers.type).cast(kind).to_pylist()))
    return ()


def _top(counts: pa.StructArray) -> tuple[tuple[Any, int], ...]:
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    order = np.argsort(-repeated.field("counts").to_numpy(), kind="stable")[:TOP]
    first = repeated.take(pa.array(order)).to_pylist()
    return tuple((plain(row["values"]), row["counts"]) for row in first)


def plain(value: Any) -> Any:
    """A value for JSON: numbers and booleans unchanged, anything else as a short text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 1]}…"


# --- estimated by PostgreSQL --------------------------------------------------------------------
_PG_STATS = sa.text(
    "SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, s.null_frac, "
    "s.n_distinct, s.histogram_bounds::text::text[] AS bounds, "
    "s.most_common_vals::text::text[] AS common, s.most_common_freqs AS shares "
    "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname "
    "AND s.attname = a.attname "
    "WHERE n.nspname = :schema AND c.relname = :name AND a.attnum > 0 ORDER BY a.attnum"
)


def estimated_statistics(
    connection: sa.Connection, schema: str, name: str, rows: int
) -> list[ColumnStatistics]:
    """Statistics that PostgreSQL estimated with ``ANALYZE``, for tables too large to read.

    Values are texts, as PostgreSQL writes them.
    """
    found = connection.execute(_PG_STATS, {"schema": schema, "name": name})
    return [_estimated(row, rows) for row in found]


def _estimated(row: sa.Row[Any], rows: int) -> ColumnStatistics:
    share = row.n_distinct
    distinct = round(share if share >= 0 else -share * rows)
    nulls = round(row.null_frac * rows)
    if lake_name(row.name) != row.name:
        return ColumnStatistics(row.name, row.type, nulls, distinct)
    bounds = row.bounds or ()
    last = len(bounds) - 1
    top = zip(row.common or (), row.shares or (), strict=True)
    return ColumnStatistics(
        row.name,
        row.type,
        nulls,
        distinct,
        plain(bounds[0]) if bounds else None,
        plain(bounds[-1]) if bounds else None,
        tuple(plain(bounds[round(q * last)]) for q in QUANTILES) if bounds else (),
        tuple((plain(value), round(part * rows)) for value, part in list(top)[:TOP]),
    )
