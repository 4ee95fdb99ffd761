"""Exports head counts to a file; people counts are exported by ``occupancy.export``."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tippers_dagster.campus.local_time import MICRO, LocalClock
from tippers_dagster.occupancy.export import iso_texts
from tippers_dagster.people.counts.head_counts import read_head_counts
from tippers_dagster.platform.table_files import write_table
from tippers_dagster.settings import Settings


def write_head_counts(settings: Settings, out: Path) -> int:
    """Write all head counts to a file for ``tippers calibrate import``; returns their number.

    Times are local with their offset, so they are read back unchanged.

    Raises
    ------
    BadInput
        The extension is neither ``.csv`` nor ``.parquet``, or the file cannot be written.
    """
    found = read_head_counts(settings)
    utc = found["time"].cast(pa.int64()).to_numpy() // MICRO
    texts = pa.array(iso_texts(utc, LocalClock(settings.timezone)).tolist(), pa.string())
    at = found.schema.get_field_index("time")
    write_table(found.set_column(at, "time", texts).drop_columns(["imported_at"]), out)
    return found.num_rows
