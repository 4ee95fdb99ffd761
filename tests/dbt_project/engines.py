"""Compares what the two SQL engines give for the same queries."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tests.dbt_project.generated import query
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.duckdb.contents import everything, lake_sandbox
from tippers_dagster.sql.names import NameTable, Place, ref_place
from tippers_dagster.sql.project import rendered_project
from tippers_dagster.sql.translate import translate

QUERIES = 300


def check_generated_queries(on_postgres: Settings, on_lake: Settings) -> None:
    """Run the same queries in a deployment on PostgreSQL and in one on DuckDB, and compare them."""
    project = rendered_project(on_lake, Catalog(()))
    index = Ref("device", "devices", Kind.INDEX)
    staging = {name.partition(".")[2]: name for name, _ in project.staging_views}
    names = NameTable(
        {name: Place("staging", name, f"ref('{name}')") for name in staging}
        | {"device.devices": ref_place(index)}
    )
    given = everything(project.manifest, project.staging_views)
    with lake_sandbox(on_lake, given, statement_seconds=60) as box:
        for seed in range(QUERIES):
            sql = query(seed)
            plain = translate(sql, concept="device", index=index, key="mac_address", names=names)
            wanted = _normal(_on_postgres(on_postgres, plain.sql_plain))
            found = _normal(row.values() for row in box.query(plain.sql_plain, 60).to_pylist())
            assert len(found) == len(wanted), (seed, sql)
            for one, other in zip(found, wanted, strict=True):
                assert all(map(same, one, other)), (seed, sql, one, other)


def same(value: Any, other: Any) -> bool:
    """Whether two values are equal, floats within 1e-9."""
    if value == other or value is None or other is None:
        return value is other or value == other
    if isinstance(value, str) or not hasattr(value, "__float__"):
        return False
    return math.isclose(float(value), float(other), rel_tol=1e-9, abs_tol=1e-12)


def _on_postgres(settings: Settings, sql: str) -> list[Any]:
    with warehouse_engine(settings).connect() as connection:
        return list(connection.exec_driver_sql(sql.replace("%", "%%")))


def _normal(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """Rows in an order of their own; numbers as floats, instants and lengths in seconds."""
    plain = [[_number(value) for value in row] for row in rows]
    return sorted(
        plain, key=lambda row: [f"{v:.6g}" if isinstance(v, float) else str(v) for v in row]
    )


def _number(value: Any) -> Any:
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if getattr(value, "tzinfo", None):
        return value.timestamp()
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return float(value)
    return value
