"""Column statistics, compared with plain calculations."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.statistics import (
    QUANTILES,
    ColumnStatistics,
    estimated_statistics,
    plain,
    table_statistics,
)


def only(values: pa.Array, name: str = "x") -> ColumnStatistics:
    (found,) = table_statistics(pa.table({name: values}))
    json.dumps(found.as_json(), allow_nan=False)
    return found


def test_numbers() -> None:
    values = np.arange(1, 102, dtype=float)
    found = only(pa.array([*values, None, float("nan"), 5.0]))
    assert (found.nulls, found.distinct) == (2, 101)
    assert (found.minimum, found.maximum) == (1.0, 101.0)
    expected = np.quantile([*values, 5.0], QUANTILES)
    np.testing.assert_allclose(found.quantiles, expected)
    assert found.top == ((5.0, 2),)


def test_texts_and_booleans() -> None:
    found = only(pa.array(["b", "a", "b", None, "c" * 100]))
    assert (found.nulls, found.distinct, found.minimum) == (1, 3, "a")
    assert found.maximum == "c" * 79 + "…"
    assert found.quantiles == ()
    assert found.top == (("b", 2),)
    assert only(pa.array([True, False, True])).top == ((True, 2),)


def test_times_and_dates() -> None:
    days = [dt.datetime(2025, 1, day) for day in range(1, 12)]
    found = only(pa.array(days, pa.timestamp("us")))
    assert found.minimum == "2025-01-01 00:00:00"
    assert found.quantiles[2] == "2025-01-06 00:00:00"
    found = only(pa.array([day.date() for day in days]))
    assert found.quantiles[2] == "2025-01-06"


def test_device_ids_are_only_counted() -> None:
    found = only(pa.array([1, 1, 2**63], pa.uint64()), "device_id")
    assert found == ColumnStatistics("device_id", "uint64", 0, 2)


def test_empty_and_null_columns() -> None:
    assert only(pa.array([], pa.float64())).distinct == 0
    assert only(pa.array([None, None], pa.string())).nulls == 2
    assert table_statistics(pa.table({})) == []


def test_values_that_json_lacks() -> None:
    assert plain(float("inf")) == "inf"
    assert plain(1 / 3) == 0.333333
    assert plain(None) is None


def test_estimates_by_postgresql(stack: Settings) -> None:
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE public.seen AS SELECT 'm' || n AS mac_address, n % 10 AS tenth, "
                "n::numeric AS n, nullif(n % 4, 0) AS rest FROM generate_series(1, 1000) n"
            )
        )
        connection.execute(sa.text("ANALYZE public.seen"))
        found = {s.column: s for s in estimated_statistics(connection, "public", "seen", 1000)}
    assert list(found) == ["mac_address", "tenth", "n", "rest"]
    assert found["mac_address"] == ColumnStatistics("mac_address", "text", 0, 1000)
    assert found["tenth"].distinct == 10
    assert all(count == 100 for _, count in found["tenth"].top)
    assert (found["n"].minimum, found["n"].maximum) == ("1", "1000")
    assert abs(float(found["n"].quantiles[2]) - 500) < 20
    assert found["rest"].nulls == 250
