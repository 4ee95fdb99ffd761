"""The campus's spaces, room types, access points, coverage and faculty offices."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.simulation.calendar import Ints
from tippers_dagster.simulation.options import CampusOptions

Strings = NDArray[np.str_]

# Kinds of spaces. Those in ROOM_TYPES are rooms, with a row in space_metadata.
CAMPUS, BUILDING, FLOOR, HALLWAY, LOBBY, SUITE, OUTDOOR = range(7)
FACULTY_OFFICE, STAFF_OFFICE, GRAD_OFFICE, RESEARCH_LAB, OPEN_LAB = range(7, 12)
CLASSROOM, LIBRARY, CONFERENCE, MEETING, ELEVATOR = range(12, 17)
REST_ROOM, KITCHEN, JANITOR, TELECOM = range(17, 21)

ROOM_TYPES = {
    FACULTY_OFFICE: ("1", "office"),
    STAFF_OFFICE: ("1", "office"),
    GRAD_OFFICE: ("1", "office"),
    CONFERENCE: ("2", "conference room"),
    MEETING: ("3", "meeting room"),
    RESEARCH_LAB: ("4", "student lab"),
    OPEN_LAB: ("4", "student lab"),
    CLASSROOM: ("5", "classroom"),
    ELEVATOR: ("6", "elevator"),
    REST_ROOM: ("7", "rest room"),
    KITCHEN: ("8", "kitchen"),
    JANITOR: ("9", "janitor"),
    TELECOM: ("10", "telecom"),
    LIBRARY: ("11", "library"),
}
PEOPLE_PER_ROOM = {
    FACULTY_OFFICE: (0.07, 1),
    STAFF_OFFICE: (0.13, 2),
    GRAD_OFFICE: (0.10, 4),
    RESEARCH_LAB: (0.16, 10),
    OPEN_LAB: (0.56, 75),
    LIBRARY: (0.56, 150),
    CLASSROOM: (0.56, 85),
}
"""Share of people who need such a room, and how many share one."""

FLOOR_SERVICES = (
    ELEVATOR, REST_ROOM, REST_ROOM, KITCHEN, JANITOR, TELECOM, CONFERENCE, MEETING, MEETING
)  # fmt: skip
TEACHING = (CLASSROOM, OPEN_LAB, LIBRARY)
WORK_ROOMS_PER_FLOOR = 26
ROOMS_PER_ACCESS_POINT = 5
ROOMS_PER_HALLWAY = 15
SUITE_ROOMS = 6
CANDIDATES = 9
OUTDOORS = ("Plaza", "Food court", "Bus stop")
BUILDING_NAMES = (
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gingko", "Hazel", "Ironwood", "Juniper",
    "Katsura", "Laurel", "Maple", "Nutmeg", "Oak", "Pine", "Quince", "Redwood", "Spruce", "Tupelo",
)  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Spaces by position (0 is the campus), with look-up tables for the simulation.

    Look-ups from space to space have -1 for "none", and one more entry at the end, so that the
    position -1 (off campus) also finds "none".
    """

    ids: Strings
    names: list[str]
    parent: Ints
    kind: Ints
    building: Ints
    floor: Ints
    hallway: Ints
    elevator: Ints
    kitchen: Ints
    rest_rooms: Ints
    lobby: Ints
    access_point: Ints
    next_access_point: Ints
    access_point_names: list[str]
    candidates: Ints
    covered: tuple[Ints, Ints, NDArray[np.float64]]

    def of_kind(self, *kinds: int) -> Ints:
        """Positions of all spaces of these kinds, in order."""
        return np.flatnonzero(np.isin(self.kind, kinds))

    def building_room(self, position: int) -> str | None:
        """Such as ``ALD 2013`` for a room; None for other spaces."""
        return self.names[position] if int(self.kind[position]) in ROOM_TYPES else None

    def space_table(self) -> pa.Table:
        """Rows of the source's ``space``."""
        ids = self.ids.tolist()
        return pa.table(
            {
                "space_id": ids,
                "space_name": self.names,
                "parent_space_id": [ids[p] if p >= 0 else None for p in self.parent.tolist()],
                "building_room": pa.array(
                    [self.building_room(i) for i in range(len(ids))], pa.string()
                ),
            }
        )

    def metadata_table(self) -> pa.Table:
        """Rows of the source's ``space_metadata``: rooms only."""
        rooms = self.of_kind(*ROOM_TYPES).tolist()
        types = [ROOM_TYPES[int(self.kind[i])] for i in rooms]
        return pa.table(
            {
                "roomid": [str(self.ids[i]) for i in rooms],
                "typeid": [type_id for type_id, _ in types],
                "type": [name for _, name in types],
                "building_room": [self.names[i] for i in rooms],
            }
        )

    def coverage_table(self) -> pa.Table:
        """Rows of the source's ``region_to_coverage``: one per access point and space it covers."""
        points, spaces, percentages = self.covered
        return pa.table(
            {
                "region_id": self.ids[spaces].tolist(),
                "space_name": [self.names[i] for i in spaces.tolist()],
                "wapcov_id": [str(5000 + p) for p in points.tolist()],
                "sensor": [self.access_point_names[p] for p in points.tolist()],
                "intersection_percentage": percentages,
            }
        )


def build_places(options: CampusOptions) -> Places:
    """Enough rooms for the people, in the requested number of buildings."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(0, 0)))
    draft = _Draft()
    draft.outdoors()
    for number, rooms in enumerate(_rooms_by_building(options, rng)):
        draft.add_building(number, rooms)
    return draft.finish(rng)


def _rooms_by_building(options: CampusOptions, rng: np.random.Generator) -> list[list[int]]:
    """Work rooms of each building, teaching rooms (for the low floors) first."""
    kinds = [
        np.full(max(2, math.ceil(options.people * share / size)), kind)
        for kind, (share, size) in PEOPLE_PER_ROOM.items()
    ]
    assigned = np.concatenate(kinds)
    buildings = np.arange(len(assigned)) % options.buildings
    order = np.lexsort((rng.random(len(assigned)), ~np.isin(assigned, TEACHING)))
    return [assigned[order][buildings[order] == b].tolist() for b in range(options.buildings)]


class _Draft:
    """Spaces and access points as they are added, floor by floor."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.columns: dict[str, list[int]] = {
            name: []
            for name in (
                "parent", "kind", "building", "floor", "hallway", "elevator", "kitchen",
                "rest_a", "rest_b", "lobby", "access_point", "next_access_point",
            )
        }  # fmt: skip
        self.point_names: list[str] = []
        self.covered: list[tuple[int, int]] = []
        self.floors = 0

    def add(self, name: str, parent: int, kind: int, **columns: int) -> int:
        self.names.append(name)
        for column, values in self.columns.items():
            values.append(columns.get(column, -1))
        position = len(self.names) - 1
        self.columns["parent"][position] = parent
        self.columns["kind"][position] = kind
        return position

    def add_point(self, name: str, covers: list[int]) -> int:
        self.point_names.append(name)
        point = len(self.point_names) - 1
        self.covered += [(point, space) for space in covers]
        for space in covers:
            self.columns["access_point"][space] = point
            self.columns["next_access_point"][space] = point
        return point

    def outdoors(self) -> None:
        self.add("Campus", -1, CAMPUS)
        for number, name in enumerate(OUTDOORS, start=1):
            self.add_point(f"out-ap{number:02d}", [self.add(name, 0, OUTDOOR)])

    def add_building(self, number: int, rooms: list[int]) -> None:
        word = BUILDING_NAMES[number % len(BUILDING_NAMES)]
        round_ = number // len(BUILDING_NAMES)
        code = word[:3].upper() + (str(round_ + 1) if round_ else "")
        building = self.add(
            f"{word} Hall" + (f" {round_ + 1}" if round_ else ""), 0, BUILDING, building=number
        )
        floors = max(2, math.ceil(len(rooms) / WORK_ROOMS_PER_FLOOR))
        lobby = -1
        for level in range(1, floors + 1):
            here = rooms[len(rooms) * (level - 1) // floors : len(rooms) * level // floors]
            lobby = self.add_floor(building, code, level, here, lobby, top=level == floors)

    def add_floor(
        self, building: int, code: str, level: int, work: list[int], lobby: int, *, top: bool
    ) -> int:
        """Add a floor with its rooms and access points; returns the building's lobby."""
        number = self.columns["building"][building]
        common = {"building": number, "floor": self.floors}
        self.floors += 1
        floor = self.add(f"{self.names[building]} floor {level}", building, FLOOR, **common)
        if level == 1:
            lobby = self.add(f"{code} lobby", floor, LOBBY, **common)
            self.add_point(f"{code.lower()}-lobby", [lobby])
            self.columns["lobby"][lobby] = lobby
        common["lobby"] = lobby
        kinds = _spread(work, FLOOR_SERVICES)
        suite = -1
        if top and len(work) >= 2 * SUITE_ROOMS:
            suite = self.add(f"{code} suite {level}00", floor, SUITE, **common)
        rooms = [
            self.add(f"{code} {level}{i + 1:03d}", floor, kind, **common)
            for i, kind in enumerate(kinds)
        ]
        halls = self._hallways(floor, code, level, rooms, common)
        if suite >= 0:
            self._into_suite(suite, rooms, kinds)
        self._near(rooms, [*halls, *([suite] if suite >= 0 else [])], kinds)
        return lobby

    def _hallways(
        self, floor: int, code: str, level: int, rooms: list[int], common: dict[str, int]
    ) -> list[int]:
        """Split the floor into hallways, and these into access points linked to a neighbour."""
        halls: list[int] = []
        points: list[tuple[int, list[int]]] = []
        for wing, first in enumerate(range(0, len(rooms), ROOMS_PER_HALLWAY)):
            hall = self.add(f"{code} hallway {level}{'ABCDEFGHJK'[wing]}", floor, HALLWAY, **common)
            halls.append(hall)
            along = rooms[first : first + ROOMS_PER_HALLWAY]
            for room in (hall, *along):
                self.columns["hallway"][room] = hall
            for start in range(0, len(along), ROOMS_PER_ACCESS_POINT):
                near = along[start : start + ROOMS_PER_ACCESS_POINT]
                name = f"{code.lower()}-{level}-ap{len(points) + 1:02d}"
                points.append((self.add_point(name, [*near, hall]), near))
        for (left, near_left), (right, near_right) in itertools.pairwise(points):
            self.covered += [(left, near_right[0]), (right, near_left[-1])]
            for room in near_left:
                self.columns["next_access_point"][room] = right
        if len(points) > 1:
            for room in points[-1][1]:
                self.columns["next_access_point"][room] = points[-2][0]
        return halls

    def _point(self, space: int) -> int:
        return self.columns["access_point"][space]

    def _into_suite(self, suite: int, rooms: list[int], kinds: list[int]) -> None:
        """Put some offices below a region that has its own sessions, so that it has both."""
        offices = [r for r, kind in zip(rooms, kinds, strict=True) if kind in PEOPLE_PER_ROOM]
        for room in offices[-SUITE_ROOMS:]:
            self.columns["parent"][room] = suite
        point = self._point(offices[-1])
        self.covered.append((point, suite))
        self.columns["access_point"][suite] = point
        self.columns["next_access_point"][suite] = point
        self.columns["hallway"][suite] = self.columns["hallway"][offices[-1]]

    def _near(self, rooms: list[int], regions: list[int], kinds: list[int]) -> None:
        """Record the floor's elevator, kitchen and rest rooms for each of its spaces."""
        at = {kind: [r for r, k in zip(rooms, kinds, strict=True) if k == kind] for kind in kinds}
        rests = at[REST_ROOM]
        for space in (*rooms, *regions):
            self.columns["elevator"][space] = at[ELEVATOR][0]
            self.columns["kitchen"][space] = at[KITCHEN][0]
            self.columns["rest_a"][space], self.columns["rest_b"][space] = rests[0], rests[-1]

    def finish(self, rng: np.random.Generator) -> Places:
        columns = {name: np.array(values, np.int64) for name, values in self.columns.items()}

        def look_up(name: str) -> Ints:
            return np.append(columns[name], -1)

        return Places(
            ids=np.arange(1, len(self.names) + 1).astype(str),
            names=self.names,
            parent=columns["parent"],
            kind=columns["kind"],
            building=look_up("building"),
            floor=look_up("floor"),
            hallway=look_up("hallway"),
            elevator=look_up("elevator"),
            kitchen=look_up("kitchen"),
            rest_rooms=np.stack([look_up("rest_a"), look_up("rest_b")]),
            lobby=look_up("lobby"),
            access_point=columns["access_point"],
            next_access_point=columns["next_access_point"],
            access_point_names=self.point_names,
            candidates=_candidates(self.covered, len(self.point_names)),
            covered=_percentages(self.covered, rng),
        )


def _spread(work: list[int], services: tuple[int, ...]) -> list[int]:
    """Work rooms in order, with the services evenly spread between them."""
    positions = [len(work) * (i + 0.5) / len(services) for i in range(len(services))]
    keyed = [(float(i), kind) for i, kind in enumerate(work)]
    keyed += list(zip(positions, services, strict=True))
    return [kind for _, kind in sorted(keyed, key=lambda item: item[0])]


def _candidates(covered: list[tuple[int, int]], points: int) -> Ints:
    """Spaces that a device at an access point may be located in, (points, CANDIDATES), cycled."""
    spaces: list[list[int]] = [[] for _ in range(points)]
    for point, space in covered:
        spaces[point].append(space)
    rows = [[near[i % len(near)] for i in range(CANDIDATES)] for near in spaces]
    return np.array(rows, np.int64)


def _percentages(
    covered: list[tuple[int, int]], rng: np.random.Generator
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Access points, spaces, and the percentage of the point's area in each space."""
    points, spaces = np.array(sorted(covered), np.int64).T
    areas = rng.gamma(2.0, size=len(points)) + 0.2
    sums = np.bincount(points, weights=areas) / rng.uniform(0.85, 1.0, points.max() + 1)
    return points, spaces, np.round(100 * areas / sums[points], 2)
