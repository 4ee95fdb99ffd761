"""The campus of the demo: simulated, or a SmartSPEC scenario; never mixed with other data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tippers_dagster.calendar.simulated import keep_simulated
from tippers_dagster.campus.intake.smartspec import SMARTSPEC, ingest_smartspec, scenario_sha256
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import (
    SESSIONS,
    SPACES,
    TRUTH_DEVICE,
    TRUTH_OCCUPANCY,
    TRUTH_PERSON,
    SourceTable,
    require_own_source,
    source_tables,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.people.counts.head_counts import KIND as HEAD_COUNTS
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import Campus, CampusOptions, simulate_campus, write_campus

Share = Callable[[float, float], None]
"""Called with the amount done and the total amount."""

_FIXED_TABLES = (SPACES, TRUTH_PERSON, TRUTH_DEVICE)
"""Small tables that depend on the seed, and so identify a campus."""


@dataclass(frozen=True)
class Extent:
    """Local dates: sessions begin in [first, last), and end before ``until``."""

    first: dt.date
    last: dt.date
    until: dt.date

    @property
    def days(self) -> int:
        """The number of days in [first, until)."""
        return (self.until - self.first).days


def prepare_simulated(settings: Settings, options: CampusOptions, progress: Share) -> bool:
    """Fill the source tables with the simulated campus; False when they have it already.

    Sets the academic calendar to the campus's, unless users have entered periods.

    Raises
    ------
    BadInput
        When the tables contain other data. Nothing is changed then.
    SourceError
        When the source is a campus's own database.
    """
    require_own_source(settings)
    create_source_schema(settings)
    campus = simulate_campus(options)
    if _filled(settings):
        if not _has_campus(settings, campus):
            raise _other_data(settings)
        return False
    write_campus(settings, campus, progress=lambda share: progress(share, 1.0))
    keep_simulated(settings, options.start, options.days)
    return True


def prepare_smartspec(settings: Settings, folder: Path, progress: Share) -> bool:
    """Ingest a SmartSPEC scenario; False when it is ingested already.

    Raises
    ------
    BadInput
        When the folder has no scenario, or the source tables contain other data.
    SourceError
        When the source is a campus's own database.
    """
    require_own_source(settings)
    create_source_schema(settings)
    ours = [(SMARTSPEC, scenario_sha256(folder))]
    if _filled(settings) and (_ingested(settings) != ours or _has_rows(settings, TRUTH_OCCUPANCY)):
        raise _other_data(settings)
    return not ingest_smartspec(settings, folder, progress=progress).already


def extent(settings: Settings) -> Extent:
    """The local dates of the sessions, without implausible times.

    Raises
    ------
    BadInput
        When there are no sessions.
    """
    table = source_tables(settings)[SESSIONS]
    start, end = table.column("start_time"), table.column("end_time")
    earliest, latest = settings.plausible_range()
    row = read_source(
        settings,
        f"SELECT min({start})::date AS first, max({start})::date AS last, "
        f"max(coalesce({end}, {start} + interval '{settings.open_session_seconds} s'))::date "
        f"AS until FROM {table.sql} WHERE {start} >= $1 AND {start} < $2 "
        f"AND ({end} IS NULL OR {end} < $2)",
        (earliest, latest),
    ).to_pylist()[0]
    if row["first"] is None:
        raise BadInput("The source has no sessions.", "Load some with `tippers ingest`.")
    day = dt.timedelta(days=1)
    return Extent(row["first"], row["last"] + day, row["until"] + day)


def _has_campus(settings: Settings, campus: Campus) -> bool:
    """Whether the source tables contain this campus, which its seed determines."""
    if _ingested(settings):
        return False
    tables, options = source_tables(settings), campus.options
    for kind in _FIXED_TABLES:
        expected = campus.tables[kind]
        if not _rows(settings, tables[kind], expected.column_names).equals(_ordered(expected)):
            return False
    span = extent(settings)
    return (span.first, (span.last - span.first).days) == (options.start, options.days)


def _rows(settings: Settings, table: SourceTable, names: list[str]) -> pa.Table:
    columns = ", ".join(f"{table.column(name)} AS {name}" for name in names)
    return _ordered(read_source(settings, f"SELECT {columns} FROM {table.sql}"))


def _ordered(table: pa.Table) -> pa.Table:
    table = table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
    return table.sort_by(table.column_names[0]).combine_chunks()


def _filled(settings: Settings) -> list[str]:
    tables = source_tables(settings)
    return [f"{t.schema}.{t.name}" for kind, t in tables.items() if _has_rows(settings, kind)]


def _has_rows(settings: Settings, kind: str) -> bool:
    table = source_tables(settings)[kind]
    found = read_source(settings, f"SELECT EXISTS (SELECT FROM {table.sql}) AS filled")
    return bool(found["filled"][0].as_py())


def _ingested(settings: Settings) -> list[tuple[str, str]]:
    """Kind and hash of every file that was ingested into the source tables and not undone."""
    found = read_arrow(
        settings,
        f"SELECT kind, sha256 FROM tippers.ingested_file WHERE kind <> '{HEAD_COUNTS}' "
        "AND undone_at IS NULL ORDER BY 1, 2",
    )
    return list(zip(found["kind"].to_pylist(), found["sha256"].to_pylist(), strict=True))


def _other_data(settings: Settings) -> BadInput:
    return BadInput(
        f"The source contains other data, in {', '.join(_filled(settings))}. The demo does not "
        "change it.",
        "Use a separate home for the demo: TIPPERS_HOME=.tippers-demo make demo",
    )
