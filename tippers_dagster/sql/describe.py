"""Describes a table that dbt has just created: metadata for Dagster and for our own tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import pyarrow as pa
from adbc_driver_manager import Error as ArrowDriverError

from tippers_dagster.campus.identities import DEVICE_ID, pseudonymise
from tippers_dagster.errors import LakeError
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column, table_columns
from tippers_dagster.sql.export import export_table
from tippers_dagster.sql.nodes import Resource, meta_of
from tippers_dagster.sql.render import SCHEMAS
from tippers_dagster.sql.roles import built
from tippers_dagster.sql.statistics import (
    QUANTILES,
    ColumnStatistics,
    estimated_statistics,
    plain,
)

EXAMPLES = 5
"""How many failing rows of a check are shown."""

_EXPORTED = {kind.value: folder for kind, folder in SCHEMAS.items()}


@dataclass(frozen=True)
class Described:
    """Metadata of a materialization; ``details`` is the JSON that ``asset_state`` keeps."""

    rows: int | None
    metadata: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def after(self, seconds: float) -> Described:
        """A copy with how long it took."""
        return replace(self, seconds=seconds)


def table_metadata(settings: Settings, model: Resource, made: int | None) -> Described:
    """Describe a model's table, and export it to the lake if it belongs to a definition.

    Parameters
    ----------
    model
        dbt's node; its table or view exists.
    made
        The number of rows that dbt reported when it created the table.

    Raises
    ------
    TippersError
        The table could not be exported.
    """
    meta = meta_of(model)
    if "concept" in meta:
        return _exported(settings, model, _EXPORTED[meta["kind"]], meta["concept"], meta["name"])
    with warehouse_engine(settings).connect() as connection:
        columns = table_columns(connection, model["schema"], model["alias"])
        found = (
            []
            if made is None
            else estimated_statistics(connection, model["schema"], model["alias"], made)
        )
    metadata = _common(model, columns, made, found)
    if found:
        metadata["statistics_are"] = "estimated by PostgreSQL"
    return Described(made, metadata, {"columns": [s.as_json() for s in found]})


def view_metadata(model: Resource, columns: Sequence[Column], rows: int) -> Described:
    """Describe a view over the lake, which has no table in the warehouse."""
    return Described(rows, _common(model, columns, rows, ()), {"columns": []})


def _exported(
    settings: Settings, model: Resource, folder: str, concept: str, name: str
) -> Described:
    key = definition_key(folder, concept, name)
    done = export_table(settings, model["schema"], model["alias"], key)
    metadata = _common(model, done.columns, done.rows, done.statistics)
    metadata["dagster/uri"] = dg.TextMetadataValue(open_lake(settings).uri(key))
    if done.statistics_rows < done.rows:
        metadata["statistics_are"] = f"of the first {done.statistics_rows} rows"
    details = {
        "columns": [s.as_json() for s in done.statistics],
        "statistics_rows": done.statistics_rows,
        "lake_key": key,
    }
    return Described(done.rows, metadata, details)


def _common(
    model: Resource,
    columns: Sequence[Column],
    rows: int | None,
    found: Sequence[ColumnStatistics],
) -> dict[str, Any]:
    descriptions = {name: column.get("description") for name, column in model["columns"].items()}
    schema = dg.TableSchema(
        [dg.TableColumn(c.name, c.type, descriptions.get(c.name) or None) for c in columns]
    )
    metadata: dict[str, Any] = {"dagster/column_schema": schema}
    if rows is not None:
        metadata["dagster/row_count"] = rows
    if found:
        metadata["column_statistics"] = statistics_metadata(found)
    return metadata


# --- statistics ---------------------------------------------------------------------------------
def statistics_metadata(found: Sequence[ColumnStatistics]) -> dg.MetadataValue:
    """Column statistics as a Dagster table."""
    names = [f"p{round(q * 100):02d}" for q in QUANTILES]
    fields = ["column", "type", "nulls", "distinct", "minimum", *names, "maximum", "top"]
    records = [dg.TableRecord(dict(zip(fields, _line(s), strict=True))) for s in found]
    integers = ("nulls", "distinct")
    columns = [dg.TableColumn(f, "int" if f in integers else "string") for f in fields]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _line(s: ColumnStatistics) -> list[str | int]:
    quantiles = [_shown(value) for value in s.quantiles] or [""] * len(QUANTILES)
    top = ", ".join(f"{_shown(value)} ({count})" for value, count in s.top)
    ends = _shown(s.minimum), _shown(s.maximum)
    return [s.column, s.type, s.nulls, s.distinct, ends[0], *quantiles, ends[1], top]


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# --- examples -----------------------------------------------------------------------------------
def failing_rows(settings: Settings, query: str) -> dict[str, Any]:
    """Some failing rows of a test, and the query for all of them.

    Devices appear by their ids, as in the lake; with read access to the warehouse, the query shows
    their MAC addresses.
    """
    try:
        rows = _first_rows(settings, query)
    except ArrowDriverError as error:  # report the failure without examples
        return _examples([{"not available": recordable(str(error), settings)}], query)
    return rows_metadata(settings, rows, query)


def rows_metadata(
    settings: Settings, rows: Sequence[Mapping[str, Any]], query: str
) -> dict[str, Any]:
    """The same for failing rows that are already here."""
    try:
        examples = _named(settings, rows)
    except LakeError as error:
        examples = [{"not available": recordable(error.message, settings)}]
    return _examples(examples, query)


def _examples(examples: list[dict[str, Any]], query: str) -> dict[str, Any]:
    return {
        "examples": dg.MetadataValue.json(examples),
        "query": dg.MetadataValue.md(f"```sql\n{query.strip()}\n```"),
    }


def _first_rows(settings: Settings, query: str) -> list[dict[str, Any]]:
    limited = f"SELECT * FROM ({query}\n) AS failing LIMIT {EXAMPLES}"
    with built(settings) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute(f"SET LOCAL statement_timeout = {settings.sql_timeout_seconds * 1000}")
        cursor.execute(limited)
        return cursor.fetch_arrow_table().to_pylist()


def _named(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    table = pa.table({n: [_text(row[n]) for row in rows] for n in (rows[0] if rows else ())})
    found = pseudonymise(settings, table)
    hashed = [n for n in found.column_names if n == DEVICE_ID or n.endswith(f"_{DEVICE_ID}")]
    return [
        # JSON's numbers do not hold 64 bits.
        {n: str(v) if n in hashed and v is not None else plain(v) for n, v in row.items()}
        for row in found.to_pylist()
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
