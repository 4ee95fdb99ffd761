"""A month in fast motion: ``python -m benchmarks.month``.

On every simulated day sessions arrive in batches, each is noticed and computed as automation does
it, in this process, and at the end of the day housekeeping deletes what is old. The storage of
Dagster and of the warehouse is measured each day, and how long pages need for what they show.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import psycopg2
from psycopg2.extras import execute_values
from rich.console import Console
from rich.table import Table

from benchmarks.large import CAMPUS, START, prepare
from tippers_dagster.automation.orphaned_runs import materialize_in_process
from tippers_dagster.campus.local_time import chunk_key
from tippers_dagster.housekeeping.work import clean_up
from tippers_dagster.occupancy.assets import DEFINED
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.source_checks import observe
from tippers_dagster.occupancy.state import ASSETS
from tippers_dagster.occupancy.status import look
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings

WEEKS_BEFORE = 9
CHANGES_OF_A_LIVE_DAY = 12 * 360
"""One every ten seconds, for twelve hours."""

console = Console()


@dataclass
class Day:
    """Megabytes of Dagster's storage and the warehouse, and milliseconds of pages."""

    dagster: float
    warehouse: float
    pages: dict[str, float]


class Campus:
    """Sessions arrive, and automation computes what they change."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, spaces: int) -> None:
        self.settings, self.instance = settings, instance
        self.rooms = [f"r{i}" for i in range(spaces // 2)]
        self.repository = occupancy_definitions(settings).get_repository_def()
        self.cursor: str | None = None
        self.rng = np.random.default_rng(1)

    def change(self, date: dt.date, size: int) -> None:
        """A batch of sessions of this day, counted up to the campus."""
        seconds = self.rng.integers(0, 80_000, size).tolist()
        starts = [
            dt.datetime.combine(date, dt.time()) + dt.timedelta(seconds=second)
            for second in seconds
        ]
        rows = [
            (f"02:00:{i >> 8 & 255:02x}:{i & 255:02x}:00:01", s, s + dt.timedelta(minutes=20), room)
            for i, s, room in zip(
                self.rng.integers(0, 60_000, size).tolist(),
                starts,
                self.rng.choice(self.rooms, size).tolist(),
                strict=True,
            )
        ]
        with (
            closing(psycopg2.connect(databases(self.settings).source)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            execute_values(
                cursor,
                "INSERT INTO source.user_ap_trajectory "
                "(mac_address, start_time, end_time, space_id) VALUES %s",
                rows,
            )
        observe(self.settings, [chunk_key(date, self.settings.chunk)])
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, cursor=self.cursor
        )
        data = self.repository.get_sensor_def("occupancy_automation").evaluate_tick(context)
        self.cursor = data.cursor
        for request in data.run_requests or ():
            keys = list(request.asset_selection or ())
            chosen = [asset for asset in DEFINED if asset.key in keys]
            result = materialize_in_process(
                self.settings, self.instance, chosen, keys, request.tags
            )
            assert result.success


def pages(settings: Settings, instance: dg.DagsterInstance, date: dt.date) -> dict[str, float]:
    """Milliseconds of what pages read: the median of five."""
    week = dt.date.fromisoformat(chunk_key(date, settings.chunk))
    reads: dict[str, Callable[[], object]] = {
        "progress": lambda: look(settings, instance),
        "Dagster's partitions": lambda: [
            instance.get_materialized_partitions(dg.AssetKey(asset)) for asset in ASSETS
        ],
        "Dagster's runs": lambda: instance.get_run_records(limit=25),
        "a week of the campus": lambda: read_occupancy(
            CAMPUS, week, week + dt.timedelta(days=7), 900, settings=settings
        ),
    }
    return {name: _median(read) for name, read in reads.items()}


def _median(read: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        read()
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken))


def size(url: str) -> float:
    """Megabytes of a database."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database()) / 1e6")
        return float(cursor.fetchone()[0])


def live(settings: Settings, options: argparse.Namespace) -> tuple[float, list[Day]]:
    """Megabytes of Dagster's storage when the weeks before are computed, and all days."""
    first = START + dt.timedelta(weeks=WEEKS_BEFORE)
    end = first + dt.timedelta(days=options.days)
    track_space(settings, space=CAMPUS, start=START, end=end)
    days = []
    with dagster_instance(settings) as instance:
        materialize(settings, instance)
        campus = Campus(settings, instance, options.spaces)
        url = databases(settings).dagster
        begin = size(url)
        for n in range(options.days):
            date = first + dt.timedelta(days=n)
            for _ in range(options.changes):
                campus.change(date, options.sessions)
            # As if the day's events were older than they are kept.
            later = dt.timedelta(hours=settings.keep_events_hours, minutes=1)
            clean_up(settings, dt.datetime.now(dt.UTC) + later)
            figures = pages(settings, instance, date)
            days.append(Day(size(url), size(databases(settings).warehouse), figures))
            console.print(f"day {n + 1}: {days[-1].dagster:.1f} MB")
    return begin, days


def report(begin: float, days: list[Day], changes: int) -> None:
    """Print the figures as tables."""
    table = Table("", "first day", "last day")
    first, last = days[0], days[-1]
    rows = {
        "Dagster's storage, MB": (first.dagster, last.dagster),
        "warehouse and log, MB": (first.warehouse, last.warehouse),
        **{f"{name}, ms": (first.pages[name], last.pages[name]) for name in first.pages},
    }
    for name, values in rows.items():
        table.add_row(name, *(f"{value:,.1f}" for value in values))
    console.print(table)
    added = (first.dagster - begin) / changes
    console.print(
        f"A change adds {1000 * added:.0f} kB, which housekeeping deletes; without it a day with "
        f"{CHANGES_OF_A_LIVE_DAY:,} changes would add {added * CHANGES_OF_A_LIVE_DAY:,.0f} MB."
    )


def main() -> int:
    """Measure a month."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.month", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--changes", type=int, default=20, help="of a day")
    parser.add_argument("--sessions", type=int, default=50, help="of a change")
    parser.add_argument("--spaces", type=int, default=597)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tippers-month-") as folder:
        settings = prepare(Path(folder), options.spaces, WEEKS_BEFORE)
        report(*live(settings, options), options.changes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
