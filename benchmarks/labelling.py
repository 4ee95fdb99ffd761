"""From the log in the lake to labels: ``python -m benchmarks.labelling``.

A simulated campus is loaded and extracted; then the definitions of all concepts are materialised in
this process, as ``tippers pipeline materialize`` does: indexes, rules, features, votes, label
models. Classifiers, and what is counted by label, are left out. Then one more day of sessions
arrives. ``--engine both`` runs with DuckDB and with PostgreSQL, and compares the results;
``--longer 3`` runs again with a log three times as long; with ``--window 8`` all concepts read the
last 8 weeks only.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime as dt
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psutil
    from dagster import DagsterInstance
    from rich.console import Console

    from tippers_dagster.campus.spaces.tree import SpaceTree
    from tippers_dagster.graph.launch import Outcome
    from tippers_dagster.settings import Settings
    from tippers_dagster.simulation import Campus

ENGINES = ("duckdb", "postgres")
SQL_STEP = "sql_definitions"
LEFT_OUT = ("classifier", "forecaster", "labelled_occupancy", "people_count")
SAMPLE_SECONDS = 0.2
TARGETS = {"SQL": 45, "definitions": 75, "one more day": 20, "longer log": 1.2, "peak MB": 3000}


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of all processors; the largest memory at one time."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Computed:
    """The definitions, computed once. ``sql_seconds``: of the steps that run dbt, by the clock."""

    cost: Cost
    sql_seconds: float
    assets: int
    slowest: list[tuple[str, float]]


@dataclass(frozen=True)
class Result:
    """The figures of one engine and size. ``rows``: of each table; ``labels``: how many of each."""

    engine: str
    sessions: int
    devices: int
    weeks: int
    extraction_seconds: float
    first: Computed
    day_extraction_seconds: float
    day: Computed
    rows: dict[str, int]
    labels: dict[str, dict[str, int]]


# --- the data -----------------------------------------------------------------------------------
def load_without_last_day(settings: Settings, campus: Campus) -> pa.Table:
    """Load the campus into the source, without the sessions that start on its last day; returns
    them."""
    from tippers_dagster.campus.source.creation import create_source_schema
    from tippers_dagster.campus.source.load import create_session_indexes, load_transaction
    from tippers_dagster.campus.source.schema import SESSIONS, source_tables
    from tippers_dagster.simulation.write import SourceRows

    create_source_schema(settings)
    tables = source_tables(settings)
    options = campus.options
    last = dt.datetime.combine(options.start, dt.time()) + dt.timedelta(days=options.days - 1)
    held, as_stored = [], SourceRows(settings, campus)
    with load_transaction(settings) as load:
        for kind, rows in campus.tables.items():
            load.copy_in(tables[kind], rows)
        for batch in campus.batches():
            if batch.kind == SESSIONS:
                rows = as_stored(batch)
                late = pc.fill_null(pc.greater_equal(rows["start_time"], last), False)
                load.copy_in(tables[SESSIONS], rows.filter(pc.invert(late)))
                held.append(rows.filter(late))
        create_session_indexes(load, settings)
    return pa.concat_tables(held)


def add_sessions(settings: Settings, rows: pa.Table) -> None:
    from tippers_dagster.campus.source.load import load_transaction
    from tippers_dagster.campus.source.schema import SESSIONS, source_tables

    with load_transaction(settings) as load:
        load.copy_in(source_tables(settings)[SESSIONS], rows)


def one_leaf(tree: SpaceTree) -> str:
    """Labels need the sessions of all spaces, and counts of none: the least that can be tracked."""
    return next(space for space, leaf in zip(tree.ids, tree.is_leaf, strict=True) if leaf)


# --- what it costs ------------------------------------------------------------------------------
def processes(settings: Settings) -> Iterator[tuple[psutil.Process, bool]]:
    """This process, those that it has started, and PostgreSQL's; whether it is the latter."""
    import psutil

    from tippers_dagster.platform.postgres.embedded import postmaster_pid

    roots = (psutil.Process(), False), (psutil.Process(postmaster_pid(settings.home_path)), True)
    for root, server in roots:
        for process in (root, *root.children(recursive=True)):
            yield process, server


def return_memory() -> None:
    """Give back what loading and extraction have used: a run of definitions begins without it."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


class Watch:
    """Samples the memory of all processes, and the processor's seconds, while a block runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._peak = 0
        self._cpu: dict[int, float] = {}

    def sample(self) -> None:
        import psutil

        memory = 0
        for process, server in processes(self._settings):
            with suppress(psutil.NoSuchProcess):  # ended meanwhile
                used, times = process.memory_full_info(), process.cpu_times()
                # Forked processes share most of their memory: it counts once.
                memory += used.rss - used.shared if server else used.pss
                self._cpu[process.pid] = times.user + times.system
        self._peak = max(self._peak, memory)

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.sample()

    @contextmanager
    def watching(self) -> Iterator[Callable[[], Cost]]:
        """Gives a function that returns the cost, once the block has ended."""
        self.sample()
        before = dict(self._cpu)
        thread = threading.Thread(target=self._sample_until_stopped, daemon=True)
        began = time.perf_counter()
        thread.start()
        try:
            yield lambda: Cost(ended - began, cpu, self._peak / 1e6)
        finally:
            ended = time.perf_counter()
            self._stop.set()
            thread.join()
            self.sample()
            cpu = sum(spent - before.get(pid, 0.0) for pid, spent in self._cpu.items())


# --- the run ------------------------------------------------------------------------------------
def set_window(settings: Settings, weeks: int) -> None:
    """Let all concepts read the last weeks only."""
    from tippers_dagster.catalog.catalog import draft_of
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.graph.save import import_drafts

    window = {"window": f"last {weeks} weeks"}
    drafts = map(draft_of, load_catalog(settings).of_kind(Kind.CONCEPT))
    changed = [replace(draft, body=draft.body.model_copy(update=window)) for draft in drafts]
    import_drafts(settings, changed, by="benchmark")


def measure(settings: Settings, campus: Campus, window: int | None, console: Console) -> Result:
    """Load, extract and label; then the same for one more day."""
    from tippers_dagster.campus.spaces.tree import load_tree
    from tippers_dagster.occupancy.launch import materialize
    from tippers_dagster.occupancy.tracking import track_space
    from tippers_dagster.platform.dagster.environment import dagster_instance
    from tippers_dagster.platform.warehouse.engine import warehouse_engine

    options = campus.options
    with console.status("Loading the campus"):
        warehouse_engine(settings)
        last_day = load_without_last_day(settings, campus)
        if window:
            set_window(settings, window)
    end = options.start + dt.timedelta(days=options.days)
    track_space(settings, space=one_leaf(load_tree(settings)), start=options.start, end=end)
    with dagster_instance(settings) as instance:

        def extract() -> float:
            began = time.perf_counter()
            materialize(settings, instance)
            return time.perf_counter() - began

        with console.status("Extracting the log"):
            extraction = extract()
        with console.status("Computing definitions"):
            first, _ = compute(settings, instance)
        add_sessions(settings, last_day)
        with console.status("Computing one more day"):
            day_extraction = extract()
            day, outcomes = compute(settings, instance)
    sessions, devices = log_size(settings)
    return Result(
        engine=settings.sql_engine,
        sessions=sessions,
        devices=devices,
        weeks=options.days // 7,
        extraction_seconds=extraction,
        first=first,
        day_extraction_seconds=day_extraction,
        day=day,
        rows={o.name: o.rows for o in outcomes if o.rows is not None},
        labels=labels(settings),
    )


def compute(settings: Settings, instance: DagsterInstance) -> tuple[Computed, list[Outcome]]:
    """Materialise what is stale of the definitions of all concepts."""
    from tippers_dagster.graph.launch import materialize_definitions

    before = {run.run_id for run in instance.get_runs()}
    return_memory()
    with Watch(settings).watching() as cost:
        outcomes = materialize_definitions(settings, instance, selection(settings))
    failed = [f"{o.name}: {o.why}" for o in outcomes if o.state != "computed"]
    if failed:
        raise SystemExit("\n".join(["Not computed:", *failed]))
    runs = [run.run_id for run in instance.get_runs() if run.run_id not in before]
    slowest = sorted(((o.name, o.seconds or 0.0) for o in outcomes), key=lambda one: -one[1])
    computed = Computed(cost(), sql_seconds(instance, runs), len(outcomes), slowest[:8])
    return computed, outcomes


def selection(settings: Settings) -> str:
    """The assets of all concepts, without those left out, for Dagster."""
    from tippers_dagster.graph.load import load_pipeline

    found = load_pipeline(settings).definitions
    concepts = sorted({one.ref.concept for one in found.values() if one.ref.concept})
    out = sorted(name for name, one in found.items() if one.ref.kind in LEFT_OUT)
    groups = " or ".join(f'group:"{concept}"' for concept in concepts)
    return f"({groups})" + "".join(f' and not key:"{name}"' for name in out)


def sql_seconds(instance: DagsterInstance, runs: Sequence[str]) -> float:
    """Seconds by the clock of all steps that run dbt."""
    return sum(
        (step.end_time or 0.0) - (step.start_time or 0.0)
        for run in runs
        for step in instance.get_run_step_stats(run)
        if step.step_key.startswith(SQL_STEP)
    )


def log_size(settings: Settings) -> tuple[int, int]:
    """Sessions and devices of the log."""
    from tippers_dagster.platform.lake import open_lake
    from tippers_dagster.platform.lake.keys import SESSIONS_PREFIX

    lake = open_lake(settings)
    sessions, devices = 0, np.empty(0, np.uint64)
    for key in lake.list(SESSIONS_PREFIX):
        table = lake.read_columns(key, ["device", "carried"])
        sessions += pc.sum(pc.invert(table["carried"])).as_py() or 0
        devices = np.union1d(devices, table["device"].unique())
    return sessions, devices.size


def labels(settings: Settings) -> dict[str, dict[str, int]]:
    """How many entities have each label, by label model."""
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.platform.lake import open_lake
    from tippers_dagster.platform.lake.keys import definition_key

    found = {}
    for model in load_catalog(settings).of_kind(Kind.LABEL_MODEL):
        key = definition_key("labels", model.ref.concept, model.ref.name)
        counts = open_lake(settings).read_table(key, ["label"])["label"].value_counts()
        found[f"{model.ref.concept}/{model.ref.name}"] = {
            str(one["values"]): one["counts"] for one in counts.to_pylist()
        }
    return found


# --- what is shown ------------------------------------------------------------------------------
def report(console: Console, result: Result) -> None:
    from rich import box
    from rich.table import Table

    console.print(
        f"\n{result.engine}: {result.sessions:,} sessions of {result.devices:,} devices in "
        f"{result.weeks} weeks; extracted in {result.extraction_seconds:.1f} s, again with one "
        f"more day in {result.day_extraction_seconds:.1f} s"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("what", no_wrap=True)
    for name in ("assets", "SQL, s", "all, s", "CPU, s", "peak MB"):
        table.add_column(name, justify="right")
    for name, one in (("all definitions", result.first), ("after one more day", result.day)):
        cost = (f"{figure:,.1f}" for figure in (one.sql_seconds, *asdict(one.cost).values()))
        table.add_row(name, f"{one.assets}", *cost)
    console.print(table)
    slowest = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.first.slowest)
    console.print(f"Slowest, in seconds: {slowest}\n", highlight=False)


def compare(results: Mapping[str, Result]) -> None:
    """Exit with an error if the engines differ in the rows of a table, or in labels."""
    one, other = results.values()
    for what in ("sessions", "rows", "labels"):
        if getattr(one, what) != getattr(other, what):
            raise SystemExit(f"{what} differ:\n{getattr(one, what)}\n{getattr(other, what)}")


# --- processes ----------------------------------------------------------------------------------
def in_new_process(options: argparse.Namespace, engine: str, weeks: int) -> Result:
    """Measure in a process and home of its own, so that memory is measured separately."""
    with tempfile.TemporaryDirectory(prefix="tippers-bench-") as folder:
        file = Path(folder) / "result.json"
        sizes = {"buildings": options.buildings, "people": options.people, "weeks": weeks}
        if options.window:
            sizes["window"] = options.window
        arguments = [f"--{name}={size}" for name, size in sizes.items()]
        command = [sys.executable, "-m", "benchmarks.labelling", *arguments]
        subprocess.run([*command, f"--engine={engine}", f"--only={file}"], check=True)
        return restored(json.loads(file.read_text()))


def restored(figures: dict) -> Result:
    """A result from its JSON."""
    for name in ("first", "day"):
        figures[name] = Computed(**figures[name] | {"cost": Cost(**figures[name]["cost"])})
    return Result(**figures)


def here(options: argparse.Namespace) -> Result:
    """Measure in this process."""
    import os

    from rich.console import Console

    from benchmarks.end_to_end import own_settings
    from tippers_dagster.platform.postgres.embedded import stop_embedded
    from tippers_dagster.settings import get_settings
    from tippers_dagster.simulation import CampusOptions, simulate_campus

    with tempfile.TemporaryDirectory(prefix="tippers-bench-") as folder:
        own_settings(Path(folder))
        os.environ["TIPPERS_SQL_ENGINE"] = options.engine
        get_settings.cache_clear()
        settings = get_settings()
        campus = simulate_campus(
            CampusOptions(
                buildings=options.buildings,
                people=options.people,
                days=7 * options.weeks,
                timezone=settings.timezone,
                open_session_seconds=settings.open_session_seconds,
            )
        )
        try:
            return measure(settings, campus, options.window, Console())
        finally:
            stop_embedded(settings.home_path)


def main() -> None:
    """Run, print the figures, and optionally write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labelling", description=__doc__)
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="duckdb")
    parser.add_argument("--buildings", type=int, default=30, help="11.7 M sessions with 30, and")
    parser.add_argument("--people", type=int, default=20_000, help="20,000 people in 8 weeks")
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--longer", type=int, help="also a log so many times as long")
    parser.add_argument("--window", type=int, help="weeks that all concepts read; else everything")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        file = options.only.absolute()
        file.write_text(json.dumps(asdict(here(options))))
        return
    from rich.console import Console

    console, found = Console(), {}
    for engine in ENGINES if options.engine == "both" else (options.engine,):
        found[engine] = in_new_process(options, engine, options.weeks)
        report(console, found[engine])
        if options.longer:
            long = in_new_process(options, engine, options.weeks * options.longer)
            report(console, long)
            ratio = long.first.cost.seconds / found[engine].first.cost.seconds
            console.print(f"{options.longer} x the log: {ratio:.2f} x the seconds")
            found[f"{engine}, {options.longer} x the log"] = long
    if options.engine == "both":
        compare({engine: found[engine] for engine in ENGINES})
        console.print("Both engines: equal rows of all tables, and equal numbers of labels.")
    targets = ", ".join(f"{name} {limit:g}" for name, limit in TARGETS.items())
    console.print(f"Targets for 11.7 M sessions on two cores: {targets}.", highlight=False)
    if options.json:
        figures = {name: asdict(result) for name, result in found.items()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
