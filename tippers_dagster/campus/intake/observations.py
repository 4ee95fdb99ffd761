"""Turns observations (a device seen at an access point at an instant) into sessions.

The rule, per device, with its observations ordered by time (at the same instant by name of the
access point; duplicates count once):

1. Consecutive observations at one access point form a session as long as each is at most ``gap``
   seconds after the previous one.
2. A move to another access point within the gap ends the session at the first observation there:
   until then, the device counts where it was last seen.
3. Otherwise the session ends at its last observation. A single observation is a session of length
   zero, which counts in the bin that contains it.

Times are local, and the gap is measured on the wall clock, even across clock changes. A session
does not continue from one file to the next.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.devices import NO_DEVICE, normalise_devices
from tippers_dagster.campus.intake import clean
from tippers_dagster.campus.intake.files import InputFile, Progress, file_sha256, open_rows
from tippers_dagster.campus.intake.ingest import (
    append_sessions,
    begin_sessions,
    finish_sessions,
    named_columns,
    other_clock,
)
from tippers_dagster.campus.intake.journal import Ingest, IngestReport, begin_ingest
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.log import texts
from tippers_dagster.campus.log.checks import NO_ACCESS_POINT, Checks
from tippers_dagster.campus.source.schema import REGION_TO_COVERAGE, SPACES, source_tables
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

OBSERVATIONS = "observations"
"""The kind of these files in the journal."""

APPEND_ROWS = 1 << 20


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


@dataclass
class Observations:
    """Clean observations, encoded: the device of row ``i`` is ``device_names[devices[i]]``."""

    devices: NDArray[np.int32]
    device_names: pa.Array
    access_points: NDArray[np.int32]
    access_point_names: pa.Array
    micros: NDArray[np.int64]
    """Local microseconds since 1970-01-01 00:00."""


@dataclass(frozen=True)
class Chains:
    """Encoded sessions, ordered by device and start; times as in ``Observations``."""

    devices: NDArray[np.int32]
    access_points: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    duplicates: int


def ingest_observations(
    settings: Settings,
    path: Path,
    columns: ObservationColumns = ObservationColumns(),
    gap_seconds: int | None = None,
    progress: Progress | None = None,
    *,
    timezone: str | None = None,
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
    again
        The number of the ingest that this one replaces.

    Raises
    ------
    BadInput
        When the file or all its rows are unusable.
    SourceError
        When the source is a campus's own database.
    """
    sha256, clock = file_sha256(path), other_clock(settings, timezone)
    gap = settings.observation_gap_seconds if gap_seconds is None else gap_seconds
    names = (columns.device, columns.time, columns.access_point)
    if len({name.casefold() for name in names}) < len(names):
        raise BadInput(
            "Device, time and access point must be in three different columns, not "
            f"{', '.join(names)}."
        )
    with (
        open_rows(path, dict.fromkeys(names)) as file,
        begin_ingest(
            settings,
            OBSERVATIONS,
            path,
            sha256,
            {"gap_seconds": gap, **columns.as_json(), **({"timezone": timezone} if clock else {})},
            replaces=False,
            again=again,
        ) as ingest,
    ):
        ingest.report.ignored = file.ignored
        if not ingest.report.already:
            load_observations(
                ingest,
                file,
                columns,
                settings.plausible_range(),
                access_point_spaces(ingest),
                gap,
                progress,
                clock=clock,
            )
    return ingest.report


def load_observations(
    ingest: Ingest,
    file: InputFile,
    columns: ObservationColumns,
    limits: tuple[dt.datetime, dt.datetime],
    spaces: dict[str, str],
    gap_seconds: int,
    progress: Progress | None = None,
    rename_devices: Callable[[pa.Array], pa.Array] | None = None,
    clock: LocalClock | None = None,
) -> None:
    """Read and check observations, and append their sessions, as part of an ingest.

    ``limits`` are the plausible times, ``spaces`` the space of each access point;
    ``rename_devices`` converts the file's distinct device names; ``clock`` is the clock of the
    file's times, if it is not the deployment's.
    """
    observations = _read(ingest, file, columns, limits, spaces, progress, clock)
    ingest.reject_malformed(file.malformed)
    if rename_devices is not None:
        observations.device_names = rename_devices(observations.device_names)
    join_spellings(observations)
    chains = chain(observations, gap_seconds)
    space_names = pa.array(
        [spaces.get(name) for name in observations.access_point_names.to_pylist()], pa.string()
    )
    begin_sessions(ingest, len(chains.start))
    for at in range(0, len(chains.start), APPEND_ROWS):
        part = slice(at, at + APPEND_ROWS)
        access_points = pa.array(chains.access_points[part])
        append_sessions(
            ingest,
            pa.table(
                {
                    "mac_address": observations.device_names.take(pa.array(chains.devices[part])),
                    "sensor_id": observations.access_point_names.take(access_points),
                    "start_time": pa.array(chains.start[part]).cast(pa.timestamp("us")),
                    "end_time": pa.array(chains.end[part]).cast(pa.timestamp("us")),
                    "space_id": space_names.take(access_points),
                }
            ),
        )
    finish_sessions(ingest)
    ingest.report.details |= {
        "observations used": f"{len(observations.micros):,}",
        "duplicates": f"{chains.duplicates:,}",
        "gap": f"{gap_seconds:,} s",
    }


def join_spellings(observations: Observations) -> None:
    """Make one device of those whose names are spellings of one address."""
    names = normalise_devices(observations.device_names)[0].dictionary_encode()
    observations.devices = names.indices.to_numpy()[observations.devices]
    observations.device_names = names.dictionary


def chain(observations: Observations, gap_seconds: int) -> Chains:
    """Turn observations, in any order, into sessions; see the module for the rule."""
    # Ranks instead of codes, which depend on the order of the file's rows.
    rank = pc.rank(observations.access_point_names).to_numpy()
    order = np.lexsort(
        (rank[observations.access_points], observations.micros, observations.devices)
    )
    device = observations.devices[order]
    place = observations.access_points[order]
    time = observations.micros[order]

    same_device = device[1:] == device[:-1]
    same_place = place[1:] == place[:-1]
    repeated = np.append(False, same_device & same_place & (time[1:] == time[:-1]))
    if repeated.any():
        device, place, time = (column[~repeated] for column in (device, place, time))
        same_device = device[1:] == device[:-1]
        same_place = place[1:] == place[:-1]
    near = same_device & (time[1:] - time[:-1] <= gap_seconds * 1_000_000)

    # Position i is between observations i and i + 1.
    breaks = np.flatnonzero(~(near & same_place))
    first = np.append(0, breaks + 1) if len(time) else np.empty(0, np.int64)
    last = np.append(breaks, len(time) - 1) if len(time) else np.empty(0, np.int64)
    end = time[last].copy()
    # A break with a next observation within the gap is a move.
    moved = np.flatnonzero(near[breaks])
    end[moved] = time[breaks[moved] + 1]
    return Chains(device[first], place[first], time[first], end, int(repeated.sum()))


def access_point_spaces(ingest: Ingest) -> dict[str, str]:
    """The space of each access point: the region covered most, or the space with the same id.

    Only regions that are spaces count, unless no spaces have been ingested yet.
    """
    coverage, space = (source_tables(ingest.settings)[k] for k in (REGION_TO_COVERAGE, SPACES))
    space_id, region = space.column("space_id"), coverage.column("region_id")
    sensor, share = coverage.column("sensor"), coverage.column("intersection_percentage")
    found = ingest.load.execute(
        f"SELECT {space_id} AS sensor, {space_id} AS space_id FROM {space.sql}"
    ).to_pydict()
    covered = ingest.load.execute(
        f"SELECT DISTINCT ON ({sensor}) {sensor} AS sensor, {region} AS space_id "
        f"FROM {coverage.sql} WHERE {region} IN (SELECT {space_id} FROM {space.sql}) "
        f"OR NOT EXISTS (SELECT FROM {space.sql}) "
        f"ORDER BY {sensor}, {share} DESC NULLS LAST, {region}"
    ).to_pydict()
    spaces = dict(zip(found["sensor"], found["space_id"], strict=True))
    return spaces | dict(zip(covered["sensor"], covered["space_id"], strict=True))


@dataclass
class _Reading:
    devices: list[pa.Array] = field(default_factory=list)
    access_points: list[pa.Array] = field(default_factory=list)
    micros: list[NDArray[np.int64]] = field(default_factory=list)

    def add(
        self, devices: pa.ChunkedArray, access_points: pa.ChunkedArray, times: pa.ChunkedArray
    ) -> None:
        # Encoded, this takes some 16 bytes per observation, however long the names are.
        self.devices += devices.dictionary_encode().chunks
        self.access_points += access_points.dictionary_encode().chunks
        self.micros.append(clean.microseconds(times))

    def observations(self) -> Observations:
        devices, device_names = _codes(self.devices)
        access_points, access_point_names = _codes(self.access_points)
        micros = np.concatenate([np.empty(0, np.int64), *self.micros])
        return Observations(devices, device_names, access_points, access_point_names, micros)


def _read(
    ingest: Ingest,
    file: InputFile,
    columns: ObservationColumns,
    limits: tuple[dt.datetime, dt.datetime],
    spaces: dict[str, str],
    progress: Progress | None,
    clock: LocalClock | None,
) -> Observations:
    reading = _Reading()
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
        if clock is not None:
            times, _ = clean.moved(clock, LocalClock(ingest.settings.timezone), times, times)
        clean.check_plausible(checks, times, columns.time, limits)
        _check_access_points(checks, places, spaces)
        ingest.report.rows += batch.columns.num_rows
        ingest.reject(batch.columns, batch.row_numbers, checks)
        good = pa.array(checks.good)
        reading.add(devices.filter(good), places.filter(good), times.filter(good))
    return reading.observations()


def _check_access_points(checks: Checks, places: pa.ChunkedArray, spaces: dict[str, str]) -> None:
    codes, names = _codes(pc.fill_null(places, "").dictionary_encode().chunks)
    unknown = np.array([name not in spaces for name in names.to_pylist()], bool)
    reasons = [f"access point {name} covers no space" for name in names.to_pylist()]
    checks.reject_each(unknown[codes], codes, reasons)


def _codes(parts: list[pa.Array]) -> tuple[NDArray[np.int32], pa.Array]:
    """Dictionary-encoded parts, with codes into one common dictionary."""
    if not parts:
        return np.empty(0, np.int32), pa.array([], pa.string())
    unified = pa.chunked_array(parts).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    return codes, unified.chunk(0).dictionary
