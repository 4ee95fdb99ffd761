"""The tables of the log: what models read through the dbt source ``lake``, on both engines.

DuckDB reads the files of the lake (``sql/duckdb/log.py``). For PostgreSQL they are loaded into the
warehouse's schema ``log`` (``sql/log_schema.py``). Other packages write the files; the columns that
are named here are all that SQL reads of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.occupancy.files import DERIVED_COUNTS, SOURCE_COUNTS
from tippers_dagster.occupancy.log import COUNTS, log_chunks
from tippers_dagster.occupancy.state import DERIVED, SESSIONS
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import encode
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

SOURCE = "lake"
"""The dbt source of these tables."""

SCHEMA = "log"
"""Their schema, in DuckDB and in the warehouse."""

Read = Callable[[Settings, Sequence[str]], pa.Table]
"""Makes a table from the log of some chunks."""


@dataclass(frozen=True)
class LogTable:
    """A table of the log.

    Attributes
    ----------
    schema
        The columns that SQL reads.
    asset
        What it depends on, as an asset.
    recorded
        The assets whose records say which chunks there are.
    folders
        Of its files in the lake, one per chunk in each; with one folder, all of them must exist.
    read
        Makes a table that has no files of its own.
    indexes
        Its indexes in the warehouse.
    """

    schema: pa.Schema
    asset: str
    recorded: tuple[str, ...]
    folders: tuple[str, ...] = ()
    read: Read | None = None
    indexes: tuple[tuple[str, ...], ...] = ()

    def chunks(self, settings: Settings) -> dict[str, str]:
        """Its chunks, in order, with the fingerprints of their rows."""
        return log_chunks(settings, self.recorded)


def _addresses(settings: Settings, _chunks: Sequence[str]) -> pa.Table:
    """Devices' addresses; the warehouse keeps the hash as a signed integer of the same bits."""
    found = read_arrow(
        settings, str(sa.text("SELECT device, mac_address FROM tippers.device_address"))
    )
    devices = found["device"].combine_chunks().view(pa.uint64())
    return pa.table({"device": devices, "mac_address": found["mac_address"]})


_NAMES = pa.dictionary(pa.int32(), pa.string())
_LOCAL = pa.timestamp("us")

LOG_TABLES: dict[str, LogTable] = {
    "sessions": LogTable(
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
        SESSIONS,
        (SESSIONS,),
        folders=("sessions",),
        indexes=(("device", "start"),),
    ),
    "device_address": LogTable(
        pa.schema({"device": pa.uint64(), "mac_address": pa.string()}),
        SESSIONS,
        (SESSIONS,),
        read=_addresses,
        indexes=(("device",),),
    ),
    "place_days": LogTable(
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
        SESSIONS,
        (SESSIONS,),
        folders=("place_days",),
        indexes=(("device", "local_date"),),
    ),
    "device_days": LogTable(
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
        SESSIONS,
        (SESSIONS,),
        folders=("device_days",),
        indexes=(("device", "local_date"),),
    ),
    "occupancy": LogTable(
        pa.schema(
            {
                "space": _NAMES,
                "interval_seconds": pa.int32(),
                "interval_begin_time": pa.timestamp("us", tz="UTC"),
                "number_connections": pa.int32(),
            }
        ),
        DERIVED,
        COUNTS,
        folders=(SOURCE_COUNTS.folder, DERIVED_COUNTS.folder),
        indexes=(("space", "interval_seconds", "interval_begin_time"),),
    ),
}


def chunk_files(settings: Settings, name: str) -> dict[str, list[str]]:
    """The keys of a table's files, by chunk.

    Raises
    ------
    LakeFileMissing
        A chunk is recorded, but its file is not there.
    """
    table, lake = LOG_TABLES[name], open_lake(settings)
    there = {key for folder in table.folders for key in lake.list(f"{folder}/")}
    wanted = {
        chunk: [f"{folder}/chunk={encode(chunk)}.parquet" for folder in table.folders]
        for chunk in table.chunks(settings)
    }
    missing = [keys[0] for keys in wanted.values() if len(keys) == 1 and keys[0] not in there]
    if missing:
        raise LakeFileMissing(
            f"{lake.uri(missing[0])} is missing, although the chunk has sessions.",
            f"Materialise {name} for it.",
        )
    return {chunk: [key for key in keys if key in there] for chunk, keys in wanted.items()}
