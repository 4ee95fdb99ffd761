"""Loads observations: a device seen at an access point at an instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.devices import NO_DEVICE
from tippers_dagster.campus.intake import clean
from tippers_dagster.campus.intake.appending import (
    append_sessions,
    begin_sessions,
    finish_sessions,
    note_chains,
)
from tippers_dagster.campus.intake.files import InputFile, Progress, named_columns
from tippers_dagster.campus.intake.journal import Ingest, IngestReport
from tippers_dagster.campus.intake.log import load_log
from tippers_dagster.campus.log import texts
from tippers_dagster.campus.log.checks import NO_ACCESS_POINT, Checks
from tippers_dagster.campus.log.mapping import read_mapping
from tippers_dagster.campus.log.times import Order
from tippers_dagster.campus.source.chains import (
    Observations,
    Reading,
    chain,
    join_spellings,
    joined_codes,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

OBSERVATIONS = "observations"
"""The kind of these files in the journal."""


@dataclass(frozen=True)
class ObservationColumns:
    """The file's column names."""

    device: str = "mac_address"
    time: str = "time"
    access_point: str = "sensor_id"

    @classmethod
    def named(cls, names: Mapping[str, str]) -> ObservationColumns:
        """Column names from a mapping of mac_address, time and sensor_id; others are unchanged."""
        ours = {"mac_address": "mac_address", "time": "time", "sensor_id": "sensor_id"}
        chosen = named_columns(ours, names)
        return cls(chosen["mac_address"], chosen["time"], chosen["sensor_id"])

    def as_json(self) -> dict[str, dict[str, str]]:
        """For the journal: names that differ from the defaults."""
        names = {"mac_address": self.device, "time": self.time, "sensor_id": self.access_point}
        different = {ours: theirs for ours, theirs in names.items() if ours != theirs}
        return {"columns": different} if different else {}


def ingest_observations(
    settings: Settings,
    path: Path,
    columns: ObservationColumns = ObservationColumns(),
    gap_seconds: int | None = None,
    progress: Progress | None = None,
    *,
    timezone: str | None = None,
    order: Order | None = None,
    again: int | None = None,
) -> IngestReport:
    """Load a CSV or Parquet file of observations as sessions, completely or not at all.

    An access point's space is the region that it covers most of (``region_to_coverage``, the
    largest ``intersection_percentage`` of its ``sensor``), otherwise the space with the same id.

    Parameters
    ----------
    settings
        The deployment's settings.
    path
        The file.
    columns
        The file's names for device, time and access point.
    gap_seconds
        Longest gap in a session; default: ``settings.observation_gap_seconds``.
    progress
        Called with the bytes read and the size of the file.
    timezone
        IANA zone of the file's local times; default: the deployment's.
    order
        Of day and month in its times, if these leave it open.
    again
        The number of the ingest that this one replaces.

    Raises
    ------
    BadInput
        When the file or all its rows are unusable.
    SourceError
        When the source is a campus's own database.
    """
    gap = settings.observation_gap_seconds if gap_seconds is None else gap_seconds
    names = (columns.device, columns.time, columns.access_point)
    if len({name.casefold() for name in names}) < len(names):
        raise BadInput(
            "Device, time and access point must be in three different columns, not "
            f"{', '.join(names)}."
        )
    said = {"timezone": timezone, "order": order}
    said = {name: value for name, value in said.items() if value is not None}
    fields = dict(zip(("device", "seen", "access_point"), names, strict=True))
    return load_log(
        settings,
        OBSERVATIONS,
        path,
        read_mapping(fields | said),
        {"gap_seconds": gap, **columns.as_json(), **said},
        progress,
        gap_seconds=gap,
        again=again,
    )


def load_observations(
    ingest: Ingest,
    file: InputFile,
    columns: ObservationColumns,
    limits: tuple[dt.datetime, dt.datetime],
    spaces: dict[str, str],
    gap_seconds: int,
    progress: Progress | None = None,
    rename_devices: Callable[[pa.Array], pa.Array] | None = None,
) -> None:
    """Read and check observations, and append their sessions, as part of an ingest.

    ``limits`` are the plausible times, ``spaces`` the space of each access point;
    ``rename_devices`` converts the file's distinct device names.
    """
    observations = _read(ingest, file, columns, limits, spaces, progress)
    ingest.reject_malformed(file.malformed)
    if rename_devices is not None:
        observations.device_names = rename_devices(observations.device_names)
    join_spellings(observations)
    chains = chain(observations, gap_seconds)
    space_names = pa.array(
        [spaces.get(name) for name in observations.access_point_names.to_pylist()], pa.string()
    )
    begin_sessions(ingest, len(chains.start))
    for part in chains.parts():
        access_points = pa.array(part.access_points)
        append_sessions(
            ingest,
            pa.table(
                {
                    "mac_address": observations.device_names.take(pa.array(part.devices)),
                    "sensor_id": observations.access_point_names.take(access_points),
                    "start_time": pa.array(part.start).cast(pa.timestamp("us")),
                    "end_time": pa.array(part.end).cast(pa.timestamp("us")),
                    "space_id": space_names.take(access_points),
                }
            ),
        )
    finish_sessions(ingest)
    note_chains(ingest, observations, chains, gap_seconds)


def _read(
    ingest: Ingest,
    file: InputFile,
    columns: ObservationColumns,
    limits: tuple[dt.datetime, dt.datetime],
    spaces: dict[str, str],
    progress: Progress | None,
) -> Observations:
    reading = Reading()
    for batch in file.batches(progress):
        checks = Checks(batch.columns.num_rows)
        devices = texts.text(batch.columns[columns.device], columns.device)
        places = texts.text(batch.columns[columns.access_point], columns.access_point)
        raw_times = batch.columns[columns.time]
        checks.reject(texts.is_null(devices), NO_DEVICE)
        checks.reject(texts.is_null(places), NO_ACCESS_POINT)
        texts.check_text(checks, devices, columns.device)
        texts.check_text(checks, places, columns.access_point)
        checks.reject(texts.is_null(raw_times), f"no {columns.time}")
        times = clean.local_times(checks, raw_times, columns.time)
        clean.check_plausible(checks, times, columns.time, limits)
        _check_access_points(checks, places, spaces)
        ingest.report.rows += batch.columns.num_rows
        ingest.reject(batch.columns, batch.row_numbers, checks)
        good = pa.array(checks.good)
        micros = clean.microseconds(times.filter(good))
        reading.add(devices.filter(good), places.filter(good), micros)
    return reading.observations()


def _check_access_points(checks: Checks, places: pa.ChunkedArray, spaces: dict[str, str]) -> None:
    codes, names = joined_codes(pc.fill_null(places, "").dictionary_encode().chunks)
    unknown = np.array([name not in spaces for name in names.to_pylist()], bool)
    reasons = [f"access point {name} covers no space" for name in names.to_pylist()]
    checks.reject_each(unknown[codes], codes, reasons)
