"""Presence and counts in the lake: ``python -m benchmarks.reading``.

Files per chunk compared with one small file per space and chunk, as earlier versions had them: a
year of 500 rooms, published and read in a folder, or with ``--s3`` in an S3 server in this process.
What has been read before costs less: its footer is known. All ways must give the same rows.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from tippers_dagster.occupancy.files import Rows
    from tippers_dagster.platform.lake import Lake

ROOMS = 500
WIDTHS = (900, 1800, 3600, 7200, 14400, 28800, 86400)
WEEK = 7 * 86400
RUNS = 15


def one_week(seed: int = 0) -> Rows:
    """The counts of a week: 200 to 1,200 non-empty bins per room."""
    from tippers_dagster.occupancy.files import Rows, times

    rng = np.random.default_rng(seed)
    columns: list[tuple[np.ndarray, ...]] = []
    lengths = np.zeros(ROOMS, np.int64)
    for room, share in enumerate(rng.uniform(0.1, 0.9, ROOMS)):
        for width in WIDTHS:
            used = np.flatnonzero(rng.random(WEEK // width) < share * (width / 900) ** 0.2)
            columns.append((np.full(used.size, width, np.int32), used * width))
            lengths[room] += used.size
    widths, begins = (np.concatenate(column) for column in zip(*columns, strict=True))
    table = pa.table(
        {
            "interval_seconds": widths,
            "interval_begin_time": times(begins),
            "number_connections": rng.poisson(8, len(widths)).astype(np.int32) + 1,
        }
    )
    ids = [f"room-{room:04d}" for room in range(ROOMS)]
    return Rows(ids, np.append(0, np.cumsum(lengths)), table)


# --- the two ways -------------------------------------------------------------------------------
def small_key(space: str, chunk: str) -> str:
    return f"small/space={space}/chunk={chunk}.parquet"


def publish_small(lake: Lake, chunk: str, rows: Rows) -> None:
    items = enumerate(rows.spaces)
    lake.write_tables((small_key(space, chunk), rows.of(i)) for i, space in items)


def read_small(lake: Lake, chunks: list[str], spaces: list[str]) -> pa.Table:
    keys = [small_key(space, chunk) for chunk in chunks for space in spaces]
    return pa.concat_tables([table for table in lake.read_tables(keys) if table is not None])


def publish_large(lake: Lake, chunk: str, rows: Rows) -> None:
    from tippers_dagster.occupancy import files

    files.replace(lake, files.SOURCE_COUNTS, chunk, rows)


def read_large(lake: Lake, chunks: list[str], spaces: list[str]) -> pa.Table:
    from tippers_dagster.occupancy import files

    found = files.read(lake, files.SOURCE_COUNTS, dict.fromkeys(chunks, spaces))
    return pa.concat_tables([found[chunk].table for chunk in chunks])


def read_first(lake: Lake, chunks: list[str], spaces: list[str]) -> pa.Table:
    """As a new process reads them, which knows none of the files."""
    from tippers_dagster.occupancy import files
    from tippers_dagster.platform.lake import Lake

    files._parsed.cache_clear()
    files._positions.cache_clear()
    return read_large(Lake(lake.backend), chunks, spaces)


# --- the run ------------------------------------------------------------------------------------
@dataclass
class Spent:
    """By the clock, on the processor, and on the network."""

    wall: float = 0.0
    cpu: float = 0.0
    requests: int = 0
    received: int = 0

    @staticmethod
    def least(found: Iterable[Spent]) -> Spent:
        """The least of each: other programs only add to it."""
        return Spent(*(min(each) for each in zip(*map(astuple, found), strict=True)))


class Runs:
    """Runs several ways of the same work in turns."""

    def __init__(self, traffic: Spent, runs: int) -> None:
        self._traffic, self._runs = traffic, runs

    def __call__(self, *ways: Callable[[], object]) -> list[Spent]:
        found = [[self._one(way) for way in ways] for _ in range(self._runs)]
        return [Spent.least(each) for each in zip(*found, strict=True)]

    def _one(self, way: Callable[[], object]) -> Spent:
        before = replace(self._traffic)
        began, cpu = time.perf_counter(), time.process_time()
        way()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        now = self._traffic
        return Spent(wall, cpu, now.requests - before.requests, now.received - before.received)


def measure(lake: Lake, weeks: int, traffic: Spent, runs: int = RUNS) -> None:
    """Publish and read in all ways, and print the figures."""
    rows = one_week()
    chunks = [f"week-{week:02d}" for week in range(weeks)]
    some = sorted(random.Random(1).sample(rows.spaces, 50))
    cases = {
        f"one room, {weeks} weeks": (chunks, rows.spaces[250:251]),
        "all rooms, one week": (chunks[:1], rows.spaces),
        "50 rooms, 4 weeks": (chunks[:4], some),
        "50 neighbouring rooms, 4 weeks": (chunks[:4], rows.spaces[100:150]),
    }
    for chunk in chunks[1:]:
        publish_small(lake, chunk, rows)
        publish_large(lake, chunk, rows)
    run = Runs(traffic, runs)
    names = ("one file per space and chunk", "one file per chunk", "the same, read first")
    small, large = run(
        lambda: publish_small(lake, chunks[0], rows), lambda: publish_large(lake, chunks[0], rows)
    )
    show(f"publish {ROOMS} rooms of a week", dict(zip(names, (small, large), strict=False)))
    for name, case in cases.items():
        ways = partial(read_small, lake, *case), partial(read_large, lake, *case)
        ways[1]()
        show(name, dict(zip(names, run(*ways, partial(read_first, lake, *case)), strict=True)))
        if ways[0]() != ways[1]():
            raise SystemExit(f"{name}: the rows differ")


def show(name: str, found: dict[str, Spent]) -> None:
    """Print the figures of each way, compared with the first."""
    base = next(iter(found.values()))
    print(name)
    for way, spent in found.items():
        line = f"  {way:30} CPU {1000 * spent.cpu:8.1f} ms {spent.cpu / base.cpu:6.2f} x;"
        line += f" clock {1000 * spent.wall:8.1f} ms {spent.wall / base.wall:6.2f} x"
        if base.requests:
            line += f"; {spent.requests:5} requests {spent.received / 1e6:8.2f} MB"
        print(line)


def in_s3(weeks: int) -> None:
    """The same, with a server in this process: its time counts, too."""
    import logging
    import os

    import boto3
    from moto.server import ThreadedMotoServer

    from tippers_dagster.platform.lake import Lake
    from tippers_dagster.platform.lake.s3 import S3Backend

    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
        client.create_bucket(Bucket="bench")
        backend = S3Backend("bench", "lake", address, "us-east-1")
        traffic, counting = Spent(), Lock()

        def count(parsed: dict[str, Any], **_: object) -> None:
            with counting:
                traffic.requests += 1
                traffic.received += parsed.get("ContentLength", 0)

        backend._client.meta.events.register("after-call.s3", count)
        measure(Lake(backend), weeks, traffic, runs=1)
    finally:
        server.stop()


def main() -> None:
    """Run, and print what one file per space and what one per chunk take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--s3", action="store_true", help="in S3, and count requests")
    options = parser.parse_args()
    if options.s3:
        in_s3(options.weeks)
        return
    from tippers_dagster.platform.lake import Lake
    from tippers_dagster.platform.lake.folder import FolderBackend

    with tempfile.TemporaryDirectory(prefix="tippers-bench-") as folder:
        measure(Lake(FolderBackend(Path(folder))), options.weeks, Spent())


if __name__ == "__main__":
    main()
