"""What a sandbox is given: the log, the staging models as views, and tables of the warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from tippers_dagster.campus.source.schema import source_tables
from tippers_dagster.catalog.window import Window
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column, table_columns
from tippers_dagster.sql.duckdb.log import empty_log_table, log_table
from tippers_dagster.sql.duckdb.sandbox import Contents, Dataset, Sandbox, Source, sandbox
from tippers_dagster.sql.log import SCHEMA, source_window, window_chunks, windowed
from tippers_dagster.sql.names import source_schema
from tippers_dagster.sql.roles import built

Place = tuple[str, str]
"""Schema and name of a table of the warehouse."""

View = tuple[str, str]
"""``schema.table`` and SQL."""

_KEPT_TYPES = {
    *("boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "date"),
    *("timestamp without time zone", "timestamp with time zone"),
}


@contextmanager
def lake_sandbox(
    settings: Settings, read: Inputs, *, until: dt.date | None = None, **options: Any
) -> Iterator[Sandbox]:
    """A sandbox with the log and tables of the warehouse.

    Tables are read while it starts; nothing of the warehouse stays locked after.

    Parameters
    ----------
    read
        What it holds. Tables that do not exist are left out, unless they are optional tables of the
        campus, which are then empty.
    until
        For past windows, the date by which they end.
    options
        Of ``sandbox``.

    Raises
    ------
    LogIncomplete, LakeFileMissing
        The log of a chunk is not computed, or a file is missing.
    SandboxError
        A table or view cannot be opened.
    """
    with sandbox(settings, _contents(settings, read, until), **options) as box:
        yield box


@contextmanager
def _contents(settings: Settings, read: Inputs, until: dt.date | None) -> Iterator[Contents]:
    tables: dict[str, Source] = {}
    datasets: dict[str, Dataset] = {}
    for window, names in read.log.items():
        chunks = window_chunks(settings, names, window, until)
        for name in names:
            found = log_table(settings, name, chunks, window)
            place = f"{SCHEMA}.{windowed(name, window)}"
            (datasets if isinstance(found, Dataset) else tables)[place] = found
    with built(settings) as connection, ExitStack() as open_cursors:
        for schema, name in read.places:
            table = _table(settings, partial(_cursor, open_cursors, connection), schema, name)
            if table is not None:
                tables[f"{schema}.{name}"] = table
        yield Contents(datasets, tables, read.views)


def _cursor(open_cursors: ExitStack, connection: dbapi.Connection) -> dbapi.Cursor:
    """A cursor for as long as its rows are read."""
    return open_cursors.enter_context(connection.cursor())


def _table(
    settings: Settings, cursor: Callable[[], dbapi.Cursor], schema: str, name: str
) -> Source | None:
    with warehouse_engine(settings).connect() as owner:
        columns = table_columns(owner, schema, name)
    if columns:
        return lambda: _read(cursor(), schema, name, columns)
    return _optional(settings, schema, name)


def _optional(settings: Settings, schema: str, name: str) -> pa.Table | None:
    """An empty table of the campus; None for other names."""
    for table in source_tables(settings).values():
        if (source_schema(settings), table.name) == (schema, name):
            texts = {table.columns[column]: pa.string() for column in table.types}
            return pa.schema(texts).empty_table()
    return None


def _read(
    cursor: dbapi.Cursor, schema: str, name: str, columns: Sequence[Column]
) -> pa.RecordBatchReader:
    wanted = ", ".join(f"{_readable(c)} AS {quote_identifier(c.name)}" for c in columns)
    try:
        cursor.execute(f"SELECT {wanted} FROM {quote_identifier(schema)}.{quote_identifier(name)}")
    except dbapi.Error as error:
        raise TippersError(f"{schema}.{name} could not be read: {error}") from error
    return cursor.fetch_record_batch()


def _readable(column: Column) -> str:
    quoted = quote_identifier(column.name)
    if column.type in _KEPT_TYPES:
        return quoted
    return f"{quoted}::{'double precision' if column.type == 'numeric' else 'text'}"


# --- what dbt's models read ---------------------------------------------------------------------
@dataclass
class Inputs:
    """What models or queries read: tables of the log by window, others, and views in order."""

    log: dict[Window, list[str]] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    views: list[View] = field(default_factory=list)


def inputs(manifest: Mapping[str, Any], staging: Sequence[View], chosen: Collection[str]) -> Inputs:
    """What models and tests of dbt's manifest read, directly or through staging models.

    Parameters
    ----------
    staging
        The staging models as views.
    chosen
        Unique ids. Models among them are built from their inputs, and are no inputs themselves.
    """
    views = dict(staging)
    found, wanted = Inputs(), set[str]()
    waiting, seen = list(chosen), set(chosen)
    while waiting:
        unique_id = waiting.pop()
        resource = manifest["sources" if unique_id.startswith("source.") else "nodes"][unique_id]
        place = resource["schema"], resource.get("identifier") or resource["alias"]
        if (window := source_window(resource.get("source_name"))) is not None:
            found.log.setdefault(window, []).append(resource["name"])
        elif ".".join(place) in views:
            wanted.add(".".join(place))
        elif unique_id not in chosen:
            found.places.append(place)
            continue
        below = [i for i in resource.get("depends_on", {}).get("nodes", ()) if i not in seen]
        seen.update(below)
        waiting += below
    found.views = [view for view in staging if view[0] in wanted]
    return found


def everything(manifest: Mapping[str, Any], staging: Sequence[View]) -> Inputs:
    """The log, all staging models, and all tables that models read or have made."""
    found = inputs(manifest, staging, [i for i, _ in _staging_nodes(manifest, staging)])
    models = [n for n in manifest["nodes"].values() if n["resource_type"] == "model"]
    tables = [(n["schema"], n["alias"]) for n in models]
    sources = [(n["schema"], n["identifier"]) for n in _sources(manifest)]
    views = {name for name, _ in staging}
    found.places = [p for p in dict.fromkeys([*tables, *sources]) if ".".join(p) not in views]
    return found


def _sources(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Sources in the warehouse."""
    for node in manifest["sources"].values():
        if source_window(node["source_name"]) is None:
            yield node


def _staging_nodes(
    manifest: Mapping[str, Any], staging: Sequence[View]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    views = {name for name, _ in staging}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] == "model" and f"{node['schema']}.{node['alias']}" in views:
            yield unique_id, node


def inputs_empty(
    settings: Settings, manifest: Mapping[str, Any], staging: Sequence[View]
) -> Contents:
    """All staging models over empty tables: enough to plan a query."""
    chosen = [i for i, _ in _staging_nodes(manifest, staging)]
    read = inputs(manifest, staging, chosen)
    tables: dict[str, Source] = {
        f"{SCHEMA}.{windowed(name, window)}": empty_log_table(name)
        for window, names in read.log.items()
        for name in names
    }
    for schema, name in read.places:
        columns = _optional(settings, schema, name)
        if columns is not None:
            tables[f"{schema}.{name}"] = columns
    return Contents(tables=tables, views=read.views)
