"""Tables as files to download."""

from __future__ import annotations

import io
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.platform.small_tables import csv_bytes

Format = Literal["csv", "parquet"]

FORMATS: dict[Format, str] = {"csv": "CSV", "parquet": "Parquet"}
MIME: dict[Format, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def table_file(rows: pa.Table, kind: Format) -> bytes:
    """The content of a file with these rows."""
    if kind == "csv":
        return csv_bytes(rows)
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()
