"""A small source with everything that the rules use, and unusable rows."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

Row = dict[str, Any]

ZONE = "America/Los_Angeles"
OPEN_SECONDS = 12 * 3600
FIRST_DAY = dt.date(2025, 3, 3)
"""Clocks go forward on the first Sunday after this date."""
DAYS = 16
DEVICES = [
    *(f"02:00:00:00:00:{number:02x}" for number in range(7)),
    *("00:1b:a9:00:00:07", "3c:2a:f4:00:00:08", "00:11:22:00:00:09", "00:33:44:00:00:0a"),
    "pseudonym-11",
]
"""Some make up their addresses; of others the maker is common, in the registry, or unknown."""

# Space: name, room, type. Hallways have no room, and one room has no type.
SPACES = {
    "1": ("ALD 1001", "office"),
    "2": ("ALD 1002", "Office "),
    "3": ("ALD 1003", "student lab"),
    "4": ("ALD 1004", "student lab"),
    "5": ("ALD 1005", "meeting room"),
    "6": ("ALD 1006", "conference room"),
    "7": ("ALD 1007", "kitchen"),
    "8": ("ALD 1008", "rest room"),
    "9": ("ALD 1009", "classroom"),
    "10": ("ALD 1010", None),
    "11": (None, None),
    "12": ("ALD 1012", "elevator"),
}
FACULTY_OFFICES = ["ALD 1002"]
ACCESS_POINTS = {"ap1": ["1", "2", "3", "11"], "ap2": ["4", "5", "6"], "ap3": ["7", "8", "9", "10"]}
"""Access points and the spaces that they cover; none covers space 12."""


def spaces() -> list[Row]:
    """Rows of the space table."""
    return [
        {"space_id": i, "space_name": f"Space {i}", "parent_space_id": None, "building_room": room}
        for i, (room, _) in SPACES.items()
    ]


def space_metadata() -> list[Row]:
    """Rows of the room types; one room has two, and the first counts."""
    rows = [
        {"roomid": i, "typeid": "1", "type": kind, "building_room": room}
        for i, (room, kind) in SPACES.items()
        if kind is not None
    ]
    return [*rows, {"roomid": "99", "typeid": "2", "type": "janitor", "building_room": "ALD 1001"}]


def faculty() -> list[Row]:
    """Rows of the faculty offices; two share one."""
    return [{"name": name, "office": FACULTY_OFFICES[0]} for name in ("Ada", "Grace")]


def coverage() -> list[Row]:
    """Rows of the coverage of access points; the first region is covered most."""
    return [
        {
            "region_id": space,
            "space_name": f"Space {space}",
            "wapcov_id": "1",
            "sensor": sensor,
            "intersection_percentage": 50.0 - place,
        }
        for sensor, covered in ACCESS_POINTS.items()
        for place, space in enumerate(covered)
    ]


def vendor_prefixes() -> list[Row]:
    """Rows of the registry; one replaces the maker that comes with the project."""
    return [
        {"prefix": "00:11:22", "maker": "axis communications ab"},
        {"prefix": "3c:2a:f4", "maker": "Its buyer"},
        {"prefix": "00:00:07", "maker": "Nobody here"},
    ]


def sessions() -> list[Row]:
    """Rows of the session table, from one seed."""
    rng = random.Random(7)
    rows = [row for device in DEVICES for row in _days(device, rng)]
    rows += _pair(rows)
    return [*rows, *_unusable(), *_odd()]


def _days(device: str, rng: random.Random) -> list[Row]:
    """A device's mixture of places, lengths and hours."""
    number = DEVICES.index(device)
    sensors = {space: ap for ap, covered in ACCESS_POINTS.items() for space in covered}
    liked = rng.sample(list(SPACES), rng.randint(1, 7))
    longest = rng.choice([30, 120, 400])
    rows = []
    for day in range(DAYS):
        if rng.random() < number / 24:
            continue
        for _ in range(rng.randint(1, 7)):
            space = rng.choice(liked)
            minute = rng.randint(0, 24 * 60 - 1) if number % 4 == 0 else rng.randint(480, 1270)
            start = dt.datetime.combine(FIRST_DAY, dt.time()) + dt.timedelta(
                days=day, minutes=minute
            )
            if dt.datetime(2025, 3, 9, 2) <= start < dt.datetime(2025, 3, 9, 3):
                continue
            length = dt.timedelta(minutes=rng.randint(0, longest), seconds=rng.randint(0, 59))
            sensor = "ap2" if rng.random() < 0.05 else sensors.get(space, "ap9")
            end = None if rng.random() < 0.02 else _existing(start + length)
            rows.append(_row(device, sensor, start, end, space))
    return rows


def _existing(time: dt.datetime) -> dt.datetime:
    """The time, or the end of the hour that clocks skip."""
    if dt.datetime(2025, 3, 9, 2) <= time < dt.datetime(2025, 3, 9, 3):
        return dt.datetime(2025, 3, 9, 3)
    return time


def _pair(rows: list[Row]) -> list[Row]:
    """A device that follows the second one most of the time, a little later."""
    followed = [r for r in rows if r["mac_address"] == DEVICES[1] and r["end_time"] is not None]
    return [
        {
            **row,
            "mac_address": "02:00:00:00:01:00",
            "end_time": row["end_time"] + dt.timedelta(minutes=3),
        }
        for place, row in enumerate(followed)
        if place % 8 != 0
    ]


def _unusable() -> list[Row]:
    ten, noon = dt.datetime(2025, 3, 4, 10), dt.datetime(2025, 3, 4, 12)
    return [
        _row(None, "ap1", ten, noon, "1"),
        _row(" ", "ap1", ten, noon, "1"),
        _row(DEVICES[0], "ap1", ten, noon, "77"),
        _row(DEVICES[0], "ap1", ten, noon, None),
        _row(DEVICES[0], "ap1", noon, ten, "1"),
        _row(DEVICES[0], "ap1", None, ten, "1"),
        _row(DEVICES[0], "ap1", dt.datetime(1980, 1, 1), None, "1"),
        _row(DEVICES[0], "ap1", ten, noon + dt.timedelta(days=40), "1"),
        _row("02:00:00:00:ff:ff", "ap1", noon, ten, "1"),
    ]


def _odd() -> list[Row]:
    """Half seconds, and a session twice in the table."""
    start = dt.datetime(2025, 3, 5, 9, 0, 0, 500_000)
    odd = _row(DEVICES[2], "ap1", start, dt.datetime(2025, 3, 5, 9, 10, 0, 250_000), "3")
    return [odd, odd]


def _row(
    device: str | None,
    sensor: str,
    start: dt.datetime | None,
    end: dt.datetime | None,
    space: str | None,
) -> Row:
    return {
        "mac_address": device,
        "sensor_id": sensor,
        "start_time": start,
        "end_time": end,
        "space_id": space,
    }
