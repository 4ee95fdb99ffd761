"""Sessions of a few devices that meet, as the lake has them, and plain answers about company."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

DAY = 86_400
FIRST = 20_000 * DAY
"""Local times are UTC; chunks are days from this instant."""
EPOCH = dt.datetime(1970, 1, 1)

Answer = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """A usable session; times in seconds."""

    device: int
    space: str
    sensor: str | None
    start: int
    end: int
    person: int | None = None

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def chunk(self) -> int:
        return (self.start - FIRST) // DAY

    @property
    def time(self) -> dt.datetime:
        return EPOCH + dt.timedelta(seconds=self.start)

    def overlaps(self, other: Session) -> bool:
        return self.space == other.space and self.start < other.end and other.start < self.end


def address(device: int) -> str:
    """Addresses are in another order than devices."""
    return f"{(device * 7) % 11:02x}:{device:02x}"


def campus(rng: random.Random, days: int) -> list[Session]:
    """Devices that follow each other, more or less, on the days of a few chunks."""
    spaces, sensors = ["hall", "lab", "den"], ["a", "b", "c", None]
    routes = [
        [_session(rng, 0, spaces, sensors, days) for _ in range(rng.randint(1, 14))]
        for _ in range(2)
    ]
    found = []
    for device in range(rng.randint(1, 7)):
        route, faithful = rng.choice(routes), rng.choice([0.0, 0.6, 0.8, 0.9, 1.0])
        for stop in route:
            if rng.random() < faithful:
                start = stop.start + rng.choice([0, 0, 900, -900])
                end = start + stop.length
                found.append(Session(device, stop.space, stop.sensor, start, end, stop.person))
        for _ in range(rng.choice([0, 0, 1, 5])):
            found.append(_session(rng, device, spaces, sensors, days))
    return found + rng.sample(found, k=min(len(found), rng.choice([0, 2])))


def _session(
    rng: random.Random, device: int, spaces: list[str], sensors: list[str | None], days: int
) -> Session:
    start = FIRST + 900 * rng.randint(0, days * 96 - 1)
    length = rng.choice([1, 900, 1800, 3600, 10_800, 40_000, 100_000, 200_000])
    person = [None, 1, 2**63 + device][(start + device) % 3]
    return Session(device, rng.choice(spaces), rng.choice(sensors), start, start + length, person)


# --- as the lake has them ------------------------------------------------------------------------
def table(sessions: Iterable[Session], chunk: int) -> pa.Table:
    """The sessions of a chunk: those that overlap it."""
    begin, end = FIRST + chunk * DAY, FIRST + (chunk + 1) * DAY
    mine = [s for s in sessions if s.start < end and s.end > begin]
    mine.sort(key=lambda s: (s.device, s.start, s.end, s.space))
    local = pa.timestamp("us")
    return pa.table(
        {
            "device": pa.array([s.device for s in mine], pa.uint64()),
            "space": pa.array([s.space for s in mine], pa.string()).dictionary_encode(),
            "sensor": pa.array([s.sensor for s in mine], pa.string()).dictionary_encode(),
            "start": pa.array([s.start for s in mine], pa.int64()),
            "end": pa.array([s.end for s in mine], pa.int64()),
            "start_time": pa.array([s.start * 1_000_000 for s in mine], pa.int64()).cast(local),
            "end_time": pa.array([s.end * 1_000_000 for s in mine], pa.int64()).cast(local),
            "carried": pa.array([s.start < begin for s in mine], pa.bool_()),
            "person": pa.array([s.person for s in mine], pa.uint64()),
        }
    )


def addresses(sessions: Iterable[Session]) -> pa.Table:
    """The addresses of all devices."""
    devices = sorted({s.device for s in sessions})
    return pa.table(
        {
            "device": pa.array(devices, pa.uint64()),
            "mac_address": pa.array(map(address, devices), pa.string()),
        }
    )


REGIONS = {
    # None covers the den at b; the lab and the hall are one region at c.
    ("a", "hall"): "R hall",
    ("a", "lab"): "R lab",
    ("a", "den"): "R hall",
    ("b", "hall"): "R hall",
    ("b", "lab"): None,
    ("c", "hall"): "R both",
    ("c", "lab"): "R both",
    ("c", "den"): "R den",
}


def regions() -> pa.Table:
    """The region of each access point and space."""
    return pa.Table.from_pylist(
        [{"sensor": a, "space": s, "space_name": name} for (a, s), name in REGIONS.items()]
    )


# --- plainly -------------------------------------------------------------------------------------
def accompanied(sessions: Sequence[Session]) -> list[Answer]:
    """Every session beside every other."""
    return [
        {
            "device": device,
            "sessions": len(own),
            "accompanied_sessions": (found := sum(_accompanied(s, sessions) for s in own)),
            "accompanied_share": found / len(own),
        }
        for device, own in _by_device(sessions)
    ]


def best_partners(sessions: Sequence[Session]) -> list[Answer]:
    """Every device beside every other."""
    devices = dict(_by_device(sessions))
    return [
        {"device": device, "sessions": len(own), "mean_hours": _mean_hours(own)}
        | _partner(device, devices)
        for device, own in devices.items()
    ]


def _partner(device: int, devices: dict[int, list[Session]]) -> Answer:
    own, best = devices[device], None
    for other in sorted(devices.keys() - {device}, key=address):
        shared = [s for s in own if any(s.overlaps(o) for o in devices[other])]
        enough = 5 * len(shared) >= 4 * len(own)
        if enough and (best is None or len(shared) > best["shared_sessions"]):
            best = {
                "shared_sessions": len(shared),
                "shared_share": len(shared) / len(own),
                "shared_spaces": len({s.space for s in shared}),
                "partner": other,
                "partner_mean_hours": _mean_hours(devices[other]),
            }
    names = ("shared_sessions", "shared_share", "shared_spaces", "partner", "partner_mean_hours")
    return best or dict.fromkeys(names)


def co_located(sessions: Sequence[Session]) -> list[Answer]:
    """Every device beside every other, by the hour."""
    seen = {
        (s.device, (s.sensor, s.time.replace(minute=0, second=0)), REGIONS[s.sensor, s.space])
        for s in sessions
        if (s.sensor, s.space) in REGIONS
    }
    found = []
    for device in sorted({d for d, _, _ in seen}):
        mine = {place for d, place, _ in seen if d == device}
        # A region without a name is not the same as another: there a device is its own company.
        others = Counter(
            name for d, place, name in seen if place in mine and (d != device or name is None)
        )
        if others:
            name = min(others, key=lambda name: (-others[name], name is None, name or ""))
            total = sum(others.values())
            found.append(
                {
                    "device": device,
                    "space_name": name,
                    "co_located": total,
                    "co_located_share": others[name] / total,
                }
            )
    return found


def _by_device(sessions: Sequence[Session]) -> list[tuple[int, list[Session]]]:
    devices: dict[int, list[Session]] = defaultdict(list)
    for session in sessions:
        devices[session.device].append(session)
    return sorted(devices.items())


def _accompanied(session: Session, everybody: Sequence[Session]) -> bool:
    return any(session.overlaps(o) and session.device != o.device for o in everybody)


def _mean_hours(sessions: Sequence[Session]) -> float:
    return sum(s.length for s in sessions) / len(sessions) / 3600
