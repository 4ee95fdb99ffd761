"""What rules need of the log, per time chunk: place days, device days and encounters.

They are computed together, in one reading of the chunk's sessions, and recorded as one partition.
"""

from __future__ import annotations

import numpy as np

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.occupancy.counting import Figures
from tippers_dagster.occupancy.days import device_days, place_days
from tippers_dagster.occupancy.encounters import Encounters, encounters
from tippers_dagster.occupancy.sessions import read_sessions
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import chunk_file
from tippers_dagster.settings import Settings

PLACE_DAYS, DEVICE_DAYS = "place_days/", "device_days/"
MET, DOUBTFUL, PAIRS = "encounters/devices/", "encounters/doubtful/", "encounters/pairs/"
PREFIXES = (PLACE_DAYS, DEVICE_DAYS, MET, DOUBTFUL, PAIRS)
"""Folders of the lake, with one file per time chunk."""

_TIMES = ("start", "end", "start_time", "end_time")
_READ = ("device", "space", "sensor", *_TIMES, "carried", "person")


def write_chunk(settings: Settings, lake: Lake, chunk: str, log: int) -> Figures:
    """Write the tables of a chunk, from its sessions.

    Parameters
    ----------
    log
        The fingerprint of the sessions that start in the chunk. All that is read of the tables of
        a window follows from those of its chunks, so it is the fingerprint of the tables, too.

    Returns
    -------
    One row: the number of sessions that start in the chunk, and of devices seen in it.

    Raises
    ------
    LakeError
        The sessions cannot be read, or a file not written.
    """
    sessions = read_sessions(lake, chunk, _READ)
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
        lake.write_table(chunk_file(prefix, chunk), table)
    rows, devices = met.devices["sessions"].to_numpy().sum(), met.devices.num_rows
    none = np.zeros(1, np.int64)
    return Figures([""], none + rows, none + devices, none, none, output=np.array([log], np.uint64))


def read_encounters(lake: Lake, chunk: str) -> Encounters:
    """The encounters of a chunk.

    Raises
    ------
    LakeError
        A file is missing or cannot be read.
    """
    devices, doubtful, pairs = (
        lake.read_table(chunk_file(prefix, chunk)) for prefix in (MET, DOUBTFUL, PAIRS)
    )
    return Encounters(devices, doubtful, pairs)
