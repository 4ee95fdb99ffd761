"""Exports labels and gold labels to files."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.small_tables import write_csv


def write_rows(rows: pa.Table, out: Path) -> None:
    """Write a table to ``FILE.csv`` or ``FILE.parquet``, completely or not at all.

    In CSV, spreadsheet formulas are escaped; Parquet is unchanged.

    Raises
    ------
    BadInput
        The extension is neither, or the file cannot be written.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise BadInput(
            f"{out} is neither a .csv nor a .parquet file.", "Give it one of these extensions."
        )
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if out.suffix == ".csv":
                write_csv(rows, file)
            else:
                pq.write_table(rows, file, compression="zstd")
        temporary.replace(out)
    except OSError as error:
        raise BadInput(
            f"{out} could not be written: {error.strerror}", "Choose another file."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
