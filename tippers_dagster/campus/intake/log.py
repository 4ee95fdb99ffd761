"""Loads a WiFi log in any shape, by what its columns mean, as sessions."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from tippers_dagster.campus.intake.appending import (
    append_sessions,
    begin_sessions,
    finish_sessions,
    note_chains,
)
from tippers_dagster.campus.intake.entries import Options
from tippers_dagster.campus.intake.files import CSV_ROW_BYTES, file_sha256
from tippers_dagster.campus.intake.journal import Ingest, IngestReport, begin_ingest
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.log.formats import LogFile
from tippers_dagster.campus.log.kept_rows import kept_columns
from tippers_dagster.campus.log.mapping import LogMapping, read_mapping
from tippers_dagster.campus.log.reading import (
    LogRows,
    day_month_order,
    meaning_of,
    normalised_rows,
    open_by,
    placed_rows,
    read_rows,
)
from tippers_dagster.campus.log.rows import Malformed, Progress
from tippers_dagster.campus.log.times import OpenOrder, Order
from tippers_dagster.campus.source.log_source import said_of_logs
from tippers_dagster.campus.source.places import Places
from tippers_dagster.campus.source.session_rows import session_rows
from tippers_dagster.campus.source.sightings import Sightings
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.tasks import made_ahead
from tippers_dagster.settings import Settings

LOG = "log"
"""The kind of these files in the journal."""


def ingest_log(
    settings: Settings,
    path: Path,
    mapping: LogMapping,
    gap_seconds: int | None = None,
    progress: Progress | None = None,
    *,
    again: int | None = None,
    name: str | None = None,
) -> IngestReport:
    """Load a log of sessions or observations, completely or not at all.

    A row's space is the one that it names, else that of its access point: the region that it covers
    most, or the space with the same id. Rows of one session are all loaded; of these, the sessions
    that are extracted have one.

    Parameters
    ----------
    settings
        The deployment's settings.
    path
        A CSV, JSON or Parquet file.
    mapping
        What its columns mean.
    gap_seconds
        Of observations: longest gap in a session; default: ``settings.observation_gap_seconds``.
    progress
        Called with the bytes read and the size of the file.
    again
        The number of the ingest that this one replaces.
    name
        The file's name in the journal; default: its path.

    Raises
    ------
    BadInput
        When the file or all its rows are unusable, or it leaves the order of day and month open.
    SourceError
        When the source is a campus's own database.
    """
    if gap_seconds is not None and not mapping.seen:
        raise BadInput("--gap applies only to observations, and this log has sessions.")
    if mapping.seen:
        gap_seconds = gap_seconds or settings.observation_gap_seconds
    options = log_options(mapping, gap_seconds)
    return load_log(
        settings,
        LOG,
        path,
        mapping,
        options,
        progress,
        gap_seconds=gap_seconds,
        again=again,
        name=name,
    )


def log_options(mapping: LogMapping, gap_seconds: int | None) -> Options:
    """How a log is read, for the journal; ``gap_seconds``: of observations."""
    gap = {"gap_seconds": gap_seconds} if mapping.seen else {}
    return {"mapping": mapping.as_fields(), **gap}


def load_log(
    settings: Settings,
    kind: str,
    path: Path,
    mapping: LogMapping,
    options: Options,
    progress: Progress | None = None,
    *,
    gap_seconds: int | None = None,
    again: int | None = None,
    name: str | None = None,
) -> IngestReport:
    """Load a log as ``ingest_log`` does.

    Parameters
    ----------
    settings, path, mapping, progress, again, name
        As there.
    kind, options
        For the journal.
    gap_seconds
        Of observations.
    """
    load = _Load(settings, kind, path, mapping, options, gap_seconds, progress, again, name)
    try:
        return load.run(mapping.order)
    except OpenOrder:
        # Other rows may decide it, for the whole file: nothing was loaded.
        with open_by(path, mapping) as file:
            order = day_month_order(read_rows(file, mapping), mapping)
        return load.run(order)


def session_mapping(
    names: Mapping[str, str], timezone: str | None, order: Order | None
) -> LogMapping:
    """The mapping of a file of sessions; ``names``: the file's for the session table's columns."""
    roles = {
        "device": "mac_address",
        "access_point": "sensor_id",
        "start": "start_time",
        "end": "end_time",
        "space": "space_id",
    }
    fields = {role: names[column] for role, column in roles.items()}
    return read_mapping(fields | {"timezone": timezone, "order": order})


@dataclass(frozen=True)
class _Load:
    settings: Settings
    kind: str
    path: Path
    mapping: LogMapping
    options: Options
    gap_seconds: int | None
    progress: Progress | None
    again: int | None
    name: str | None

    def run(self, order: Order | None) -> IngestReport:
        """Load the file, with this order of day and month."""
        begun = begin_ingest(
            self.settings,
            self.kind,
            self.path,
            file_sha256(self.path),
            self.options,
            replaces=False,
            again=self.again,
            name=self.name,
        )
        with open_by(self.path, self.mapping) as file, begun as ingest:
            used = {name.strip().casefold() for name in self.mapping.columns}
            ingest.report.ignored = [n for n in file.names if n.strip().casefold() not in used]
            if not ingest.report.already:
                # Closed before the file is, which another thread reads.
                with closing(self._rows(ingest, file, order)) as rows:
                    if self.gap_seconds is not None:
                        _load_observations(ingest, rows, self.gap_seconds)
                    else:
                        _load_sessions(ingest, rows, self.mapping.open_hours)
                ingest.reject_malformed(self._without_users(file.malformed))
        return ingest.report

    def _normalised(
        self, file: LogFile, order: Order | None, progress: Progress
    ) -> Iterator[tuple[LogRows, pa.Table, Checks]]:
        """The rows as they are, the usable ones in one form, and why others are not."""
        deployment, key = said_of_logs(self.settings), device_key(self.settings)
        meaning = meaning_of(self.mapping, deployment, key, order)
        for part in read_rows(file, self.mapping, progress):
            yield part, *normalised_rows(part, meaning)

    def _rows(
        self, ingest: Ingest, file: LogFile, order: Order | None
    ) -> Generator[pa.Table, None, None]:
        """The usable rows in one form, with the space of each; all others are rejected.

        While PostgreSQL stores some rows, the next are read.
        """
        places = Places(self.settings, ingest.load.execute)
        ingest.report.unknown_access_points = places.unknown
        read: deque[tuple[int, int]] = deque(maxlen=1)
        parts = self._normalised(file, order, lambda *position: read.append(position))
        for part, rows, checks in made_ahead(parts):
            self._report(read)
            ingest.report.left_out += part.left_out
            ingest.report.rows += part.columns.num_rows + part.left_out
            raw = kept_columns(part.columns, self.mapping)
            usable = placed_rows(rows, checks, places.find)
            ingest.reject(raw, part.row_numbers, checks)
            yield usable
        self._report(read)

    def _report(self, read: deque[tuple[int, int]]) -> None:
        """Report the latest progress, in the thread of who called: pages need that."""
        if read and self.progress is not None:
            self.progress(*read.pop())

    def _without_users(self, malformed: list[Malformed]) -> list[Malformed]:
        """Rows that cannot be taken apart, without their text if user names may be in it."""
        if not self.mapping.user:
            return malformed
        return [replace(row, text="(not kept: it may have user names)") for row in malformed]


# --- sessions -------------------------------------------------------------------------------
def _load_sessions(ingest: Ingest, parts: Iterator[pa.Table], open_hours: float | None) -> None:
    begin_sessions(ingest, os.path.getsize(ingest.path) // CSV_ROW_BYTES)
    clock = LocalClock(ingest.settings.timezone)
    for rows in parts:
        append_sessions(ingest, session_rows(clock, rows, open_hours))
    finish_sessions(ingest)


def _load_observations(ingest: Ingest, parts: Iterator[pa.Table], gap_seconds: int) -> None:
    sightings = Sightings()
    for rows in parts:
        sightings.add(rows)
    chained = sightings.chained(gap_seconds)
    begin_sessions(ingest, len(chained))
    clock = LocalClock(ingest.settings.timezone)
    for rows in chained.parts():
        append_sessions(ingest, session_rows(clock, rows))
    finish_sessions(ingest)
    note_chains(ingest, chained.observations, chained.chains, gap_seconds)
