"""How old counts are while sessions arrive: ``python -m benchmarks.live``.

``tippers up`` runs on a simulated campus. Every few seconds sessions of new devices are committed
to its log. For each batch it is measured how long it takes until ``read_occupancy`` counts it, in
one of its rooms and on the whole campus. All settings that matter have their defaults.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import secrets
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import psutil
import psycopg2
from psycopg2.extras import execute_values
from rich.console import Console
from rich.table import Table

from benchmarks.soak import Deployment, deployment, free_ports
from tippers_dagster.campus.local_time import chunk_key
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.reading import StaleOccupancy, read_occupancy
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import postmaster_pid
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

DAY_SECONDS = 86_400
POLL_SECONDS = 0.25
GIVE_UP_SECONDS = 300
console = Console()


@dataclass
class Batch:
    """Sessions that were committed together, and when they were counted (monotonic seconds)."""

    committed: float
    room: str
    room_target: int
    campus_target: int
    seen: dict[str, float] = field(default_factory=dict)


def prepare(home: Path, options: argparse.Namespace) -> Settings:
    """A campus whose weeks up to today are computed, but for those of the backlog."""
    for name in [n for n in os.environ if n.startswith(("TIPPERS_", "DAGSTER_"))]:
        if name not in ("TIPPERS_DBT_PROJECT", "TIPPERS_THREADS"):
            del os.environ[name]
    os.environ |= {
        "TIPPERS_HOME": str(home),
        "TIPPERS_DEVICE_KEY": secrets.token_hex(32),
        "TIPPERS_AUTOMATE_DEFINITIONS": str(options.beside == "definitions"),
        **free_ports(),
    }
    if options.beside != "definitions":
        os.environ["TIPPERS_MLFLOW_URL"] = f"sqlite:///{home}/mlflow.db"
    get_settings.cache_clear()
    settings = get_settings()
    today = dt.datetime.now(ZoneInfo(settings.timezone)).date()
    monday = dt.date.fromisoformat(chunk_key(today, "week"))
    start = monday - dt.timedelta(weeks=options.weeks - 1 + options.backlog)
    campus = CampusOptions(
        buildings=options.buildings,
        people=options.people,
        days=(today - start).days,
        start=start,
        timezone=settings.timezone,
    )
    write_campus(settings, simulate_campus(campus))
    first = monday - dt.timedelta(weeks=options.weeks - 1)
    for root in roots(settings):
        track_space(settings, space=root, start=first, end=monday + dt.timedelta(weeks=1))
    with dagster_instance(settings) as instance:
        materialize(settings, instance)
    return settings


def roots(settings: Settings) -> list[str]:
    """The spaces without a parent."""
    return load_tree(settings).roots


class Arrivals:
    """Commits batches, and watches until each is counted."""

    def __init__(self, settings: Settings, size: int) -> None:
        self.settings = settings
        self.size = size
        self.batches: list[Batch] = []
        self.campus = roots(settings)[0]
        tree = load_tree(settings)
        self.rooms = [tree.ids[i] for i in np.flatnonzero(tree.is_leaf)]
        self.zone = ZoneInfo(settings.timezone)
        self._first = self._count(self.campus)
        self._rooms: dict[str, int] = {}
        self._added: Counter[str] = Counter()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def _count(self, space: str) -> int:
        """Distinct devices of today."""
        today = dt.datetime.now(self.zone).date()
        table = read_occupancy(
            space, today, today + dt.timedelta(days=1), DAY_SECONDS, settings=self.settings
        )
        return int(table["number_connections"][0].as_py() or 0)

    def commit(self) -> None:
        """Add sessions of devices that were never seen, each in some room, since a minute ago."""
        now = dt.datetime.now(self.zone).replace(tzinfo=None, microsecond=0)
        start = max(now - dt.timedelta(minutes=1), dt.datetime.combine(now.date(), dt.time()))
        rooms = random.choices(self.rooms, k=self.size)
        for room in set(rooms) - self._rooms.keys():
            self._rooms[room] = self._count(room)
        macs = [":".join(secrets.token_hex(6)[i : i + 2] for i in range(0, 12, 2)) for _ in rooms]
        rows = [(f"00{mac[2:]}", start, now, room) for mac, room in zip(macs, rooms, strict=True)]
        with closing(psycopg2.connect(databases(self.settings).source)) as connection:
            with connection, connection.cursor() as cursor:
                execute_values(
                    cursor,
                    "INSERT INTO source.user_ap_trajectory "
                    "(mac_address, start_time, end_time, space_id) VALUES %s",
                    rows,
                )
            committed = time.monotonic()
        self._added.update(rooms)
        room = rooms[0]
        self.batches.append(
            Batch(
                committed,
                room,
                self._rooms[room] + self._added[room],
                self._first + self.size * (len(self.batches) + 1),
            )
        )

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._look()
            time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        for which in ("room", "campus"):
            waiting = [batch for batch in list(self.batches) if which not in batch.seen]
            counts: dict[str, int] = {}
            for batch in waiting:
                space = batch.room if which == "room" else self.campus
                if space not in counts:
                    counts[space] = self._count(space)
                target = batch.room_target if which == "room" else batch.campus_target
                if counts[space] >= target:
                    batch.seen[which] = time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the counts meanwhile."""
        self._watcher.start()
        try:
            yield
        finally:
            self._stop.set()
            self._watcher.join()

    def settled(self) -> bool:
        """Whether every batch is counted."""
        return all(len(batch.seen) == 2 for batch in self.batches)

    def ages(self, which: str) -> np.ndarray:
        """Seconds from commit to count; those never counted are infinite."""
        return np.array([b.seen.get(which, np.inf) - b.committed for b in self.batches])


def arrive(arrivals: Arrivals, seconds: float, every: float) -> None:
    """Commit a batch every few seconds, then wait until all are counted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        arrivals.commit()
        time.sleep(max(0.0, every - (time.monotonic() - began)))
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not arrivals.settled() and time.monotonic() < give_up:
        time.sleep(POLL_SECONDS)


def backlog(settings: Settings, options: argparse.Namespace) -> None:
    """Track older weeks, all of whose partitions are then to be computed."""
    today = dt.datetime.now(ZoneInfo(settings.timezone)).date()
    first = dt.date.fromisoformat(chunk_key(today, "week")) - dt.timedelta(weeks=options.weeks - 1)
    for root in roots(settings):
        track_space(
            settings, space=root, start=first - dt.timedelta(weeks=options.backlog), end=first
        )


@dataclass
class Used:
    """What the deployment has used over some seconds."""

    seconds: float
    cpu_seconds: float


@contextmanager
def cpu_of(running: Deployment) -> Iterator[Callable[[], Used]]:
    """CPU time of the deployment's processes and its database, also of those that end."""
    seen: dict[tuple[int, float], float] = {}
    stop = threading.Event()
    began = time.monotonic()
    database = postmaster_pid(running.settings.home_path)

    def sample() -> None:
        tops = [running.up, *([psutil.Process(database)] if database else [])]
        for top in tops:
            for process in [top, *top.children(recursive=True)]:
                try:
                    times = process.cpu_times()
                    seen[process.pid, process.create_time()] = times.user + times.system
                except psutil.Error:
                    continue

    def keep_sampling() -> None:
        while not stop.wait(0.5):
            sample()

    sample()
    before = sum(seen.values())
    thread = threading.Thread(target=keep_sampling, daemon=True)
    thread.start()
    yield lambda: Used(time.monotonic() - began, sum(seen.values()) - before)
    stop.set()
    thread.join()


def counted(settings: Settings, since: dt.datetime) -> dict[str, float]:
    """Runs, events and partitions since a moment, and the size of Dagster's storage."""
    dagster, warehouse = databases(settings).dagster, databases(settings).warehouse
    events = (
        "SELECT count(*) FROM event_logs e JOIN runs r USING (run_id) "
        "WHERE e.timestamp >= %(since)s AND r.run_body LIKE '%%tippers/onward%%'"
    )
    materialized = (
        "SELECT count(*) FROM event_logs WHERE timestamp >= %(since)s "
        "AND dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key ~ '"
        '^."(sessions|source_occupancy|derived_occupancy|days_and_encounters)".$'
        "'"
    )
    runs = (
        "SELECT count(*) FROM runs WHERE create_timestamp >= %(since)s "
        "AND run_body LIKE '%%tippers/onward%%'"
    )
    live = (
        "SELECT count(*) FROM run_tags t JOIN runs r USING (run_id) WHERE t.key = 'tippers/slot' "
        "AND t.value = 'live' AND r.create_timestamp >= %(since)s"
    )
    utc = {"since": since.astimezone(dt.UTC).replace(tzinfo=None)}
    return {
        "runs": _one(dagster, runs, utc),
        "live runs": _one(dagster, live, utc),
        "events": _one(dagster, events, utc),
        "materializations": _one(dagster, materialized, utc),
        "partitions recorded": _one(
            warehouse,
            "SELECT coalesce(sum(partitions), 0) FROM tippers.run_duration "
            "WHERE finished_at >= %(since)s",
            {"since": since},
        ),
        "seconds of definitions": _one(
            dagster,
            "SELECT coalesce(sum(coalesce(end_time, extract(epoch FROM now())) - start_time), 0) "
            "FROM runs WHERE run_id IN (SELECT run_id FROM run_tags WHERE key = 'tippers/queue') "
            "AND coalesce(end_time, 1e12) > extract(epoch FROM %(since)s AT TIME ZONE 'UTC')",
            utc,
        ),
        "storage, MB": _one(dagster, "SELECT pg_database_size(current_database()) / 1e6", {}),
    }


def _one(url: str, query: str, values: dict[str, object]) -> float:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return float(cursor.fetchone()[0])


def report(arrivals: Arrivals, used: Used, before: dict[str, float], now: dict[str, float]) -> None:
    """Print the figures as tables."""
    table = Table("from commit to count", "median, s", "90 %, s", "95 %, s", "most, s")
    for which in ("room", "campus"):
        ages = arrivals.ages(which)
        figures = [np.median(ages), *np.quantile(ages, (0.9, 0.95)), ages.max()]
        table.add_row(which, *(f"{one:.1f}" for one in figures))
    console.print(table)
    figures = Table("while sessions arrived", "")
    batches = len(arrivals.batches)
    figures.add_row("batches", str(batches))
    figures.add_row("sessions", str(batches * arrivals.size))
    figures.add_row("runs of occupancy", f"{now['runs']:.0f}")
    figures.add_row("of these, of the live chunk", f"{now['live runs']:.0f}")
    figures.add_row("partitions computed", f"{now['partitions recorded']:.0f}")
    figures.add_row("materializations in Dagster", f"{now['materializations']:.0f}")
    figures.add_row(
        "events of occupancy per partition",
        f"{now['events'] / max(1.0, now['partitions recorded']):.2f}",
    )
    figures.add_row("seconds of runs of definitions", f"{now['seconds of definitions']:.0f}")
    figures.add_row("cores used", f"{used.cpu_seconds / used.seconds:.2f}")
    growth = (now["storage, MB"] - before["storage, MB"]) / used.seconds * 3600
    figures.add_row("growth of Dagster's storage, MB an hour", f"{growth:.0f}")
    console.print(figures)


def main() -> int:
    """Measure; exit status 1 if a batch was never counted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two batches")
    parser.add_argument("--sessions", type=int, default=50, help="of a batch")
    parser.add_argument("--buildings", type=int, default=8)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--weeks", type=int, default=9)
    parser.add_argument("--backlog", type=int, default=0, help="weeks to be computed meanwhile")
    parser.add_argument(
        "--beside",
        choices=["nothing", "definitions"],
        default="nothing",
        help="definitions: all of them are computed meanwhile, for the first time",
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", StaleOccupancy)  # newer sessions have been seen: always
    with tempfile.TemporaryDirectory(prefix="tippers-live-") as folder:
        settings = prepare(Path(folder), options)
        spaces = len(load_tree(settings))
        rows = read_source(settings, "SELECT count(*) AS n FROM source.user_ap_trajectory")
        console.print(
            f"{spaces:,} spaces, {options.weeks} weeks, {rows['n'][0].as_py():,} sessions; "
            f"then {options.sessions} more every {options.every:g} s."
        )
        with deployment(settings) as running:
            time.sleep(20)  # the first ticks
            arrivals = Arrivals(settings, options.sessions)
            since, before = dt.datetime.now(dt.UTC), counted(settings, dt.datetime.now(dt.UTC))
            if options.backlog:
                backlog(settings, options)
            with cpu_of(running) as used, arrivals.watching():
                arrive(arrivals, 60 * options.minutes, options.every)
                figures = used()
            report(arrivals, figures, before, counted(settings, since))
    return 0 if arrivals.settled() else 1


if __name__ == "__main__":
    sys.exit(main())
