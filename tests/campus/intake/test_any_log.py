"""Random logs, written in random ways and split into files at random, are counted right."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.occupancy.campus import compute_all
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.intake.log import ingest_log
from tippers_dagster.campus.log.mapping import read_mapping
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.settings import Settings

ZONE = ZoneInfo("America/Los_Angeles")
FIRST, LAST = dt.date(2025, 10, 27), dt.date(2025, 11, 10)
"""Two weeks, in which the clock is set back on 2 November."""
BEGIN = dt.datetime.combine(FIRST, dt.time(), ZONE).timestamp()
END = dt.datetime.combine(LAST, dt.time(), ZONE).timestamp()
OPEN_SECONDS = 43_200
SPACES = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall", "plaza": "campus"}
ACCESS_POINTS = {"00:11:22:33:44:01": "r1", "00:11:22:33:44:02": "r2", "00:11:22:33:44:03": "plaza"}


@dataclass(frozen=True)
class Truth:
    """One session: seconds of Unix time; ``end`` is None while it is open."""

    number: int
    device: str
    access_point: str
    start: int
    end: int | None
    seen: int | None
    person: str | None
    user: str | None = field(compare=False, default=None)

    @property
    def until(self) -> int:
        if self.end is not None:
            return max(self.end, self.start + 1)
        last = self.start + OPEN_SECONDS if self.seen is None else self.seen
        return max(self.start + 1, last)

    @property
    def space(self) -> str:
        return ACCESS_POINTS[self.access_point]


def sessions(rng: random.Random) -> list[Truth]:
    made = []
    for number in range(140):
        octets = [rng.choice((0x3C, 0xA2)), 1, 2, 3, 4, rng.randrange(10)]
        device = ":".join(f"{octet:02x}" for octet in octets)
        start = int(BEGIN) + rng.randrange(13 * 86400)
        end = start + rng.randrange(0, 20_000) if rng.random() < 0.75 else None
        seen = start + rng.randrange(60, 5000) if end is None and rng.random() < 0.5 else None
        person = rng.choice([None, None, "kim", "lee", "ann", "bo"])
        access_point = rng.choice(list(ACCESS_POINTS))
        user = rng.choice(users(person))
        made.append(Truth(number, device, access_point, start, end, seen, person, user))
    return made


def users(person: str | None) -> list[str | None]:
    """The user names by which a person, or nobody, logs in."""
    if person is None:
        return [None, "", "anonymous@example.edu", "@example.edu", "host/pc-7", "PC-7$"]
    return [person, person.upper(), f"{person}@Example.edu", f" {person}", f"EXAMPLE\\{person}"]


# --- rows, in the spelling of one file ------------------------------------------------------
def local(zone: str) -> Callable[[int], Any]:
    return lambda t: dt.datetime.fromtimestamp(t, ZoneInfo(zone)).strftime("%d-%b-%Y %H:%M:%S")


TIMES: list[tuple[dict[str, str], Callable[[int], Any]]] = [
    ({}, lambda t: dt.datetime.fromtimestamp(t, dt.UTC).isoformat().replace("+00:00", "Z")),
    ({}, lambda t: dt.datetime.fromtimestamp(t, ZoneInfo("Asia/Kolkata")).isoformat(" ")),
    ({}, lambda t: t),
    ({}, lambda t: t * 1000),
    ({"timezone": "Asia/Tokyo"}, local("Asia/Tokyo")),
    (
        {"timezone": "UTC", "order": "day first"},
        lambda t: dt.datetime.fromtimestamp(t, dt.UTC).strftime("%d/%m/%Y %H:%M:%S"),
    ),
]
NOT_ENDED: list[Any] = [None, "", "0000-00-00 00:00:00", "N/A", "1970-01-01 00:00:00"]


def spelled(device: str, rng: random.Random) -> str:
    digits = device.replace(":", "")
    pairs = [digits[i : i + 2] for i in range(0, 12, 2)]
    dotted = ".".join(digits[i : i + 4] for i in range(0, 12, 4))
    return rng.choice([device, device.upper(), "-".join(pairs), digits, dotted])


def row(truth: Truth, rng: random.Random, time: Callable[[int], Any], *, ended: bool) -> dict:
    end, seen = truth.end, truth.seen
    if end is not None and not ended:  # a report before the session ended
        end, seen = None, rng.choice([None, truth.start + (end - truth.start) // 2])
    return {
        "Client": spelled(truth.device, rng),
        "AP": spelled(truth.access_point, rng) + rng.choice(["", ":eduroam"]),
        "Begin": time(truth.start),
        "End": rng.choice(NOT_ENDED) if end is None else time(end),
        "Last": None if seen is None else time(seen),
        "User": truth.user,
        "Id": f"s{truth.number}",
        "RSSI": "-60",
    }


MAPPING = {
    "device": "client",
    "access_point": "ap",
    "start": "begin",
    "end": "end",
    "updated": "last",
    "user": "user",
    "session_id": "id",
    "own_realms": ["example.edu", "EXAMPLE"],
}


# --- files ----------------------------------------------------------------------------------
def as_csv(rows: list[dict], rng: random.Random) -> bytes:
    text = io.StringIO(newline="")
    if rng.random() < 0.3:
        text.write("Client report\nof the campus\n\n")
    writer = csv.writer(text, delimiter=rng.choice([",", ";", "\t", "|"]))
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    content = text.getvalue().encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))
    return gzip.compress(content) if rng.random() < 0.3 else content


def as_json(rows: list[dict], rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return "\n".join(map(json.dumps, rows)).encode()
    return json.dumps({"results": rows}).encode()


def as_parquet(rows: list[dict], rng: random.Random) -> bytes:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name in ("Begin", "End", "Last"):
        if not all(isinstance(value, int) for value in columns["Begin"]):
            columns[name] = [None if v is None else str(v) for v in columns[name]]
        else:  # one type: numbers, of which 0 has not ended
            columns[name] = [v if isinstance(v, int) else 0 for v in columns[name]]
            if name == "Last":
                columns[name] = [v or None for v in columns[name]]
    sink = io.BytesIO()
    table = pa.table(columns)
    if rng.random() < 0.5:
        table = table.set_column(0, "Client", table["Client"].dictionary_encode())
    pq.write_table(table, sink)
    return sink.getvalue()


def write(rows: list[dict], rng: random.Random, folder: Path) -> Path:
    form = rng.choice([as_csv, as_json, as_parquet])
    path = folder / f"log-{rng.randrange(10**9)}"
    path.write_bytes(form(rows, rng))
    return path


# --- counts ---------------------------------------------------------------------------------
def below(space: str) -> set[str]:
    return {space}.union(*(below(child) for child, parent in SPACES.items() if parent == space))


def plainly(log: list[Truth], space: str, width: int) -> list[tuple[int, int, int]]:
    """Devices, people and other devices of each bin."""
    here, found = [t for t in log if t.space in below(space)], []
    day = FIRST
    while day < LAST:
        midnight, next_day = (
            int(dt.datetime.combine(d, dt.time(), ZONE).timestamp())
            for d in (day, day + dt.timedelta(1))
        )
        for begin in range(midnight, next_day, width):
            inside = [t for t in here if t.start < min(begin + width, next_day) and t.until > begin]
            known = {t.device for t in inside if t.person}
            devices = {t.device for t in inside}
            people = {t.person for t in inside if t.person}
            found.append((len(devices), len(people), len(devices - known)))
        day += dt.timedelta(1)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_any_log_is_counted_right(stack: Settings, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    lines = ["space_id,space_name,parent_space_id,building_room"]
    lines += [f"{space},,{parent or ''}," for space, parent in SPACES.items()]
    coverage = ["region_id,space_name,wapcov_id,sensor,intersection_percentage"]
    coverage += [f"{space},,w,{ap},90" for ap, space in ACCESS_POINTS.items()]
    for kind, text in (("spaces", lines), ("region_to_coverage", coverage)):
        path = tmp_path / f"{kind}.csv"
        path.write_text("\n".join([*text, ""]))
        ingest_file(stack, kind, path)

    log = sessions(rng)
    reports = [(truth, True) for truth in log]
    reports += [(truth, False) for truth in log if truth.end is not None and rng.random() < 0.3]
    reports += rng.sample(reports, 15)
    rng.shuffle(reports)
    parts = sorted(rng.sample(range(1, len(reports)), rng.randrange(1, 5)))
    for low, high in zip([0, *parts], [*parts, len(reports)], strict=True):
        said, time = rng.choice(TIMES)
        rows = [row(truth, rng, time, ended=ended) for truth, ended in reports[low:high]]
        report = ingest_log(stack, write(rows, rng, tmp_path), read_mapping(MAPPING | said))
        assert (report.loaded, report.rejected.total()) == (len(rows), 0)

    track(stack, space="campus", start=FIRST, end=LAST)
    compute_all(stack)
    for space in SPACES:
        for width in (900, 3600, 1200):
            asked = (space, FIRST, LAST, width)
            devices = read_occupancy(*asked, settings=stack)
            people = read_occupancy(*asked, settings=stack, count="people")
            columns = (devices["number_connections"], *people.columns[1:])
            counts = list(zip(*(column.to_pylist() for column in columns), strict=True))
            assert counts == plainly(log, space, width), (space, width)
