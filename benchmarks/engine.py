"""The engine compared with DuckDB, Polars and PostgreSQL: ``python -m benchmarks.engine``.

Counts exact distinct devices per space and 15-minute bin of a year, in 500 rooms, 30 floors,
8 buildings and a campus, from the same sessions in memory, in the order of a log. Each contestant
runs in a separate process, after loading the sessions, and must give the same counts.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

# NumPy and the contestants are imported only in the workers, since a child's peak memory
# (ru_maxrss) includes its parent's.

YEAR = dt.date(2025, 1, 1), dt.date(2026, 1, 1)
ZONE = "America/Los_Angeles"
WIDTH = 900
ROOMS, FLOORS, BUILDINGS = 500, 30, 8
LEVELS = (ROOMS, FLOORS, BUILDINGS, 1)
THREADS = 2
ENGINE_RUNS = 5
ROOM_DAYS = 200
SAMPLE_START, SAMPLE_DAYS = dt.date(2025, 3, 1), 28
ROOM_DAY_SQL = f"""
    SELECT bin, count(DISTINCT device)
    FROM generate_series($1::bigint, $2::bigint - 1, {WIDTH}) AS bin
    JOIN bench_sessions ON space = $3 AND start < bin + {WIDTH} AND "end" > bin
        AND start < $2::bigint AND "end" > $1::bigint
    GROUP BY bin
"""

# The tree in SQL, the same as in NumPy: a parent's code, from the code of the level below.
PARENT_SQL = ("space", f"least(space // 17, {FLOORS - 1})", "space // 4", "0")


class Outcome(NamedTuple):
    """A worker's results."""

    seconds: float
    cpu_seconds: float | None
    peak_mb: float | None
    digest: str  # of the counts of all levels; empty if they are not kept
    note: str = ""


# --- the sessions ------------------------------------------------------------------------------
def make_sessions(folder: Path, sessions: int) -> None:
    """Write ``sessions.parquet`` (space, device, start, end), ordered by start."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(20250101)
    first, last = (clock().day_start(date) for date in YEAR)
    devices = max(1, sessions // 333)
    ids = rng.integers(0, 2**63, devices, dtype=np.uint64)
    # A few devices are seen often, many rarely; each mostly in or near its room.
    device = (devices * rng.random(sessions) ** 2).astype(np.int64)
    home = rng.integers(0, ROOMS, devices)[device]
    near = np.clip(home + rng.normal(0, 6, sessions).astype(np.int64), 0, ROOMS - 1)
    where = rng.random(sessions)
    space = np.where(where < 0.85, near, rng.integers(0, ROOMS, sessions))
    space = np.where(where < 0.45, home, space)
    hour = np.clip(rng.normal(13, 3.5, sessions), 0, 23.99)
    start = first + rng.integers(0, 365, sessions) * 86400 + (hour * 3600).astype(np.int64)
    end = start + 1 + rng.exponential(3000, sessions).astype(np.int64)
    order = np.argsort(start, kind="stable")
    columns = {
        "space": space.astype(np.uint16),
        "device": ids[device],
        "start": np.minimum(start, last - 1),
        "end": np.minimum(end, last),
    }
    table = pa.table({name: column[order] for name, column in columns.items()})
    pq.write_table(table, folder / "sessions.parquet")


def clock() -> Any:
    from tippers_dagster.campus.local_time import LocalClock

    return LocalClock(ZONE)


def weeks() -> Any:
    """UTC seconds of the starts of the year's weeks, and of the end of the last."""
    from tippers_dagster.campus.local_time import chunk_keys

    return clock().chunk_boundaries(chunk_keys(*YEAR, "week"), "week")


def first_and_bins() -> tuple[int, int]:
    """The first second of the grid, and its number of bins."""
    boundaries = weeks()
    return int(boundaries[0]), int(boundaries[-1] - boundaries[0]) // WIDTH


# --- the contestants ---------------------------------------------------------------------------
def engine(folder: Path, width: int = WIDTH) -> Outcome:
    """The sweep, with two threads for weeks; each level is computed from the one below."""
    import numpy as np
    import pyarrow.parquet as pq

    from tippers_dagster.campus.local_time import chunk_bounds, chunk_keys
    from tippers_dagster.occupancy import sweep

    table = pq.read_table(folder / "sessions.parquet")
    space, device, start, end = (table[name].to_numpy() for name in table.column_names)
    del table
    rooms, floors = np.arange(ROOMS), np.arange(FLOORS)
    groups = [np.minimum(rooms // 17, FLOORS - 1), floors // 4, np.zeros(BUILDINGS, np.int64)]
    keys = chunk_keys(*YEAR, "week")
    # Counts per minute of a year would take over a gigabyte: they are dropped after each week.
    keep = width == WIDTH

    def week(edges: Any, rows: Any) -> list[Any]:
        begin, stop = edges[0], edges[-1]
        presence = sweep.merge(
            space[rows],
            device[rows],
            np.maximum(start[rows], begin),
            np.minimum(end[rows], stop),
        )
        grids = [sweep.count(presence, ROOMS, edges)]
        for n_spaces, group in zip(LEVELS[1:], groups, strict=True):
            presence = sweep.union(presence, group)
            grids.append(sweep.count(presence, n_spaces, edges))
        return grids if keep else []

    def year() -> list[list[Any]]:
        edges = [clock().bin_edges(*chunk_bounds(key, "week"), width) for key in keys]
        rows = sweep.split(start, end, weeks())
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(week, edges, rows))

    runs = []
    for _ in range(ENGINE_RUNS):
        grids: list[list[Any]] = []  # those of the last run are freed before the next
        with Stopwatch() as watch:
            grids = year()
        runs.append(watch)
    typical = sorted(runs, key=lambda watch: watch.seconds)[ENGINE_RUNS // 2]
    peak = peak_mb()
    note = f"median of {ENGINE_RUNS}: " + " ".join(f"{watch.seconds:.2f}" for watch in runs)
    levels = (np.concatenate(level, axis=1) for level in zip(*grids, strict=True))
    result = digest(levels) if keep else ""
    return Outcome(typical.seconds, typical.cpu_seconds, peak, result, note)


def engine_minutes(folder: Path) -> Outcome:
    """The same in 1-minute bins."""
    return engine(folder, 60)


def duckdb_expanded(folder: Path) -> Outcome:
    """Distinct (space, bin, device), each level from the one below, the whole year at once."""
    first, _ = first_and_bins()

    def work(connection: Any) -> None:
        pairs = (
            f"SELECT space, device, unnest(range((start - {first}) // {WIDTH}, "
            f'("end" - 1 - {first}) // {WIDTH} + 1))::int AS bin FROM sessions'
        )
        for level, parent in enumerate(PARENT_SQL):
            connection.execute(
                f"CREATE TEMP TABLE pairs{level} AS SELECT DISTINCT "
                f"({parent})::usmallint AS space, device, bin FROM ({pairs})"
            )
            connection.execute(
                f"INSERT INTO counts{level} SELECT space, bin, count(*) "
                f"FROM pairs{level} GROUP BY ALL"
            )
            pairs = f"SELECT * FROM pairs{level}"

    return duckdb(folder, work)


def duckdb_intervals(folder: Path) -> Outcome:
    """Intervals of bins, made disjoint with a running maximum, level by level and week by week."""

    def work(connection: Any) -> None:
        first, _ = first_and_bins()
        for low, high, inside in week_filters():
            rows = (
                f"SELECT space, device, greatest(start, {low}) AS start, "
                f'least("end", {high}) AS stop FROM sessions WHERE {inside}'
            )
            runs = (
                f"SELECT space, device, ((start - {first}) // {WIDTH})::int AS a, "
                f"((stop - 1 - {first}) // {WIDTH})::int AS b FROM ({rows})"
            )
            for level, parent in enumerate(PARENT_SQL):
                connection.execute(
                    f"""
                    CREATE OR REPLACE TEMP TABLE runs{level} AS
                    SELECT space, device, a, b FROM (
                        SELECT space, device, b, greatest(a, 1 + max(b) OVER (
                            PARTITION BY space, device ORDER BY a
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS a
                        FROM (SELECT ({parent})::usmallint AS space, device, a, b FROM ({runs}))
                    ) WHERE a <= b
                    """
                )
                connection.execute(
                    f"""
                    INSERT INTO counts{level} SELECT space, bin, count(*) FROM (
                        SELECT space, unnest(range(a, b + 1))::int AS bin FROM runs{level}
                    ) GROUP BY ALL
                    """
                )
                runs = f"SELECT * FROM runs{level}"

    return duckdb(folder, work)


def duckdb_packed(folder: Path) -> Outcome:
    """Distinct (space, bin, device) packed in one integer, level by level and week by week."""
    first, _ = first_and_bins()
    below = (1 << 44) - 1  # space << 44 | bin << 24 | device

    def work(connection: Any) -> None:
        connection.execute(
            "CREATE TEMP TABLE ranks AS SELECT device, (row_number() OVER ())::int AS rank "
            "FROM (SELECT DISTINCT device FROM sessions)"
        )
        connection.execute(
            f"CREATE TEMP TABLE ranked AS SELECT space, rank, ((start - {first}) // {WIDTH})::int "
            f'AS a, (("end" - 1 - {first}) // {WIDTH})::int AS b FROM sessions JOIN ranks '
            "USING (device)"
        )
        for low, high, _ in week_filters():
            low, high = (low - first) // WIDTH, (high - first) // WIDTH
            bins = f"range(greatest(a, {low}), least(b + 1, {high}))"
            key = (
                f"SELECT (space::bigint << 44) | (unnest({bins}) << 24) | rank AS key FROM ranked "
                f"WHERE a < {high} AND b >= {low}"
            )
            for level, parent in enumerate(PARENT_SQL):
                space = parent.replace("space", "(key >> 44)")
                connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE keys{level} AS SELECT DISTINCT "
                    f"(({space})::bigint << 44) | (key & {below}) AS key FROM ({key})"
                )
                connection.execute(
                    f"INSERT INTO counts{level} SELECT cell >> 20, cell & {(1 << 20) - 1}, n FROM "
                    f"(SELECT key >> 24 AS cell, count(*) AS n FROM keys{level} GROUP BY ALL)"
                )
                key = f"SELECT * FROM keys{level}"

    return duckdb(folder, work)


def duckdb(folder: Path, work: Callable[[Any], None]) -> Outcome:
    """Time ``work``, which fills counts0 to counts3 (space, bin, n) from the table sessions."""
    import duckdb as library

    connection = library.connect(config={"threads": THREADS})
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"CREATE TABLE sessions AS FROM '{folder / 'sessions.parquet'}'")
    with Stopwatch() as watch:
        for level in range(len(LEVELS)):
            connection.execute(f"CREATE TABLE counts{level} (space usmallint, bin int, n int)")
        work(connection)
    peak = peak_mb()
    found = (
        connection.execute(f"SELECT space, bin, n FROM counts{level}").fetchnumpy()
        for level in range(len(LEVELS))
    )
    return Outcome(watch.seconds, watch.cpu_seconds, peak, digest(dense(found)))


def polars_expanded(folder: Path) -> Outcome:
    """Distinct (space, bin, device), level by level and week by week."""
    import polars as pl

    first, _ = first_and_bins()
    sessions = pl.read_parquet(folder / "sessions.parquet")
    counts: list[list[pl.DataFrame]] = [[] for _ in LEVELS]

    def work() -> None:
        for low, high, _ in week_filters():
            begin = (pl.max_horizontal("start", pl.lit(low)) - first) // WIDTH
            stop = (pl.min_horizontal("end", pl.lit(high)) - 1 - first) // WIDTH + 1
            pairs = (
                sessions.lazy()
                .filter((pl.col("start") < high) & (pl.col("end") > low))
                .select("space", "device", bin=pl.int_ranges(begin, stop, dtype=pl.Int32))
                .explode("bin")
                .unique()
                .collect(engine="streaming")
            )
            parents = (
                pl.col("space"),
                (pl.col("space") // 17).clip(upper_bound=FLOORS - 1),
                pl.col("space") // 4,
                pl.lit(0, pl.UInt16).alias("space"),
            )
            for level, parent in enumerate(parents):
                if level:
                    pairs = pairs.lazy().with_columns(parent).unique().collect(engine="streaming")
                found = pairs.lazy().group_by("space", "bin").len("n")
                counts[level].append(found.collect(engine="streaming"))

    with Stopwatch() as watch:
        work()
    peak = peak_mb()
    found = (pl.concat(level).to_dict(as_series=False) for level in counts)
    return Outcome(watch.seconds, watch.cpu_seconds, peak, digest(dense(found)))


def postgres_room_days(folder: Path) -> Outcome:
    """One query per room and day, which joins bins with the sessions that overlap them."""
    import adbc_driver_postgresql.dbapi as adbc
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from tippers_dagster.occupancy import sweep
    from tippers_dagster.platform.postgres.embedded import start_embedded, stop_embedded

    dates = [SAMPLE_START + dt.timedelta(days=day) for day in range(SAMPLE_DAYS + 1)]
    days = [clock().day_start(date) for date in dates]
    inside = (pc.field("start") < days[-1]) & (pc.field("end") > days[0])
    table = pq.read_table(folder / "sessions.parquet", filters=inside)
    columns = {name: table[name].to_numpy().astype(np.int64) for name in table.column_names}
    edges = clock().bin_edges(dates[0], dates[-1], WIDTH)
    grid = sweep.count(sweep.merge(*columns.values()), ROOMS, edges)
    rng = np.random.default_rng(1)
    chosen = list(
        zip(
            rng.integers(0, ROOMS, ROOM_DAYS).tolist(),
            rng.integers(0, SAMPLE_DAYS, ROOM_DAYS).tolist(),
            strict=True,
        )
    )
    server = start_embedded(folder / "postgres")
    try:
        with adbc.connect(server.url("tippers")) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("bench_sessions", pa.table(columns), mode="create")
            cursor.execute('CREATE INDEX ON bench_sessions (space, start, "end", device)')
            cursor.execute("ANALYZE bench_sessions")
            connection.commit()
            with Stopwatch() as watch:
                found = []
                for room, day in chosen:
                    cursor.execute(ROOM_DAY_SQL, (days[day], days[day + 1], room))
                    found.append(cursor.fetchall())
    finally:
        stop_embedded(folder / "postgres")
    for (room, day), rows in zip(chosen, found, strict=True):
        counts = dict(rows)
        begin, stop = np.searchsorted(edges, [days[day], days[day + 1]])
        expected = [counts.get(edge, 0) for edge in edges[begin:stop].tolist()]
        if grid[room, begin:stop].tolist() != expected:
            raise SystemExit(f"PostgreSQL and the engine differ in room {room} on {dates[day]}")
    each = watch.seconds / ROOM_DAYS
    note = (
        f"{ROOM_DAYS} room-days of {table.num_rows:,} sessions ({SAMPLE_DAYS} days), all equal to "
        f"the engine's: {each * 1000:.1f} ms each; extrapolated to {ROOMS * 365:,}, rooms only"
    )
    return Outcome(each * ROOMS * 365, None, None, "", note)


# --- measuring ---------------------------------------------------------------------------------
class Stopwatch:
    """Wall-clock seconds within a ``with``, and CPU seconds of all threads of this process."""

    def __enter__(self) -> Stopwatch:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began[0]
        self.cpu_seconds = time.process_time() - self._began[1]


def peak_mb() -> float:
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def week_filters() -> Iterator[tuple[int, int, str]]:
    """Each week's first second, its end, and the SQL condition for sessions that overlap it."""
    boundaries = weeks().tolist()
    for low, high in itertools.pairwise(boundaries):
        yield low, high, f'start < {high} AND "end" > {low}'


def dense(levels: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """Grids [space, bin] from each level's columns space, bin and n."""
    import numpy as np

    _, n_bins = first_and_bins()
    for n_spaces, level in zip(LEVELS, levels, strict=True):
        grid = np.zeros((n_spaces, n_bins), np.int32)
        grid[np.asarray(level["space"], np.int64), np.asarray(level["bin"])] = level["n"]
        yield grid


def digest(grids: Iterable[Any]) -> str:
    """A hash of the counts of all levels."""
    import numpy as np

    found = hashlib.sha256()
    for grid in grids:
        found.update(repr(grid.shape).encode())
        found.update(np.ascontiguousarray(grid, np.int32).data)
    return found.hexdigest()


# --- the run -----------------------------------------------------------------------------------
CONTESTANTS: dict[str, tuple[str, Callable[[Path], Outcome]]] = {
    "engine": ("tippers engine", engine),
    "engine_minutes": ("tippers engine, 1-minute bins", engine_minutes),
    "duckdb_packed": ("DuckDB, packed pairs by week", duckdb_packed),
    "duckdb_intervals": ("DuckDB, intervals by week", duckdb_intervals),
    "duckdb_expanded": ("DuckDB, pairs of the year", duckdb_expanded),
    "polars_expanded": ("Polars, pairs by week", polars_expanded),
    "postgres_room_days": ("PostgreSQL, one query per room and day", postgres_room_days),
}


def measure(folder: Path, sessions: int, show: Callable[[str], None]) -> dict[str, Outcome]:
    """Make the sessions, and run every contestant in a separate process."""
    show(f"making {sessions:,} sessions")
    _worker("--make", str(sessions), "--folder", str(folder))
    outcomes = {}
    for name, (title, _) in CONTESTANTS.items():
        show(title)
        found = json.loads(_worker("--only", name, "--folder", str(folder)))
        outcomes[name] = Outcome(**found)
    digests = {name: found.digest for name, found in outcomes.items() if found.digest}
    if len(set(digests.values())) != 1:
        raise SystemExit(f"the contestants' counts differ: {digests}")
    return outcomes


def _worker(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.engine", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def summary(outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    """The figures that have targets."""
    ours = outcomes["engine"]
    rivals = [found for name, found in outcomes.items() if name.startswith("duckdb")]
    fastest = min(rivals, key=lambda found: found.seconds)
    least_cpu = min(found.cpu_seconds or 0 for found in rivals)
    return {
        "duckdb_over_engine": fastest.seconds / ours.seconds,
        "duckdb_over_engine_cpu": least_cpu / (ours.cpu_seconds or 1),
        "engine_peak_mb": max(ours.peak_mb or 0, outcomes["engine_minutes"].peak_mb or 0),
        "minutes_over_quarters": outcomes["engine_minutes"].seconds / ours.seconds,
    }


def report(console: Console, sessions: int, outcomes: Mapping[str, Outcome]) -> None:
    """Print the table of ratios, and the figures that have targets."""
    from rich.table import Table

    table = Table(
        "way", "seconds", "x engine", "CPU s", "x engine", "peak MB",
        title=f"{sessions:,} sessions, {ROOMS} rooms, 4 levels, a year in {WIDTH // 60} minutes",
    )  # fmt: skip
    ours = outcomes["engine"]
    for name, found in outcomes.items():
        cpu, peak = found.cpu_seconds, found.peak_mb
        table.add_row(
            CONTESTANTS[name][0],
            f"{found.seconds:,.2f}",
            f"{found.seconds / ours.seconds:,.1f}",
            "" if cpu is None else f"{cpu:,.2f}",
            "" if cpu is None or not ours.cpu_seconds else f"{cpu / ours.cpu_seconds:,.1f}",
            "" if peak is None else f"{peak:,.0f}",
        )
    console.print(table)
    for name, found in outcomes.items():
        if found.note:
            console.print(f"{CONTESTANTS[name][0]}: {found.note}.", highlight=False)
    figures = summary(outcomes)
    console.print(
        "All methods give the same counts on all four levels.\n"
        f"Fastest DuckDB form / engine: {figures['duckdb_over_engine']:.1f} x "
        f"(CPU seconds {figures['duckdb_over_engine_cpu']:.1f} x); target 8.\n"
        f"Engine's peak memory: {figures['engine_peak_mb']:,.0f} MB; target below 1,500.\n"
        f"1-minute / 15-minute bins: {figures['minutes_over_quarters']:.2f} x; target 2.5."
    )


def main() -> None:
    """Run, print the table, and optionally write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_sessions(options.folder, options.make)
    elif options.only:
        print(json.dumps(CONTESTANTS[options.only][1](options.folder)._asdict()))
    else:
        run(options.sessions, options.json)


def run(sessions: int, json_file: Path | None = None) -> None:
    """Run the benchmark."""
    from rich.console import Console

    console = Console()
    with tempfile.TemporaryDirectory(prefix="tippers-bench-") as folder, console.status("") as at:
        outcomes = measure(Path(folder), sessions, at.update)
    report(console, sessions, outcomes)
    if json_file:
        figures = {name: found._asdict() for name, found in outcomes.items()}
        content = {"sessions": sessions, "ways": figures, "figures": summary(outcomes)}
        json_file.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
