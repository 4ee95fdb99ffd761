"""From sessions in PostgreSQL to published occupancy through Dagster: ``benchmarks.end_to_end``.

A year of 500 rooms, 30 floors, 8 buildings and a campus (539 spaces x 52 weeks, 28,028 partitions)
in a separate embedded stack, computed by the same runs as the daemon's. One week is recounted with
a simple method; all counts must be equal.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.source.schema import PERSON

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from rich.console import Console

    from tippers_dagster.settings import Settings

FIRST = dt.date(2025, 1, 6)
ROOMS, FLOORS, BUILDINGS = 500, 30, 8
BATCH = 1_000_000
CHECKED_WIDTHS = (900, 3600)


@dataclass(frozen=True)
class Stage:
    """One asset. ``work``: seconds that its runs recorded for the data; the rest of the wall clock
    is spent by Dagster, and on finding stale partitions."""

    asset: str
    partitions: int
    runs: int
    seconds: float
    work: float

    @property
    def bookkeeping(self) -> float:
        return self.seconds - self.work

    @property
    def bookkeeping_ms(self) -> float:
        """Milliseconds per partition."""
        return 1000 * self.bookkeeping / max(1, self.partitions)


@dataclass(frozen=True)
class Result:
    sessions: int
    weeks: int
    people: float  # share of devices whose persons are known
    load_seconds: float
    track_seconds: float
    stages: list[Stage]
    seconds: float
    cpu_seconds: float
    database_cpu_seconds: float
    peak_mb: float
    checked_bins: int
    evaluation_seconds: float  # all conditions, when everything is up to date
    idle_tick_seconds: float

    @property
    def partitions(self) -> int:
        """Partitions of occupancy: spaces x weeks."""
        return sum(stage.partitions for stage in self.stages[1:])

    @property
    def bookkeeping_ms(self) -> float:
        """Milliseconds per partition, over all runs and tracking."""
        total = self.track_seconds + sum(stage.bookkeeping for stage in self.stages)
        return 1000 * total / self.partitions


# --- the data ----------------------------------------------------------------------------------
def spaces() -> pa.Table:
    rows = [("campus", "Campus", None, None)]
    rows += [(f"b{i}", f"Building {i}", "campus", None) for i in range(BUILDINGS)]
    rows += [(f"f{i}", f"Floor {i}", f"b{i * BUILDINGS // FLOORS}", None) for i in range(FLOORS)]
    rows += [(f"r{i}", f"Room {i}", f"f{i * FLOORS // ROOMS}", f"R{i}") for i in range(ROOMS)]
    names = ("space_id", "space_name", "parent_space_id", "building_room")
    columns = zip(*rows, strict=True)
    return pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})


KNOWN = 0.95
"""Of the sessions of a device that logs in by name, the share that has the name."""


def sessions(count: int, weeks: int, people: float) -> Iterator[pa.RecordBatch]:
    """A device is mostly in or near its room, by day; some are seen often, many rarely.

    ``people``: the share of devices whose persons are known, two devices each.
    """
    rng = np.random.default_rng(20250106)
    devices = max(1, count // 333)
    macs = pa.array([f"02:{i.to_bytes(5, 'big').hex(':')}" for i in range(devices)])
    rooms = pa.array([f"r{i}" for i in range(ROOMS)])
    points = pa.array([f"ap{i}" for i in range(ROOMS // 2)])
    home = rng.integers(0, ROOMS, devices)
    midnight = int(np.datetime64(FIRST, "s").astype(np.int64))
    for low in range(0, count, BATCH):
        n = min(BATCH, count - low)
        device = (devices * rng.random(n) ** 2).astype(np.int64)
        near = np.clip(home[device] + rng.normal(0, 6, n).astype(np.int64), 0, ROOMS - 1)
        where = rng.random(n)
        room = np.where(where < 0.85, near, rng.integers(0, ROOMS, n))
        room = np.where(where < 0.45, home[device], room)
        hour = np.clip(rng.normal(13, 3.5, n), 0, 23.99)
        start = midnight + rng.integers(0, 7 * weeks, n) * 86400 + (hour * 3600).astype(np.int64)
        end = start + 1 + rng.exponential(3000, n).astype(np.int64)
        named = ((device // 2) % 100 < 100 * people) & (rng.random(n) < KNOWN)
        person = (device // 2 + 1) * np.int64(0x1E3779B97F4A7C15)
        yield pa.record_batch(
            {
                "mac_address": macs.take(pa.array(device)),
                "sensor_id": points.take(pa.array(room // 2)),
                "start_time": pa.array(start * 1_000_000).cast(pa.timestamp("us")),
                "end_time": pa.array(end * 1_000_000).cast(pa.timestamp("us")),
                "space_id": rooms.take(pa.array(room)),
                **({PERSON: pa.array(person, mask=~named)} if people else {}),
            }
        )


def load(settings: Settings, count: int, weeks: int, people: float) -> None:
    from tippers_dagster.campus.source.creation import create_source_schema
    from tippers_dagster.campus.source.load import create_session_indexes, load_transaction
    from tippers_dagster.campus.source.schema import SESSIONS, SPACES, source_tables

    create_source_schema(settings)
    tables = source_tables(settings)
    batches = sessions(count, weeks, people)
    schema = tables[SESSIONS].arrow_schema()
    if people:
        schema = schema.append(pa.field(PERSON, pa.int64()))
    with load_transaction(settings) as transaction:
        transaction.copy_in(tables[SPACES], spaces())
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        transaction.copy_in(tables[SESSIONS], reader)
        create_session_indexes(transaction, settings)


# --- the run -----------------------------------------------------------------------------------
def measure(settings: Settings, count: int, weeks: int, people: float, console: Console) -> Result:
    from tippers_dagster.cli.progress import progress_bars
    from tippers_dagster.occupancy.launch import materialize
    from tippers_dagster.occupancy.tracking import track_space
    from tippers_dagster.platform.dagster.environment import dagster_instance
    from tippers_dagster.platform.warehouse.engine import warehouse_engine

    began = time.perf_counter()
    with console.status(f"Loading {count:,} sessions into PostgreSQL"):
        warehouse_engine(settings)
        load(settings, count, weeks, people)
    loaded = time.perf_counter()
    cpu, database_cpu = own_cpu(), postgres_cpu(settings)
    last = FIRST + dt.timedelta(weeks=weeks)
    track_space(settings, space="campus", start=FIRST, end=last)
    tracked = time.perf_counter()
    with dagster_instance(settings) as instance, progress_bars(console) as show:
        done = materialize(settings, instance, on_progress=show)
        finished = time.perf_counter()
        cpu, database_cpu = own_cpu() - cpu, postgres_cpu(settings) - database_cpu
        ticks = [tick(instance) for _ in range(2)]
    return Result(
        sessions=count,
        weeks=weeks,
        people=people,
        load_seconds=loaded - began,
        track_seconds=tracked - loaded,
        stages=[
            Stage(s.asset, s.partitions, s.runs, s.seconds, recorded_seconds(settings, s.asset))
            for s in done
        ],
        seconds=finished - loaded,
        cpu_seconds=cpu,
        database_cpu_seconds=database_cpu,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        checked_bins=check(settings, weeks),
        evaluation_seconds=ticks[0],
        idle_tick_seconds=ticks[1],
    )


def tick(instance: DagsterInstance) -> float:
    """Seconds of one tick of the automation that finds nothing to do."""
    import dagster as dg

    from tippers_dagster.occupancy.definitions import occupancy_definitions
    from tippers_dagster.settings import get_settings

    logging.disable(logging.INFO)
    definitions = occupancy_definitions(get_settings())
    sensor = definitions.get_repository_def().get_sensor_def("occupancy_automation")
    began = time.perf_counter()
    with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
        found = sensor.evaluate_tick(context)
    if found.run_requests:
        raise SystemExit(f"automation requests more runs: {found.run_requests}")
    return time.perf_counter() - began


def recorded_seconds(settings: Settings, asset: str) -> float:
    import sqlalchemy as sa

    from tippers_dagster.occupancy.tables import run_duration
    from tippers_dagster.platform.warehouse.engine import warehouse_engine

    query = sa.select(sa.func.sum(run_duration.c.seconds)).where(run_duration.c.asset == asset)
    with warehouse_engine(settings).connect() as connection:
        return float(connection.scalar(query) or 0)


def check(settings: Settings, weeks: int) -> int:
    """Recount the middle week with a simple method; returns the number of equal counts."""
    from tippers_dagster.campus.spaces.tree import load_tree
    from tippers_dagster.demo.counts import check_equal, lake_counts, recount

    tree = load_tree(settings)
    first = FIRST + dt.timedelta(weeks=weeks // 2)
    expected = recount(settings, tree, first, 7, CHECKED_WIDTHS)
    found = lake_counts(settings, tree.ids, [first.isoformat()], CHECKED_WIDTHS)
    return check_equal(found, expected, tree, "recount")


def own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def postgres_cpu(settings: Settings) -> float:
    """CPU seconds of the embedded server, including finished backends."""
    import psutil

    from tippers_dagster.platform.postgres.embedded import postmaster_pid

    pid = postmaster_pid(settings.home_path)
    server = psutil.Process(pid)
    ended = server.cpu_times()
    living = []
    for process in [server, *server.children()]:
        with suppress(
            psutil.NoSuchProcess
        ):  # ended meanwhile; included in the server's own time from now on
            living.append(process.cpu_times())
    return sum(t.user + t.system for t in living) + ended.children_user + ended.children_system


# --- what is shown -----------------------------------------------------------------------------
def report(console: Console, result: Result) -> None:
    from rich import box
    from rich.table import Table

    console.print(
        f"\n{result.sessions:,} sessions in PostgreSQL to {result.partitions:,} partitions of "
        f"occupancy{', with people' if result.people else ''}; seconds:"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("stage", no_wrap=True)
    for name in ("partitions", "runs", "all", "on the data", "Dagster", "ms/partition"):
        table.add_column(name, justify="right")
    table.add_row("track", "", "", f"{result.track_seconds:.1f}", "", "", "")
    for s in result.stages:
        figures = (s.seconds, s.work, s.bookkeeping)
        each = (f"{seconds:,.1f}" for seconds in figures)
        ms = "" if s is result.stages[0] else f"{s.bookkeeping_ms:.2f}"
        table.add_row(s.asset, f"{s.partitions:,}", f"{s.runs}", *each, ms)
    table.add_section()
    work = sum(s.work for s in result.stages)
    table.add_row(
        "all",
        f"{result.partitions:,}",
        f"{sum(s.runs for s in result.stages)}",
        f"{result.seconds:.1f}",
        f"{work:.1f}",
        f"{result.seconds - work:.1f}",
        f"{result.bookkeeping_ms:.2f}",
    )
    console.print(table)
    console.print(
        "Targets: under 180 s, at most 1 ms of bookkeeping per partition.\n"
        f"CPU: {result.cpu_seconds:.0f} s in this process, {result.database_cpu_seconds:.0f} s in "
        f"PostgreSQL. Peak memory: {result.peak_mb:,.0f} MB. Loading: "
        f"{result.load_seconds:.0f} s.\n"
        f"Automation when everything is up to date: {result.evaluation_seconds:.1f} s to evaluate "
        f"all conditions, {result.idle_tick_seconds:.2f} s for a tick without changes.\n"
        f"One week recounted with a simple method: all {result.checked_bins:,} counts equal."
    )


def main() -> None:
    """Run, print the table, and optionally write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000_000)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument(
        "--people",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of devices that log in by user names, whose people are counted too",
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    run(options.sessions, options.json, options.weeks, options.people)


def run(count: int, json_file: Path | None = None, weeks: int = 52, people: float = 0.0) -> None:
    """Run the benchmark in a separate home, which is deleted afterwards."""
    from rich.console import Console

    from tippers_dagster.platform.postgres.embedded import stop_embedded

    console = Console()
    json_file = json_file and json_file.absolute()
    with tempfile.TemporaryDirectory(prefix="tippers-bench-") as folder:
        settings = own_settings(Path(folder))
        try:
            result = measure(settings, count, weeks, people, console)
        finally:
            stop_embedded(settings.home_path)
    report(console, result)
    if json_file:
        figures = {**asdict(result), "bookkeeping_ms_per_partition": result.bookkeeping_ms}
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def own_settings(folder: Path) -> Settings:
    """Default settings with a separate home, so that no deployment is touched."""
    from tippers_dagster.settings import get_settings

    for name in list(os.environ):
        if name.startswith(("TIPPERS_", "DAGSTER_")):
            del os.environ[name]
    os.environ["TIPPERS_HOME"] = str(folder)
    os.chdir(folder)  # away from a developer's .env
    return get_settings()


if __name__ == "__main__":
    main()
