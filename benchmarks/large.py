"""A large grid of spaces and weeks, from nothing: ``python -m benchmarks.large``.

``tippers up`` computes every partition of it. Then one late session arrives. The ticks of the
automation, the memory of the code server, the runs and their seconds are measured for both.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import psycopg2
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.soak import Deployment, deployment, free_ports
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.campus.source.schema import SESSIONS, SPACES, source_tables
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings, get_settings

START = dt.date(2022, 1, 3)
ROOMS_OF_BUILDING = 100
DEVICES = 50_000
CAMPUS = "campus"
GIVE_UP_SECONDS = 3600
LOOK_SECONDS = 2.0

console = Console()


def prepare(home: Path, spaces: int, weeks: int) -> Settings:
    """Source tables with these spaces, and a session in every room and week."""
    for name in [n for n in os.environ if n.startswith(("TIPPERS_", "DAGSTER_"))]:
        if name not in ("TIPPERS_DBT_PROJECT", "TIPPERS_THREADS", "TIPPERS_MAX_PARTITIONS_PER_RUN"):
            del os.environ[name]
    os.environ |= {
        "TIPPERS_HOME": str(home),
        "TIPPERS_DEVICE_KEY": secrets.token_hex(32),
        "TIPPERS_AUTOMATE_DEFINITIONS": "false",
        "TIPPERS_MLFLOW_URL": f"sqlite:///{home}/mlflow.db",
        **free_ports(),
    }
    get_settings.cache_clear()
    settings = get_settings()
    buildings = max(1, spaces // (ROOMS_OF_BUILDING + 1))
    rooms = [f"r{i}" for i in range(spaces - buildings - 1)]
    parents = [CAMPUS] * buildings + [f"b{i % buildings}" for i in range(len(rooms))]
    ids = [f"b{i}" for i in range(buildings)] + rooms
    create_source_schema(settings)
    with load_transaction(settings) as load:
        tables = source_tables(settings)
        load.copy_in(tables[SPACES], _spaces([CAMPUS, *ids], [None, *parents]))
        for week in range(weeks):
            load.copy_in(tables[SESSIONS], _sessions(rooms, week))
    return settings


def _spaces(ids: list[str], parents: list[str | None]) -> pa.Table:
    columns = {"space_id": ids, "parent_space_id": parents, "space_name": ids}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _sessions(rooms: list[str], week: int) -> pa.Table:
    n = len(rooms)
    rng = np.random.default_rng(week)
    devices = rng.integers(0, DEVICES, n)
    begin = np.datetime64(START + dt.timedelta(weeks=week), "us")
    start = begin + rng.integers(0, 6 * 86_400, n) * np.timedelta64(1_000_000, "us")
    end = start + rng.integers(60, 7_200, n) * np.timedelta64(1_000_000, "us")
    macs = [f"00:00:00:00:{d >> 8:02x}:{d & 255:02x}" for d in devices.tolist()]
    return pa.table(
        {
            "mac_address": pa.array(macs, pa.string()),
            "sensor_id": pa.array(rooms, pa.string()),
            "start_time": pa.array(start),
            "end_time": pa.array(end),
            "space_id": pa.array(rooms, pa.string()),
        }
    )


def stale(settings: Settings, wanted: int) -> int:
    """How many partitions are not recorded yet."""
    return wanted - int(
        _one(databases(settings).warehouse, "SELECT count(*) FROM tippers.partition_figures")
    )


def _one(url: str, query: str, values: tuple[object, ...] = ()) -> float:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return float(cursor.fetchone()[0] or 0)


@contextmanager
def memory_of(running: Deployment) -> Iterator[dict[str, float]]:
    """The most memory, in MB, of the code server's process with the definitions."""
    found = {"code server, MB": 0.0}
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            try:
                for process in running.up.children(recursive=True):
                    if "tippers: definitions" in " ".join(process.cmdline()):
                        used = process.memory_full_info().pss / 1e6
                        found["code server, MB"] = max(found["code server, MB"], used)
            except psutil.Error:
                continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield found
    stop.set()
    thread.join()


def measured(settings: Settings, since: float) -> dict[str, float]:
    """Ticks of the automation and runs since a moment (Unix seconds)."""
    url = databases(settings).dagster
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (tick_body::jsonb->>'end_timestamp')::float8 "
            "- (tick_body::jsonb->>'timestamp')::float8 FROM job_ticks "
            "WHERE tick_body LIKE '%%occupancy_automation%%' AND timestamp >= "
            "to_timestamp(%s) AT TIME ZONE 'UTC' AND tick_body LIKE '%%end_timestamp%%'",
            (since,),
        )
        ticks = [row[0] for row in cursor.fetchall() if row[0] is not None] or [0.0]
        cursor.execute(
            "SELECT count(*), coalesce(max(end_time - start_time), 0) FROM runs WHERE "
            "create_timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC'",
            (since,),
        )
        runs, longest = cursor.fetchone()
    return {
        "longest tick, s": max(ticks),
        "runs": runs,
        "longest run, s": longest,
        "events": _one(url, "SELECT count(*) FROM event_logs"),
        "Dagster's storage, MB": _one(url, "SELECT pg_database_size(current_database()) / 1e6"),
    }


def wait(settings: Settings, wanted: int) -> float:
    """Seconds until everything is recorded and no run is active."""
    began = time.monotonic()
    active = "SELECT count(*) FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
    while stale(settings, wanted) or _one(databases(settings).dagster, active):
        if time.monotonic() - began > GIVE_UP_SECONDS:
            raise SystemExit(f"Not computed after {GIVE_UP_SECONDS} s: {stale(settings, wanted)}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def add_late_session(settings: Settings, weeks: int) -> None:
    """A new device in one room of the newest week."""
    start = dt.datetime.combine(START, dt.time(12)) + dt.timedelta(weeks=weeks - 1)
    with (
        closing(psycopg2.connect(databases(settings).source)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO source.user_ap_trajectory (mac_address, start_time, end_time, space_id) "
            "VALUES ('00:11:22:33:44:55', %s, %s, 'r0')",
            (start, start + dt.timedelta(hours=1)),
        )


def late(settings: Settings, weeks: int) -> float:
    """Seconds until a late session is counted on the whole campus."""
    campus = (
        "SELECT max(extract(epoch FROM computed_at)) FROM tippers.partition_figures "
        "WHERE asset = 'derived_occupancy' AND space = %s"
    )
    url = databases(settings).warehouse
    before, began = _one(url, campus, (CAMPUS,)), time.monotonic()
    add_late_session(settings, weeks)
    while _one(url, campus, (CAMPUS,)) == before:
        if time.monotonic() - began > GIVE_UP_SECONDS:
            raise SystemExit("The late session was never counted.")
        time.sleep(0.25)
    return time.monotonic() - began


def main() -> int:
    """Measure a grid, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--spaces", type=int, default=2000)
    parser.add_argument("--weeks", type=int, default=104)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tippers-large-") as folder:
        settings = prepare(Path(folder), options.spaces, options.weeks)
        wanted = (options.spaces + 2) * options.weeks
        console.print(f"{options.spaces:,} spaces, {options.weeks} weeks, {wanted:,} partitions")
        with deployment(settings) as running, memory_of(running) as memory:
            since = time.time()
            end = START + dt.timedelta(weeks=options.weeks)
            track_space(settings, space=CAMPUS, start=START, end=end)
            seconds = wait(settings, wanted)
            everything = {"seconds": seconds, **measured(settings, since), **memory}
            time.sleep(70)  # a full evaluation while nothing changes
            since = time.time()
            one = {"seconds": late(settings, options.weeks)}
            time.sleep(10)
            one |= {**measured(settings, since), **memory}
    table = Table("", "everything", "one late session")
    for name, value in everything.items():
        table.add_row(name, f"{value:,.1f}", f"{one[name]:,.1f}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
