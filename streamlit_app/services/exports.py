"""File formats of downloads."""

from __future__ import annotations

from tippers_dagster.platform.table_files import Format

FORMATS: dict[Format, str] = {"csv": "CSV", "parquet": "Parquet"}
MIME: dict[Format, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
