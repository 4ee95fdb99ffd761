"""Loads a SmartSPEC scenario: people, spaces, access points and their observations.

The folder has ``Spaces.json``, ``Sensors.json``, ``People.json`` and ``wifi_observations.csv`` as
SmartSPEC writes them. The campus becomes a tree: campus, building, a floor per height (the third
coordinate), and a region per WiFi access point, where its sessions are. The rooms that an access
point covers become its coverage. People's types are kept as truth. Each person's device gets a
fixed, made-up MAC address.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.intake import clean
from tippers_dagster.campus.intake.files import Progress, file_sha256, open_rows
from tippers_dagster.campus.intake.ingest import merge_spaces, replace_rows
from tippers_dagster.campus.intake.journal import Ingest, IngestReport, begin_ingest
from tippers_dagster.campus.intake.observations import ObservationColumns, load_observations
from tippers_dagster.campus.log import texts
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.source.schema import (
    REGION_TO_COVERAGE,
    SPACES,
    TRUTH_DEVICE,
    TRUTH_PERSON,
    source_tables,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

SMARTSPEC = "smartspec"
"""The kind of these folders in the journal."""

PLAUSIBLE_DAYS = 180
"""A scenario lasts weeks: times further than this from the median are errors of the generator."""

CAMPUS = ("uci", "UC Irvine")
BUILDING = ("dbh", "Donald Bren Hall")
ACCESS_POINT = 1
"""``metasensor-id`` of a WiFi access point."""

_JSON_FILES = {
    "Spaces.json": ("id", "description", "coordinates"),
    "Sensors.json": ("id", "description", "coordinates", "metasensor-id", "coverage"),
    "People.json": ("id", "description"),
}
MAX_COORDINATE = 1e9

_OBSERVATIONS_FILE = "wifi_observations.csv"
_COLUMNS = ObservationColumns(device="PersonID", time="DateTime", access_point="WiFiAP")


@dataclass(frozen=True)
class Scenario:
    """A scenario's tables, with the columns of the source tables.

    ``access_points`` maps the id of each access point to the id of its region.
    """

    spaces: pa.Table
    coverage: pa.Table
    people: pa.Table
    devices: pa.Table
    access_points: dict[str, str]
    unknown_rooms: list[str]


def ingest_smartspec(
    settings: Settings,
    folder: Path,
    gap_seconds: int | None = None,
    progress: Progress | None = None,
    *,
    again: int | None = None,
) -> IngestReport:
    """Load a scenario's spaces, coverage, people and observations, completely or not at all.

    Parameters
    ----------
    settings
        The deployment's settings.
    folder
        The scenario's folder.
    gap_seconds
        Longest gap in a session; default: ``settings.observation_gap_seconds``.
    progress
        Called with the bytes read and the size of the file.
    again
        The number of the ingest that this one replaces.

    Raises
    ------
    BadInput
        Names the file that is missing or invalid.
    SourceError
        When the source is a campus's own database.
    """
    sha256 = scenario_sha256(folder)
    scenario = read_scenario(folder)
    path = folder / _OBSERVATIONS_FILE
    limits = _plausible_range(settings, path)
    gap = settings.observation_gap_seconds if gap_seconds is None else gap_seconds
    options = {"gap_seconds": gap}
    columns = dict.fromkeys((_COLUMNS.device, _COLUMNS.time, _COLUMNS.access_point))
    with (
        open_rows(path, columns) as file,
        begin_ingest(
            settings, SMARTSPEC, folder, sha256, options, replaces=False, again=again
        ) as ingest,
    ):
        ingest.report.ignored = file.ignored
        if not ingest.report.already:
            _load_places_and_people(ingest, scenario)
            load_observations(
                ingest,
                file,
                _COLUMNS,
                limits,
                scenario.access_points,
                gap,
                progress,
                lambda people: pa.array(_devices(people.to_pylist(), scenario), pa.string()),
            )
    return ingest.report


def read_scenario(folder: Path) -> Scenario:
    """Read the spaces and people of a scenario.

    Raises
    ------
    BadInput
        Names the file that is missing or invalid.
    """
    rooms, sensors, people = (_read_json(folder / n, keys) for n, keys in _JSON_FILES.items())
    access_points = [s for s in sensors if s["metasensor-id"] == ACCESS_POINT]
    if not access_points:
        raise BadInput(f"{folder / 'Sensors.json'} has no WiFi access point (metasensor-id 1).")
    regions = {str(ap["id"]): f"{BUILDING[0]}-ap-{ap['id']}" for ap in access_points}
    names = {room["id"]: str(room["description"]) for room in rooms}
    ids = [str(person["id"]) for person in people]
    return Scenario(
        spaces=_tree(access_points, regions, [*rooms, *access_points]),
        coverage=_coverage(access_points, regions, names),
        people=pa.table({"person_id": ids, "person_type": [p["description"] for p in people]}),
        devices=pa.table(
            {
                "mac_address": [pseudo_mac(person["id"]) for person in people],
                "device_type": pa.nulls(len(ids), pa.string()),
                "person_id": ids,
            }
        ),
        access_points=regions,
        unknown_rooms=sorted(
            {str(room) for ap in access_points for room in ap["coverage"] if room not in names}
        ),
    )


def scenario_sha256(folder: Path) -> str:
    """The hash of a scenario's files, which identifies it in the journal.

    Raises
    ------
    BadInput
        When the folder or one of the files is missing.
    """
    if not folder.is_dir():
        raise BadInput(
            f"{folder} is not a folder.",
            "Give the scenario's folder, with Spaces.json and the other files.",
        )
    hashes = [file_sha256(folder / name) for name in (*_JSON_FILES, _OBSERVATIONS_FILE)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def pseudo_mac(person: int) -> str:
    """The made-up, locally administered MAC address of a person's device."""
    return "02:" + (person % (1 << 40)).to_bytes(5, "big").hex(":")


def _load_places_and_people(ingest: Ingest, scenario: Scenario) -> None:
    tables = source_tables(ingest.settings)
    merge_spaces(ingest, scenario.spaces)
    ingest.report.details = {
        f"{SPACES} {name}": count for name, count in ingest.report.details.items()
    }
    # Only sessions count as loaded; spaces and people are reported separately.
    ingest.report.loaded = 0
    for kind, rows in (
        (REGION_TO_COVERAGE, scenario.coverage),
        (TRUTH_PERSON, scenario.people),
        (TRUTH_DEVICE, scenario.devices),
    ):
        ingest.report.details[kind] = f"{replace_rows(ingest, tables[kind], rows):,} rows"
    if scenario.unknown_rooms:
        rooms = ", ".join(scenario.unknown_rooms)
        ingest.report.details["covered rooms missing in Spaces.json"] = rooms


def _devices(people: list[str], scenario: Scenario) -> list[str]:
    devices = scenario.devices.to_pydict()
    known = dict(zip(devices["person_id"], devices["mac_address"], strict=True))
    unknown = [person for person in people if person not in known]
    if unknown:
        raise BadInput(
            f"{_OBSERVATIONS_FILE} has people that are not in People.json: "
            f"{', '.join(unknown[:10])}{' ...' if len(unknown) > 10 else ''}.",
            "Do all files belong to the same scenario?",
        )
    return [known[person] for person in people]


def _tree(
    access_points: list[dict[str, Any]], regions: dict[str, str], placed: list[dict[str, Any]]
) -> pa.Table:
    """The space table: campus, building, floors from the bottom up, regions."""
    building = BUILDING[0]
    heights = sorted({_height(item) for item in placed})
    floors = {height: f"{building}-floor-{n}" for n, height in enumerate(heights, 1)}
    rows: list[tuple[str, str, str | None, str | None]] = [
        (*CAMPUS, None, None),
        (*BUILDING, CAMPUS[0], None),
        *((floor, f"Floor {n}", building, None) for n, floor in enumerate(floors.values(), 1)),
        *(
            (regions[str(ap["id"])], _region_name(ap), floors[_height(ap)], _region_name(ap))
            for ap in access_points
        ),
    ]
    columns = ("space_id", "space_name", "parent_space_id", "building_room")
    return pa.table(
        {
            name: pa.array(values, pa.string())
            for name, values in zip(columns, zip(*rows, strict=True), strict=True)
        }
    )


def _coverage(
    access_points: list[dict[str, Any]], regions: dict[str, str], names: dict[int, str]
) -> pa.Table:
    """The coverage table: an access point covers all of its region, and its rooms equally."""
    rows: list[tuple[str, str, str, str, float]] = []
    for ap in access_points:
        sensor = str(ap["id"])
        rooms = [room for room in ap["coverage"] if room in names]
        rows.append((regions[sensor], _region_name(ap), f"wapcov-{sensor}", sensor, 100.0))
        rows += (
            (f"{BUILDING[0]}-{room}", names[room], f"wapcov-{sensor}", sensor, 100 / len(rooms))
            for room in rooms
        )
    columns = ("region_id", "space_name", "wapcov_id", "sensor", "intersection_percentage")
    return pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))


def _region_name(access_point: dict[str, Any]) -> str:
    return str(access_point["description"]).removesuffix("(WiFi AP)").strip()


def _height(item: dict[str, Any]) -> float:
    return float(item["coordinates"][2])


def _plausible_range(settings: Settings, path: Path) -> tuple[dt.datetime, dt.datetime]:
    parts = []
    with open_rows(path, {_COLUMNS.time: None}) as file:
        for batch in file.batches():
            column = batch.columns[_COLUMNS.time]
            times = clean.local_times(Checks(len(column)), column, _COLUMNS.time)
            parts.append(clean.microseconds(times.drop_null()))
    micros = np.concatenate([np.empty(0, np.int64), *parts])
    earliest, latest = settings.plausible_range()
    if not len(micros):
        return earliest, latest
    median = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(np.median(micros)))
    around = dt.timedelta(days=PLAUSIBLE_DAYS)
    return max(earliest, median - around), min(latest, median + around)


def _read_json(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError also for numbers that are too long
        raise BadInput(f"{path} is not JSON: {error}") from error
    if not isinstance(items, list) or not items:
        raise BadInput(f"{path} is not a list of objects.")
    for number, item in enumerate(items, 1):
        missing = keys if not isinstance(item, dict) else [key for key in keys if key not in item]
        if missing:
            raise BadInput(f"{path}, object {number} has no {', '.join(missing)}.")
        for key in keys:
            kind, is_valid = _VALUES[key]
            if not is_valid(item[key]):
                raise BadInput(f"{path}, object {number}: {key} {item[key]!r:.60} is not {kind}.")
    return items


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and len(value) <= texts.MAX_TEXT


def _is_place(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(v, int | float) and abs(v) < MAX_COORDINATE for v in value)
    )


def _is_list_of_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


_VALUES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "id": ("a whole number", _is_whole),
    "description": (f"a text of up to {texts.MAX_TEXT} characters", _is_text),
    "coordinates": ("three numbers", _is_place),
    "metasensor-id": ("a whole number", _is_whole),
    "coverage": ("a list of whole numbers", _is_list_of_ids),
}
"""The kind of value of each field, as text and as a check."""
