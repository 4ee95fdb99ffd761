"""Exports occupancy to files for other programs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.platform.table_files import (
    Format,
    Quoting,
    format_of,
    needs_quotes,
    table_bytes,
    write_table,
)


def write_export(space: str, occupancy: pa.Table, out: Path) -> None:
    """Write the result of ``read_shared_occupancy`` to a file, completely or not at all.

    An existing file is replaced. Columns: space_id, interval_begin_time, number_connections, and
    the table's other columns. In CSV the time is ISO 8601 text with the local offset, an unknown
    or hidden number is an empty field, and an id that a spreadsheet would run as a formula gets a
    leading apostrophe. In Parquet the time is a timestamp in the deployment's zone, and the id is
    unchanged.

    Raises
    ------
    BadInput
        The extension is neither ``.csv`` nor ``.parquet``, or the file cannot be written.
    """
    write_table(_exported(space, occupancy, format_of(out)), out, _quoting(space))


def export_bytes(space: str, occupancy: pa.Table, kind: Format) -> bytes:
    """The content of the file that ``write_export`` writes."""
    return table_bytes(_exported(space, occupancy, kind), kind, _quoting(space))


def _exported(space: str, occupancy: pa.Table, kind: Format) -> pa.Table:
    spaces = pa.array([space]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(occupancy.num_rows, np.int32)), spaces.dictionary
    )
    table = occupancy.add_column(0, "space_id", column)
    return times_as_text(table) if kind == "csv" else table


def _quoting(space: str) -> Quoting:
    # "needed" quotes every text, not only those with a comma or a quote.
    return "needed" if needs_quotes(space) else "none"


def times_as_text(table: pa.Table) -> pa.Table:
    """The table with ``interval_begin_time`` as ISO 8601 text with the local offset."""
    time, at = table["interval_begin_time"], table.schema.get_field_index("interval_begin_time")
    texts = iso_texts(time.cast(pa.int64()).to_numpy(), LocalClock(time.type.tz))
    return table.set_column(at, "interval_begin_time", pa.array(texts, pa.string()))


def iso_texts(utc: np.ndarray, clock: LocalClock) -> np.ndarray:
    """UTC seconds as ISO 8601 local times with offset: ``2025-01-06T00:00:00-08:00``."""
    offsets, which = np.unique(clock.utc_offset(utc), return_inverse=True)
    suffixes = np.array([_offset_text(int(offset)) for offset in offsets], dtype=str)
    if not len(utc):
        return np.array([], dtype=str)
    local = (utc + offsets[which]).astype("datetime64[s]")
    return np.strings.add(np.datetime_as_string(local), suffixes[which])


def _offset_text(offset: int) -> str:
    zone = dt.timezone(dt.timedelta(seconds=offset))
    return dt.datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
