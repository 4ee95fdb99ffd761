"""Instants at which a device was seen at an access point, made into sessions.

The rule, per device, with its observations in the order of time (those of one instant in that of
their access points' names; equal ones count once):

1. Consecutive observations at one access point chain into a session while each comes at most
   ``gap`` seconds after the one before.
2. A move to another access point within the gap ends the session at the first observation there:
   until then the device was somewhere, and this is where it was last seen.
3. Otherwise the session ends at its last observation. A lone observation is a session without
   length, which counts in the bin that contains it.

Times are local, and the gap is measured on the wall clock, also across changes of clocks. Files
are taken one by one: a chain does not go on from one file into the next.
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

from tippers_dagster.campus.intake import clean
from tippers_dagster.campus.intake.clean import Checks
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
from tippers_dagster.campus.source.schema import REGION_TO_COVERAGE, SPACES, source_tables
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

OBSERVATIONS = "observations"
"""The kind under which the journal keeps these files."""

APPEND_ROWS = 1 << 20


@dataclass(frozen=True)
class ObservationColumns:
    """What the file calls its columns."""

    device: str = "mac_address"
    time: str = "time"
    access_point: str = "sensor_id"

    @classmethod
    def named(cls, names: Mapping[str, str]) -> ObservationColumns:
        """Columns mapped by our names (mac_address, time, sensor_id); the rest keep them."""
        ours = {"mac_address": "mac_address", "time": "time", "sensor_id": "sensor_id"}
        chosen = named_columns(ours, names)
        return cls(chosen["mac_address"], chosen["time"], chosen["sensor_id"])

    def as_json(self) -> dict[str, dict[str, str]]:
        """For the journal: names that differ from ours."""
        ours = {"mac_address": self.device, "time": self.time, "sensor_id": self.access_point}
        other = {name: theirs for name, theirs in ours.items() if name != theirs}
        return {"columns": other} if other else {}


@dataclass
class Observations:
    """Clean observations, as codes: row ``i`` of ``devices`` is ``device_names[devices[i]]``."""

    devices: NDArray[np.int32]
    device_names: pa.Array
    access_points: NDArray[np.int32]
    access_point_names: pa.Array
    micros: NDArray[np.int64]
    """Local microseconds since 1970-01-01 00:00."""


@dataclass(frozen=True)
class Chains:
    """Sessions as codes, in the order of device and start; times as in ``Observations``."""

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
    """Load a CSV or Parquet file of observations as sessions, whole or not at all.

    An access point's space is the region that it covers most of (``region_to_coverage``, the
    largest ``intersection_percentage`` of its ``sensor``), or else the space whose id it is.

    Parameters
    ----------
    settings
        Whose source tables are written.
    path
        The file.
    columns
        What the file calls device, time and access point.
    gap_seconds
        ``settings.observation_gap_seconds`` unless given.
    progress
        Called with bytes done and bytes in all.
    timezone
        IANA zone of the file's local times; the deployment's unless given.
    again
        The ingest whose place this one takes.

    Raises
    ------
    BadInput
        When the file, or every row of it, cannot be used.
    SourceError
        When the source is a deployment's own database.
    """
    sha256, clock = file_sha256(path), other_clock(settings, timezone)
    gap = settings.observation_gap_seconds if gap_seconds is None else gap_seconds
    names = (columns.device, columns.time, columns.access_point)
    if len({name.casefold() for name in names}) < len(names):
        raise BadInput(f"Device, time and access point must be three columns, not {names}.")
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
    """Read, check, chain and append, as part of an ingest.

    ``limits`` are the plausible times, ``spaces`` the space of each access point;
    ``rename_devices`` turns the file's distinct device names into those to keep; ``clock`` is that
    of the file's times, if it is not the deployment's.
    """
    observations = _read(ingest, file, columns, limits, spaces, progress, clock)
    ingest.reject_malformed(file.malformed)
    if rename_devices is not None:
        observations.device_names = rename_devices(observations.device_names)
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
        "of them duplicates": f"{chains.duplicates:,}",
        "gap": f"{gap_seconds:,} s",
    }


def chain(observations: Observations, gap_seconds: int) -> Chains:
    """Observations, in any order, as sessions. See the module for the rule."""
    # Ranks, not codes: these depend on the order of the file's rows.
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

    # Position i is between observation i and the next.
    breaks = np.flatnonzero(~(near & same_place))
    first = np.append(0, breaks + 1) if len(time) else np.empty(0, np.int64)
    last = np.append(breaks, len(time) - 1) if len(time) else np.empty(0, np.int64)
    end = time[last].copy()
    # A break to which the next observation is near is a move.
    moved = np.flatnonzero(near[breaks])
    end[moved] = time[breaks[moved] + 1]
    return Chains(device[first], place[first], time[first], end, int(repeated.sum()))


def access_point_spaces(ingest: Ingest) -> dict[str, str]:
    """The space of each access point: the region covered most, or the space of the same id.

    Only regions that are spaces count, unless no space was ingested yet.
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
        # Codes, so that memory is some 16 bytes an observation, however long the names.
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
        devices = clean.text(batch.columns[columns.device], columns.device)
        places = clean.text(batch.columns[columns.access_point], columns.access_point)
        raw_times = batch.columns[columns.time]
        checks.reject(clean.is_null(devices), clean.NO_DEVICE)
        checks.reject(clean.is_null(places), clean.NO_ACCESS_POINT)
        clean.check_text(checks, devices, columns.device)
        clean.check_text(checks, places, columns.access_point)
        checks.reject(clean.is_null(raw_times), f"no {columns.time}")
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
    """Dictionary-encoded parts as codes into one dictionary."""
    if not parts:
        return np.empty(0, np.int32), pa.array([], pa.string())
    unified = pa.chunked_array(parts).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    return codes, unified.chunk(0).dictionary
