"""Rows of the session table, from normalised rows of a log."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.source.schema import INSTANT, KEPT, PERSON

HOUR_US = 3_600_000_000


def session_rows(clock: LocalClock, rows: pa.Table, open_hours: float | None = None) -> pa.Table:
    """Sessions as the session table has them: with local times, and the instants that they mean.

    Parameters
    ----------
    clock
        The deployment's wall clock.
    rows
        Normalised sessions (``campus.log.sessions.SCHEMA``) in spaces.
    open_hours
        How long a session without an end and without a later sign of life lasts; default: the
        deployment's limit.
    """
    start, end, last_seen = (_one(rows[name]) for name in ("start", "end", "last_seen"))
    if open_hours is not None:
        last_seen = pc.coalesce(last_seen, pc.add(start, int(open_hours * HOUR_US)))
    last_seen = pc.if_else(end.is_valid(), pa.scalar(None, pa.int64()), last_seen)
    instants = {"started_at": start, "ended_at": end, "last_seen": last_seen}
    return pa.table(
        {
            "mac_address": rows["device"],
            "sensor_id": rows["access_point"],
            "start_time": local_times(clock, start),
            "end_time": local_times(clock, end),
            "space_id": rows["space"],
            **{name: column.cast(INSTANT) for name, column in instants.items()},
            "session_id": rows["session_id"],
            PERSON: _one(rows["person"]).view(pa.int64()),
            KEPT: rows["kept"],
        }
    )


def local_times(clock: LocalClock, instants: pa.Array) -> pa.Array:
    """Local times (timestamp[us]) of instants in UTC microseconds; null stays."""
    missing = np.asarray(instants.is_null())
    local = clock.to_local(pc.fill_null(instants, 0).to_numpy())
    return pa.array(local, mask=missing).cast(pa.timestamp("us"))


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
