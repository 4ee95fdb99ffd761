"""The log in the lake, as tables of a sandbox."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tippers_dagster.catalog.window import EVERYTHING, Window
from tippers_dagster.settings import Settings
from tippers_dagster.sql.duckdb.sandbox import Dataset
from tippers_dagster.sql.log import LOG_TABLES, chunk_files, made_table


def log_table(
    settings: Settings, name: str, chunks: Sequence[str], window: Window = EVERYTHING
) -> Dataset | pa.Table:
    """One of the tables of the dbt source ``lake``, over the chunks of a window.

    Raises
    ------
    LakeFileMissing
        A chunk is recorded as computed, but its file is not there.
    LogIncomplete
        A run is computing one of the chunks.
    KeyError
        There is no such table.
    """
    table = LOG_TABLES[name]
    if table.read is not None:
        return made_table(settings, name, chunks)
    files = chunk_files(settings, name, chunks, window)
    keys = [key for keys in files.values() for key in keys]
    return Dataset(keys, table.schema, table.added)


def empty_log_table(name: str) -> pa.Table:
    """The same without rows."""
    return LOG_TABLES[name].schema.empty_table()
