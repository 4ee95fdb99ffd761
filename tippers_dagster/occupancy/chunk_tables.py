"""What rules need of the log, per time chunk: place days, device days and encounters.

They are computed together, in one reading of the chunk's sessions, and recorded as one partition.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.occupancy.counting import Figures
from tippers_dagster.occupancy.days import device_days, place_days
from tippers_dagster.occupancy.encounters import Encounters, encounters
from tippers_dagster.platform.fingerprint import mix, of_text, of_texts
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import encode, sessions_key
from tippers_dagster.settings import Settings

PLACE_DAYS, DEVICE_DAYS = "place_days/", "device_days/"
MET, DOUBTFUL, PAIRS = "encounters/devices/", "encounters/doubtful/", "encounters/pairs/"
PREFIXES = (PLACE_DAYS, DEVICE_DAYS, MET, DOUBTFUL, PAIRS)
"""Folders of the lake, with one file per time chunk."""

_READ = ["device", "space", "sensor", "start", "end", "start_time", "end_time", "carried"]


def chunk_key(prefix: str, chunk: str) -> str:
    """The key of a chunk's file in one of ``PREFIXES``."""
    return f"{prefix}chunk={encode(chunk)}.parquet"


def write_chunk(settings: Settings, lake: Lake, chunk: str) -> Figures:
    """Write the tables of a chunk, from its sessions.

    Returns
    -------
    One row: the number of sessions that start in the chunk, and of devices seen in it.

    Raises
    ------
    LakeError
        The sessions cannot be read, or a file not written.
    """
    sessions = lake.read_table(sessions_key(chunk), _READ)
    _, end = LocalClock(settings.timezone).chunk_seconds(chunk, settings.chunk)
    met = encounters(sessions, end)
    tables = {
        PLACE_DAYS: place_days(sessions),
        DEVICE_DAYS: device_days(sessions),
        MET: met.devices,
        DOUBTFUL: met.doubtful,
        PAIRS: met.pairs,
    }
    for prefix, table in tables.items():
        lake.write_table(chunk_key(prefix, chunk), table)
    return _figures(tables)


def read_encounters(lake: Lake, chunk: str) -> Encounters:
    """The encounters of a chunk.

    Raises
    ------
    LakeError
        A file is missing or cannot be read.
    """
    devices, doubtful, pairs = (
        lake.read_table(chunk_key(prefix, chunk)) for prefix in (MET, DOUBTFUL, PAIRS)
    )
    return Encounters(devices, doubtful, pairs)


def _figures(tables: dict[str, pa.Table]) -> Figures:
    met, zero = tables[MET], np.zeros(1, np.int64)
    rows = int(met["sessions"].to_numpy().sum())
    return Figures([""], np.array([rows]), np.array([met.num_rows]), zero, zero, _print(tables))


def _print(tables: dict[str, pa.Table]) -> np.ndarray:
    """A fingerprint of the rows of all tables."""
    rows = [mix(of_text(name), *map(_integers, t.columns)) for name, t in tables.items()]
    return np.concatenate(rows).sum(dtype=np.uint64, keepdims=True)


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as integers: texts by their fingerprints, times as they are stored."""
    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks()
        prints = np.append(of_texts(whole.dictionary.to_pylist()), np.uint64(0))
        return prints[whole.indices.fill_null(-1).to_numpy()]
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    return column.to_numpy()
