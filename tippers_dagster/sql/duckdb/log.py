"""The log in the lake, as tables of a sandbox.

Other packages write these files; the columns that are named here are all that SQL reads of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings
from tippers_dagster.sql.duckdb.sandbox import Dataset

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

_OF_EACH_CHUNK = ("place_days", "device_days")
"""What exists for every chunk of sessions."""


def log_table(settings: Settings, name: str) -> Dataset | pa.Table:
    """One of the tables of the dbt source ``lake``.

    Raises
    ------
    LakeFileMissing
        A chunk has sessions, but its days have not been computed.
    KeyError
        There is no such table.
    """
    if name == ADDRESSES:
        return _addresses(settings)
    kind, lake = _KINDS[name], open_lake(settings)
    keys = [key for folder in kind.folders for key in lake.list(folder)]
    if name in _OF_EACH_CHUNK:
        _refuse_missing(lake, name, keys)
    return Dataset(keys, kind.schema)


def empty_log_table(name: str) -> pa.Table:
    """The same without rows."""
    return _ADDRESSES.empty_table() if name == ADDRESSES else _KINDS[name].schema.empty_table()


def _refuse_missing(lake: Lake, name: str, keys: Sequence[str]) -> None:
    wanted = {f"{name}/{key.removeprefix('sessions/')}" for key in lake.list("sessions/")}
    missing = sorted(wanted.difference(keys))
    if missing:
        raise LakeFileMissing(
            f"{lake.uri(missing[0])} is missing, although the chunk has sessions.",
            f"Materialise {name} for it.",
        )


_ADDRESSES = pa.schema({"device": pa.uint64(), "mac_address": pa.string()})


def _addresses(settings: Settings) -> pa.Table:
    """Devices' addresses; the warehouse keeps the hash as a signed integer of the same bits."""
    found = read_arrow(
        settings, str(sa.text("SELECT device, mac_address FROM tippers.device_address"))
    )
    devices = found["device"].combine_chunks().view(pa.uint64())
    return pa.table([devices, found["mac_address"]], schema=_ADDRESSES)
