"""Two rooms on a floor over three weeks; every person has a phone, every second a laptop too."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from tests.occupancy.campus import Seen, compute_all, fill
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.people.counts.head_counts import import_head_counts
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

MONDAY = dt.date(2025, 1, 6)
DAYS = 21
PARENTS = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall", "r3": "hall"}
ROOMS = ("r1", "r2")
MISSED = 4
"""One person in this many leaves the phone at home."""

_LABELS = (
    "CREATE TABLE labels.device__device_type "
    "(mac_address text, label text, p_laptop float8, p_phone float8)"
)


def people_of(day: int, room: str) -> int:
    """Number of people in a room from 09:00 to 17:00."""
    return 4 + (day * 7 + len(room) * 3 + ROOMS.index(room) * 5) % 9


def make(settings: Settings) -> None:
    """The campus, all computed, with labelled devices."""
    rows = []
    for day in range(DAYS):
        morning = dt.datetime.combine(MONDAY + dt.timedelta(day), dt.time(9))
        for room in ROOMS:
            for person in range(people_of(day, room)):
                number = ROOMS.index(room) * 100 + person
                if person % MISSED:
                    rows.append(_seen(f"02:00:00:00:00:{number:02x}", room, morning))
                if person % 2:
                    rows.append(_seen(f"02:00:00:00:01:{number:02x}", room, morning))
    fill(settings, PARENTS, rows)
    track(settings, space="campus", start=MONDAY, end=MONDAY + dt.timedelta(DAYS))
    compute_all(settings)
    label(settings)


def _seen(mac: str, room: str, morning: dt.datetime) -> Seen:
    return Seen(mac, room, morning, morning + dt.timedelta(hours=8))


def label(settings: Settings, phone: float = 0.9) -> None:
    """Label every device: phones with this probability, the others as laptops."""
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS labels"))
        connection.execute(sa.text("DROP TABLE IF EXISTS labels.device__device_type"))
        connection.execute(sa.text(_LABELS))
        macs = [f"02:00:00:00:{kind:02x}:{n:02x}" for kind in (0, 1) for n in range(256)]
        values = [
            {
                "mac": mac,
                "label": "PHONE" if n < 256 else "LAPTOP",
                "laptop": 1 - phone if n < 256 else phone,
                "phone": phone if n < 256 else 1 - phone,
            }
            for n, mac in enumerate(macs)
        ]
        insert = "INSERT INTO labels.device__device_type VALUES (:mac, :label, :laptop, :phone)"
        connection.execute(sa.text(insert), values)


def head_counts(path: Path) -> Path:
    """A file of head counts in both rooms, every two hours during the day."""
    lines = ["space_id,time,people,interval_seconds"]
    for day in range(DAYS):
        date = MONDAY + dt.timedelta(day)
        for room in ROOMS:
            for hour in range(0, 24, 2):
                people = people_of(day, room) if 9 <= hour < 17 else 0
                lines.append(f"{room},{date}T{hour:02}:00,{people},900")
    path.write_text("\n".join(lines))
    return path


def count_heads(settings: Settings, path: Path) -> None:
    """Import them."""
    import_head_counts(settings, head_counts(path), by="ada")


def phones_and_people(room: str, day: int) -> tuple[int, int]:
    """Phones and people in a room at noon."""
    people = people_of(day, room)
    return int((np.arange(people) % MISSED > 0).sum()), people
