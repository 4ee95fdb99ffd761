"""Place days and device days of a time chunk: its sessions, summed by device and local date.

Pure functions of the chunk's sessions as the lake has them. A session counts on the local date on
which it starts, so carried sessions count in the chunk before, and no date is in two chunks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import DAY, HOUR, MICRO
from tippers_dagster.occupancy.arrays import grouped, reduced

Ints = NDArray[Any]


def place_days(sessions: pa.Table) -> pa.Table:
    """Sessions and seconds per device, local date, space and access point.

    Parameters
    ----------
    sessions
        The chunk's sessions: device, space, sensor, start, end (seconds), start_time, carried.

    Returns
    -------
    Columns device, local_date, space, sensor, sessions, seconds, and ``hours``, whose bit ``h`` is
    set when a session starts in hour ``h`` (0 to 23) of the local date. Sorted by device and date.
    """
    own = _starting(sessions)
    day, second = np.divmod(_local_seconds(own["start_time"]), DAY)
    keys = [own["device"].to_numpy(), day, _codes(own["space"]), _codes(own["sensor"])]
    order, first, sizes = grouped(keys)
    rows = order[first]
    return pa.table(
        {
            "device": own["device"].take(rows),
            "local_date": pa.array(day[rows].astype(np.int32)).view(pa.date32()),
            "space": own["space"].take(rows),
            "sensor": own["sensor"].take(rows),
            "sessions": sizes.astype(np.int32),
            "seconds": reduced(np.add, _seconds(own)[order], first),
            "hours": reduced(
                np.bitwise_or, np.left_shift(1, second // HOUR).astype(np.int32)[order], first
            ),
        }
    )


def device_days(sessions: pa.Table) -> pa.Table:
    """Sessions, seconds, known persons, first start and last end per device and local date.

    Parameters
    ----------
    sessions
        The chunk's sessions: device, start, end (seconds), start_time, end_time, carried, person.

    Returns
    -------
    Columns device, local_date, sessions, seconds, first_start and last_end (local times), and
    ``known``, the number of sessions that have a person. Sorted by device and date.
    """
    own = _starting(sessions)
    started, ended = (own[name].cast(pa.int64()).to_numpy() for name in ("start_time", "end_time"))
    day = started // (DAY * MICRO)
    order, first, sizes = grouped([own["device"].to_numpy(), day])
    rows = order[first]
    known = np.asarray(own["person"].is_valid()).astype(np.int32)
    return pa.table(
        {
            "device": own["device"].take(rows),
            "local_date": pa.array(day[rows].astype(np.int32)).view(pa.date32()),
            "sessions": sizes.astype(np.int32),
            "seconds": reduced(np.add, _seconds(own)[order], first),
            "first_start": _times(reduced(np.minimum, started[order], first)),
            "last_end": _times(reduced(np.maximum, ended[order], first)),
            "known": reduced(np.add, known[order], first).astype(np.int32),
        }
    )


def _starting(sessions: pa.Table) -> pa.Table:
    """The sessions that start in the chunk, each column in one piece."""
    return sessions.filter(pc.invert(sessions["carried"])).unify_dictionaries().combine_chunks()


def _codes(values: pa.ChunkedArray) -> Ints:
    """The codes of a dictionary column; -1 for null."""
    indices = values.combine_chunks().indices
    return pc.fill_null(indices, -1).to_numpy()


def _seconds(own: pa.Table) -> Ints:
    return own["end"].to_numpy() - own["start"].to_numpy()


def _local_seconds(times: pa.ChunkedArray) -> Ints:
    return times.cast(pa.int64()).to_numpy() // MICRO


def _times(micros: Ints) -> pa.Array:
    return pa.array(micros, pa.timestamp("us"))
