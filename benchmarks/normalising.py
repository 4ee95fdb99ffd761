"""Rows of a log in one form: ``python -m benchmarks.normalising``.

A batch as FreeRADIUS writes it (20,000 devices, 12,000 users, 1,500 access points; start, update
and stop with an offset, duration, unique id), as text, on one core. What is read must be what was
written. Besides, columns of times in other spellings.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.log.sessions import Meaning, normalised
from tippers_dagster.campus.log.times import instants

RUNS = 9
CLOCK = LocalClock("America/Los_Angeles")
PLAUSIBLE = (dt.datetime(2010, 1, 1), dt.datetime(2030, 1, 1))
FIRST = 1_736_269_200
SPELLINGS = {
    "with an offset": "%Y-%m-%d %H:%M:%S-08",
    "local": "%Y-%m-%d %H:%M:%S",
    "with AM and PM": "%b %-d, %Y %-I:%M:%S %p",
    "of `date`": "%a %b %e %H:%M:%S PST %Y",
    "epochs": "%s",
}


def radacct(rows: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """A batch as text, and its starts and ends (UTC seconds; 0 while a session is open)."""
    rng = np.random.default_rng(0)
    digits = [f"{number:012X}" for number in rng.integers(0, 2**48, 20_000)]
    devices = ["-".join(text[i : i + 2] for i in range(0, 12, 2)) for text in digits]
    access_points = [f"02-11-22-33-{i >> 8:02X}-{i & 255:02X}:eduroam" for i in range(1500)]
    users = [f"user{i}@example.edu" for i in range(12_000)] + ["anonymous@example.edu", "host/pc"]
    start = FIRST + np.sort(rng.integers(0, 3 * 86_400, rows))
    lasted = rng.integers(30, 7200, rows)
    end = np.where(rng.random(rows) < 0.03, 0, start + lasted)

    ends = zip(written(end, SPELLINGS["with an offset"]), end, strict=True)

    def some(of: list[str]) -> list[str]:
        return [of[i] for i in rng.integers(0, len(of), rows)]

    batch = {
        "device": some(devices),
        "start": written(start, SPELLINGS["with an offset"]),
        "updated": written(start + lasted - 10, SPELLINGS["with an offset"]),
        "end": [text if second else None for text, second in ends],
        "duration": [str(length) for length in lasted],
        "access_point": some(access_points),
        "user": some(users),
        "session_id": [f"{number:032x}" for number in range(rows)],
    }
    return pa.table(batch), start, end


def written(seconds: np.ndarray, form: str) -> list[str]:
    """Instants in winter, as local times."""
    if form == "%s":
        return [str(second) for second in seconds]
    zone = dt.timezone(dt.timedelta(hours=-8))
    return [dt.datetime.fromtimestamp(int(second), zone).strftime(form) for second in seconds]


def best(run: Callable[[], object]) -> float:
    """The least CPU seconds of some runs."""
    seconds = []
    for _ in range(RUNS):
        before = time.process_time()
        run()
        seconds.append(time.process_time() - before)
    return min(seconds)


def main() -> None:
    """Measure, compare, and print thousands of rows a second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.normalising", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: int = options.rows
    pa.set_cpu_count(1)
    batch, start, end = radacct(rows)
    meaning = Meaning(CLOCK, PLAUSIBLE, 31 * 86_400, b"k" * 32)
    found, checks = normalised(batch, meaning)
    assert checks.good.all()
    assert (found["start"].to_numpy() == start * 10**6).all()
    assert (found["end"].fill_null(0).to_numpy() == end * 10**6).all()
    speed = {"radacct, all columns": rows / best(lambda: normalised(batch, meaning))}
    for name, form in SPELLINGS.items():
        column = pa.array(written(start, form))
        us = instants(column, CLOCK, None, name, PLAUSIBLE).us
        assert (us == start * 10**6).all()
        read = best(lambda column=column: instants(column, CLOCK, None, "", PLAUSIBLE))
        speed[f"times {name}"] = rows / read
    for name, each in speed.items():
        print(f"{name:30} {each / 1000:8,.0f} thousand rows a second")
    if options.json:
        options.json.write_text(json.dumps(speed, indent=2))


if __name__ == "__main__":
    main()
