"""Exports occupancy to files for other programs."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.small_tables import write_csv

_STRUCTURAL = frozenset(',"\r\n')

Write = Callable[[pa.Table, IO[bytes]], None]


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
    write = writer_of(out)
    spaces = pa.array([space]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(occupancy.num_rows, np.int32)), spaces.dictionary
    )
    table = occupancy.add_column(0, "space_id", column)
    with replacing(out) as file:
        write(table, file)


def writer_of(out: Path) -> Write:
    """The function that writes this kind of file; BadInput, before any work, if there is none."""
    writers: dict[str, Write] = {".csv": _write_csv, ".parquet": _write_parquet}
    if out.suffix not in writers:
        raise BadInput(
            f"{out} is neither a .csv nor a .parquet file.", "Give it one of these extensions."
        )
    if not out.absolute().parent.is_dir():
        raise BadInput(f"The folder {out.absolute().parent} does not exist.", "Create it first.")
    return writers[out.suffix]


def _write_parquet(table: pa.Table, file: IO[bytes]) -> None:
    pq.write_table(table, file, compression="zstd")


def _write_csv(table: pa.Table, file: IO[bytes]) -> None:
    time, spaces = table["interval_begin_time"], table["space_id"].unique().to_pylist()
    texts = iso_texts(time.cast(pa.int64()).to_numpy(), LocalClock(time.type.tz))
    # "needed" quotes every text, not only those with a comma or a quote.
    quoting: Literal["needed", "none"]
    quoting = "needed" if _STRUCTURAL.intersection("".join(spaces)) else "none"
    at = table.schema.get_field_index("interval_begin_time")
    table = table.set_column(at, "interval_begin_time", pa.array(texts))
    write_csv(table, file, quoting)


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


@contextmanager
def replacing(out: Path) -> Iterator[IO[bytes]]:
    """A file that replaces ``out`` when the block ends without error."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(out)
    except OSError as error:
        raise BadInput(
            f"{out} could not be written: {error.strerror}", "Choose another file."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
