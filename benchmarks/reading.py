"""Presence and counts in the lake: ``python -m benchmarks.reading``.

Files per chunk compared with one small file per space and chunk, as earlier versions had them: a
year of 500 rooms, published and read in a folder; with ``--s3``, requests to a server in this
process are counted, too. Both ways must give the same rows.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from tippers_dagster.occupancy.files import Rows
    from tippers_dagster.platform.lake import Lake

ROOMS = 500
WIDTHS = (900, 1800, 3600, 7200, 14400, 28800, 86400)
WEEK = 7 * 86400
RUNS = 5


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


# --- the run ------------------------------------------------------------------------------------
def seconds(work: Callable[[], object], runs: int = RUNS) -> tuple[float, float]:
    """The shortest of several runs: by the clock, and on the processor."""
    found = []
    for _ in range(runs):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - began, time.process_time() - cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def measure(lake: Lake, weeks: int, requests: Callable[[], int] | None = None) -> None:
    """Publish and read both ways, and print a line for each."""
    rows = one_week()
    chunks = [f"week-{week:02d}" for week in range(weeks)]
    some = sorted(random.Random(1).sample(rows.spaces, 50))
    cases = {
        f"one room, {weeks} weeks": (chunks, rows.spaces[250:251]),
        "all rooms, one week": (chunks[:1], rows.spaces),
        "50 rooms, 4 weeks": (chunks[:4], some),
        "50 neighbouring rooms, 4 weeks": (chunks[:4], rows.spaces[100:150]),
    }

    def line(name: str, before: Callable[[], object], after: Callable[[], object]) -> None:
        if requests is None:
            (wall, cpu), (new_wall, new_cpu) = seconds(before), seconds(after)
            print(
                f"{name:32} {1000 * wall:9.1f} {1000 * new_wall:9.1f} ms {new_wall / wall:6.2f} x;"
                f" CPU {1000 * cpu:9.1f} {1000 * new_cpu:9.1f} ms {new_cpu / cpu:6.2f} x"
            )
            return
        start = requests()
        before()
        middle = requests()
        after()
        print(f"{name:32} {middle - start:7} {requests() - middle:7} requests")

    for chunk in chunks[1:]:
        publish_small(lake, chunk, rows)
        publish_large(lake, chunk, rows)
    line(
        f"publish {ROOMS} rooms of a week",
        lambda: publish_small(lake, chunks[0], rows),
        lambda: publish_large(lake, chunks[0], rows),
    )
    for name, (wanted, spaces) in cases.items():
        line(
            name,
            lambda wanted=wanted, spaces=spaces: read_small(lake, wanted, spaces),  # type: ignore[misc]
            lambda wanted=wanted, spaces=spaces: read_large(lake, wanted, spaces),  # type: ignore[misc]
        )
        if read_small(lake, wanted, spaces) != read_large(lake, wanted, spaces):
            raise SystemExit(f"{name}: the rows differ")


def in_s3(weeks: int) -> None:
    """Count the requests to a server in this process."""
    import os

    import boto3
    from moto.server import ThreadedMotoServer

    from tippers_dagster.platform.lake import Lake
    from tippers_dagster.platform.lake.s3 import S3Backend

    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
        client.create_bucket(Bucket="bench")
        backend = S3Backend("bench", "lake", address, "us-east-1")
        number = [0]

        def count(**_: object) -> None:
            number[0] += 1

        backend._client.meta.events.register("before-send.s3", count)
        measure(Lake(backend), weeks, lambda: number[0])
    finally:
        server.stop()


def main() -> None:
    """Run, and print what one file per space and what one per chunk take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--s3", action="store_true", help="count requests instead")
    options = parser.parse_args()
    if options.s3:
        in_s3(options.weeks)
        return
    from tippers_dagster.platform.lake import Lake
    from tippers_dagster.platform.lake.folder import FolderBackend

    with tempfile.TemporaryDirectory(prefix="tippers-bench-") as folder:
        measure(Lake(FolderBackend(Path(folder))), options.weeks)


if __name__ == "__main__":
    main()
