"""Appends sessions to the session table, as part of an ingest."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.intake.clean import microseconds
from tippers_dagster.campus.intake.journal import Ingest
from tippers_dagster.campus.intake.undo import days_of
from tippers_dagster.campus.local_time import DAY, MICRO
from tippers_dagster.campus.log.texts import is_null
from tippers_dagster.campus.source.chains import Chains, Observations
from tippers_dagster.campus.source.load import create_session_indexes, prepare_bulk_load
from tippers_dagster.campus.source.read import longest_open
from tippers_dagster.campus.source.schema import EXACT, INGEST_ID, SESSIONS, SPACES, source_tables
from tippers_dagster.errors import SourceError
from tippers_dagster.settings import SESSION_COLUMNS


def begin_sessions(ingest: Ingest, expected_rows: int) -> None:
    """Prepare for the first append of an ingest's sessions.

    Raises
    ------
    SourceError
        When sessions are read from a log source: nothing would read the loaded ones.
    """
    if ingest.settings.log_source is not None:
        raise SourceError(
            f"TIPPERS_LOG_SOURCE is set: sessions are read from {ingest.settings.log_source}, in "
            "place.",
            "To load files instead, unset it.",
        )
    prepare_bulk_load(ingest.load, ingest.settings, expected_rows)


def append_sessions(ingest: Ingest, sessions: pa.Table) -> None:
    """Append clean sessions, with the columns and types of the session table, and optionally those
    of ``EXACT``.
    """
    if not sessions.num_rows:
        return
    table = source_tables(ingest.settings)[SESSIONS]
    rows = sessions.select([n for n in (*SESSION_COLUMNS, *EXACT) if n in sessions.column_names])
    number = pa.repeat(pa.scalar(ingest.ingest_id, pa.int64()), rows.num_rows)
    ingest.report.loaded += ingest.load.copy_in(table, rows.append_column(INGEST_ID, number))
    ends = rows["end_time"]
    if "last_seen" in rows.column_names:
        zone = ingest.settings.timezone
        seen = rows["last_seen"].cast(pa.timestamp("us", zone))
        ends = pc.coalesce(ends, pc.local_timestamp(seen))
    _note_times(ingest, rows["start_time"], ends)
    for named in rows["space_id"].value_counts().to_pylist():
        ingest.report.unplaced[named["values"]] += named["counts"]


def finish_sessions(ingest: Ingest) -> None:
    """Finish after the last append of an ingest's sessions."""
    if ingest.report.loaded:
        create_session_indexes(ingest.load, ingest.settings)
    table, unplaced = source_tables(ingest.settings)[SPACES], ingest.report.unplaced
    found = ingest.load.execute(f"SELECT {table.column('space_id')} AS space FROM {table.sql}")
    for space in found["space"].to_pylist():
        unplaced.pop(space, None)


def note_chains(
    ingest: Ingest, observations: Observations, chains: Chains, gap_seconds: int
) -> None:
    """Report what sessions were made of."""
    ingest.report.details |= {
        "observations used": f"{len(observations.micros):,}",
        "duplicates": f"{chains.duplicates:,}",
        "gap": f"{gap_seconds:,} s",
    }


def _note_times(ingest: Ingest, starts: pa.ChunkedArray, ends: pa.ChunkedArray) -> None:
    """Record the dates that sessions may touch, and their earliest and latest start."""
    bounds = pc.min_max(starts).as_py()
    ingest.first_start = min(ingest.first_start or bounds["min"], bounds["min"])
    ingest.last_start = max(ingest.last_start or bounds["max"], bounds["max"])
    start = microseconds(starts)
    end = np.where(is_null(ends), start, microseconds(ends))
    # As far as an open row of the same session would reach.
    last = np.maximum(end, start + longest_open(ingest.settings) * MICRO)
    days = np.stack([start, last]) // (DAY * MICRO)
    # One number per pair, since a session lasts some weeks at most.
    pairs = np.unique(days[0] << 20 | days[1] - days[0])
    epoch = dt.date(1970, 1, 1)
    ingest.report.dates |= days_of(
        (epoch + dt.timedelta(days=pair >> 20), epoch + dt.timedelta(days=(pair >> 20) + span))
        for pair, span in zip(pairs.tolist(), (pairs & (1 << 20) - 1).tolist(), strict=True)
    )
