"""The tables of the log: what models read through the dbt source ``lake``, on both engines.

DuckDB reads the files of the lake (``sql/duckdb/log.py``). For PostgreSQL they are loaded into the
warehouse's schema ``log`` (``sql/log_schema.py``). Other packages write the files; the columns that
are named here are all that SQL reads of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.automation.nodes import Node, Table, digest
from tippers_dagster.campus.addresses import (
    BY_DEVICE,
    DEVICES,
    described_devices,
    device_addresses,
)
from tippers_dagster.campus.makers import REGISTRY_CONTENT, shipped_bytes
from tippers_dagster.campus.tables import vendor_prefix
from tippers_dagster.catalog.window import EVERYTHING, Window, window_of_tag
from tippers_dagster.errors import BadInput, LakeFileMissing
from tippers_dagster.occupancy.files import DERIVED_COUNTS, SOURCE_COUNTS
from tippers_dagster.occupancy.log import recorded_chunks
from tippers_dagster.occupancy.log_window import (
    company,
    crowds,
    log_chunks,
    partners,
)
from tippers_dagster.occupancy.regions import COVERAGE
from tippers_dagster.occupancy.state import COUNTS, DAYS, SESSIONS
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import chunk_file
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import table_columns
from tippers_dagster.sql.names import source_schema

SOURCE = "lake"
"""The dbt source of these tables."""

SCHEMA = "log"
"""Their schema, in DuckDB and in the warehouse."""


def source_name(window: Window) -> str:
    """The dbt source of the tables over a window."""
    return SOURCE if window.is_everything else f"{SOURCE}_{window.tag}"


def source_window(name: str | None) -> Window | None:
    """The window of a dbt source; None if it is not the log."""
    if name == SOURCE:
        return EVERYTHING
    if name is None or not name.startswith(f"{SOURCE}_"):
        return None
    try:
        return window_of_tag(name.removeprefix(f"{SOURCE}_"))
    except BadInput:  # another source of the project
        return None


def windowed(name: str, window: Window) -> str:
    """What a table or model is called over a window."""
    return name if window.is_everything else f"{name}__{window.tag}"


Read = Callable[[Settings, Sequence[str]], pa.Table]
"""Makes a table from the log of some chunks."""


@dataclass(frozen=True)
class LogTable:
    """A table of the log.

    Attributes
    ----------
    schema
        The columns that SQL reads.
    recorded
        The assets whose records have the fingerprints of its chunks. It depends on the last one.
    folders
        Of its files in the lake, one per chunk in each; with one folder, all of them must exist.
    read
        Makes a table that has no files of its own.
    more
        What else it is made from, as text.
    reads
        Tables of the warehouse that it is made from, besides the log.
    by_chunk
        Whether it depends on which chunks are tracked.
    indexes
        Its indexes in the warehouse.
    added
        Columns, the last ones, that came later: files may lack them, and models that were made
        before need not be made again.
    """

    schema: pa.Schema
    recorded: tuple[str, ...]
    folders: tuple[str, ...] = ()
    read: Read | None = None
    more: Callable[[Settings], str] = lambda _: ""
    reads: tuple[Node, ...] = ()
    by_chunk: bool = True
    indexes: tuple[tuple[str, ...], ...] = ()
    added: tuple[str, ...] = ()

    @property
    def first_schema(self) -> pa.Schema:
        """The columns without those that came later."""
        return pa.schema([field for field in self.schema if field.name not in self.added])

    @property
    def optional(self) -> dict[str, pa.DataType]:
        """The types of columns that files may lack; they are null then."""
        return {name: self.schema.field(name).type for name in self.added}

    @property
    def asset(self) -> str:
        """What it depends on."""
        return self.recorded[-1]

    def fingerprints(self, settings: Settings) -> dict[str, str]:
        """Those of its recorded chunks, in order."""
        return recorded_chunks(settings, self.recorded)


_BY_ALL = [(name, "ascending") for name in COVERAGE.names]
_NAMES = pa.dictionary(pa.int32(), pa.string())
_LOCAL = pa.timestamp("us")


def _registry_content() -> str:
    """A query whose result differs whenever the makers of vendor prefixes do."""
    shipped = digest(shipped_bytes().decode())
    return f"SELECT concat(({REGISTRY_CONTENT}), '{shipped}')"


def _registry(settings: Settings) -> str:
    with warehouse_engine(settings).connect() as connection:
        return str(connection.scalar(sa.text(_registry_content())))


REGISTRY = Node(
    (vendor_prefix.name,),
    source=Table(str(vendor_prefix.schema), vendor_prefix.name, _registry_content()),
)
"""The registry of vendor prefixes, as a source of definitions."""

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
                "kept": pa.string(),
            }
        ),
        (SESSIONS,),
        folders=("sessions",),
        indexes=(("device", "start"),),
        added=("kept",),
    ),
    "device_address": LogTable(
        BY_DEVICE,
        (SESSIONS,),
        read=lambda settings, _: device_addresses(settings),
        by_chunk=False,
        indexes=(("device",),),
    ),
    "devices": LogTable(
        DEVICES,
        (SESSIONS,),
        read=lambda settings, _: described_devices(settings),
        more=_registry,
        reads=(REGISTRY,),
        by_chunk=False,
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
        (DAYS,),
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
        (DAYS,),
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
        COUNTS,
        folders=(SOURCE_COUNTS.folder, DERIVED_COUNTS.folder),
        by_chunk=False,
        indexes=(("space", "interval_seconds", "interval_begin_time"),),
    ),
    "partners": LogTable(
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
        (DAYS,),
        read=partners,
    ),
    "company": LogTable(
        pa.schema(
            {
                "device": pa.uint64(),
                "sessions": pa.int64(),
                "accompanied_sessions": pa.int64(),
                "accompanied_share": pa.float64(),
            }
        ),
        (DAYS,),
        read=company,
    ),
    "crowds": LogTable(
        pa.schema(
            {
                "device": pa.uint64(),
                "space_name": pa.string(),
                "co_located": pa.int64(),
                "co_located_share": pa.float64(),
            }
        ),
        (DAYS,),
        read=lambda settings, chunks: crowds(settings, chunks, _coverage(settings)),
        more=lambda settings: repr(_coverage(settings).sort_by(_BY_ALL).to_pylist()),
    ),
}


def window_chunks(
    settings: Settings,
    names: Collection[str],
    window: Window = EVERYTHING,
    until: dt.date | None = None,
) -> list[str]:
    """The chunks whose log these tables have over a window.

    ``until``: for a past window, the date by which it ends.

    Raises
    ------
    LogIncomplete
        Days and encounters of a chunk do not belong to its sessions.
    NoTerm
        The window is a term, and the calendar has none.
    """
    needed = not window.is_everything or any(LOG_TABLES[name].by_chunk for name in names)
    return log_chunks(settings, window, until) if needed else []


_made: dict[str, tuple[object, pa.Table]] = {}


def made_table(settings: Settings, name: str, chunks: Sequence[str]) -> pa.Table:
    """A table that has no files of its own.

    What takes seconds to make is kept in this process until its chunks change: one run reads it for
    several levels, and previews for every attempt.

    Raises
    ------
    LogIncomplete
        A run is computing one of the chunks.
    """
    table = LOG_TABLES[name]
    assert table.read is not None
    if not table.by_chunk:
        return table.read(settings, chunks).cast(table.schema)
    recorded = table.fingerprints(settings)
    basis = settings.home_path, [(c, recorded.get(c)) for c in chunks], table.more(settings)
    kept, found = _made.get(name, (None, None))
    if found is None or kept != basis:
        found = table.read(settings, chunks).cast(table.schema)
        _made[name] = basis, found
    return found


def chunk_files(
    settings: Settings, name: str, chunks: Sequence[str], window: Window = EVERYTHING
) -> dict[str, list[str]]:
    """The keys of a table's files, by chunk.

    Parameters
    ----------
    chunks
        Those of the window; of everything, all counts are there, also those of other chunks.

    Raises
    ------
    LakeFileMissing
        A chunk is recorded, but its file is not there.
    """
    table, lake = LOG_TABLES[name], open_lake(settings)
    there = {key for folder in table.folders for key in lake.list(f"{folder}/")}
    wanted = {
        chunk: [chunk_file(f"{folder}/", chunk) for folder in table.folders]
        for chunk in chunks_of(settings, name, chunks, window)
    }
    missing = [keys[0] for keys in wanted.values() if len(keys) == 1 and keys[0] not in there]
    if missing:
        raise LakeFileMissing(
            f"{lake.uri(missing[0])} is missing, although it is recorded.",
            "`tippers occupancy materialize --again` computes it again.",
        )
    return {chunk: [key for key in keys if key in there] for chunk, keys in wanted.items()}


def chunks_of(
    settings: Settings, name: str, chunks: Sequence[str], window: Window
) -> Sequence[str]:
    """Those of the chunks of a window that a table has."""
    table = LOG_TABLES[name]
    if table.by_chunk:
        return chunks
    recorded = table.fingerprints(settings)
    return [chunk for chunk in recorded if window.is_everything or chunk in chunks]


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
