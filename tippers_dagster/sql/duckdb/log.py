"""The log in the lake, as tables of a sandbox.

The columns that are named here are all that SQL reads of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.occupancy.chunk_tables import chunk_key
from tippers_dagster.occupancy.log_window import ADDRESSES as DEVICE_ADDRESSES
from tippers_dagster.occupancy.log_window import (
    company,
    crowds,
    device_addresses,
    log_chunks,
    partners,
)
from tippers_dagster.occupancy.regions import COVERAGE
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import table_columns
from tippers_dagster.sql.duckdb.sandbox import Dataset
from tippers_dagster.sql.environment import source_schema

SOURCE = "lake"
"""The dbt source, and the schema in DuckDB, of these tables."""

ADDRESSES = "device_address"

_NAMES = pa.dictionary(pa.int32(), pa.string())
_LOCAL = pa.timestamp("us")


@dataclass(frozen=True)
class _Kind:
    folders: Sequence[str]
    schema: pa.Schema


_KINDS = {
    "sessions": _Kind(
        ("sessions/",),
        pa.schema(
            {
                "device": pa.uint64(),
                "space": _NAMES,
                "sensor": _NAMES,
                "start": pa.int64(),
                "end": pa.int64(),
                "start_time": _LOCAL,
                "end_time": _LOCAL,
                "is_open": pa.bool_(),
                "carried": pa.bool_(),
            }
        ),
    ),
    "place_days": _Kind(
        ("place_days/",),
        pa.schema(
            {
                "device": pa.uint64(),
                "local_date": pa.date32(),
                "space": _NAMES,
                "sensor": _NAMES,
                "sessions": pa.int32(),
                "seconds": pa.int64(),
            }
        ),
    ),
    "device_days": _Kind(
        ("device_days/",),
        pa.schema(
            {
                "device": pa.uint64(),
                "local_date": pa.date32(),
                "sessions": pa.int32(),
                "seconds": pa.int64(),
                "first_start": _LOCAL,
                "last_end": _LOCAL,
            }
        ),
    ),
    "occupancy": _Kind(
        ("occupancy/source/", "occupancy/derived/"),
        pa.schema(
            {
                "space": _NAMES,
                "interval_seconds": pa.int32(),
                "interval_begin_time": pa.timestamp("us", tz="UTC"),
                "number_connections": pa.int32(),
            }
        ),
    ),
}

_OF_EACH_CHUNK = ("sessions", "place_days", "device_days")
"""Datasets with a file for every chunk of the log."""


@dataclass(frozen=True)
class _Answer:
    """A table that is computed from the log of some chunks."""

    compute: Callable[[Settings, Sequence[str]], pa.Table]
    schema: pa.Schema


_ANSWERS = {
    ADDRESSES: _Answer(lambda settings, _: device_addresses(settings), DEVICE_ADDRESSES),
    "partners": _Answer(
        partners,
        pa.schema(
            {
                "device": pa.uint64(),
                "sessions": pa.int64(),
                "mean_hours": pa.float64(),
                "shared_sessions": pa.int64(),
                "shared_share": pa.float64(),
                "shared_spaces": pa.int64(),
                "partner_mean_hours": pa.float64(),
            }
        ),
    ),
    "company": _Answer(
        company,
        pa.schema(
            {
                "device": pa.uint64(),
                "sessions": pa.int64(),
                "accompanied_sessions": pa.int64(),
                "accompanied_share": pa.float64(),
            }
        ),
    ),
    "crowds": _Answer(
        lambda settings, chunks: crowds(settings, chunks, _coverage(settings)),
        pa.schema(
            {
                "device": pa.uint64(),
                "space_name": pa.string(),
                "co_located": pa.int64(),
                "co_located_share": pa.float64(),
            }
        ),
    ),
}


def window(settings: Settings, names: Collection[str]) -> list[str]:
    """The chunks whose log these tables of the source ``lake`` have: all tracked ones.

    Raises
    ------
    LogIncomplete
        Days and encounters of a chunk do not belong to its sessions.
    """
    by_chunk = {*_OF_EACH_CHUNK, *_ANSWERS} - {ADDRESSES}
    return log_chunks(settings) if by_chunk.intersection(names) else []


def log_table(settings: Settings, name: str, chunks: Sequence[str]) -> Dataset | pa.Table:
    """One of the tables of the dbt source ``lake``, over a window of chunks.

    Raises
    ------
    LakeFileMissing
        A chunk is recorded as computed, but its file is not there.
    LogIncomplete
        A run is computing one of the chunks.
    KeyError
        There is no such table.
    """
    if name in _ANSWERS:
        return _ANSWERS[name].compute(settings, chunks).cast(_ANSWERS[name].schema)
    kind, lake = _KINDS[name], open_lake(settings)
    keys = [key for folder in kind.folders for key in lake.list(folder)]
    if name in _OF_EACH_CHUNK:
        keys = _of_chunks(lake, name, keys, chunks)
    return Dataset(keys, kind.schema)


def empty_log_table(name: str) -> pa.Table:
    """The same without rows."""
    return (_ANSWERS.get(name) or _KINDS[name]).schema.empty_table()


def _of_chunks(lake: Lake, name: str, keys: Sequence[str], chunks: Sequence[str]) -> list[str]:
    wanted = [chunk_key(f"{name}/", chunk) for chunk in chunks]
    missing = sorted(set(wanted).difference(keys))
    if missing:
        raise LakeFileMissing(
            f"{lake.uri(missing[0])} is missing, although it is recorded.",
            "`tippers occupancy materialize --again` computes it again.",
        )
    return wanted


def _coverage(settings: Settings) -> pa.Table:
    """What access points cover; empty if the campus has no such table."""
    place = source_schema(settings), settings.coverage_table
    with warehouse_engine(settings).connect() as connection:
        if not table_columns(connection, *place):
            return COVERAGE.empty_table()
    names = ("sensor", "region_id", "space_name")
    texts = ", ".join(f"{quote_identifier(name)}::text AS {name}" for name in names)
    found = read_arrow(
        settings,
        f"SELECT {texts}, intersection_percentage::double precision AS intersection_percentage "
        f"FROM {'.'.join(map(quote_identifier, place))}",
    )
    return found.cast(COVERAGE)
