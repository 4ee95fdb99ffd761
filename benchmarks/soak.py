"""Disturbs the stack at random moments: ``python -m benchmarks.soak`` (``make soak``).

``tippers up`` runs on a simulated campus, and sessions keep arriving, changing and disappearing, so
that there is always work. At random moments a process is killed or paused, all connections are
lost, the lake's disk is full or its store slow (``faults.py``). In the end everything must be up to
date, every file of the lake must equal that of a second home that computes the same sessions
undisturbed, and Dagster must know of every partition what was recorded.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg2
import pyarrow as pa
import sqlalchemy as sa
from dagster import AssetKey, DagsterEventType
from rich.console import Console
from rich.table import Table

from benchmarks.faults import Faults, SlowStore, slow_s3
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import load_transaction, read_source
from tippers_dagster.campus.source.schema import EXACT, SESSIONS, SPACES, source_tables
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.partitions import partition_key
from tippers_dagster.occupancy.reporting import DATA_VERSION
from tippers_dagster.occupancy.runs import ActiveRun, active_runs
from tippers_dagster.occupancy.state import ASSETS
from tippers_dagster.occupancy.status import LevelStatus, occupancy_status
from tippers_dagster.occupancy.tables import (
    partition_figures,
    replacing,
    source_chunk,
    unreported,
)
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

WEIGHTS = {"run": 6.0, "paused run": 0.5, "paused daemon": 0.5, "paused definitions": 0.5}
"""How often a fault happens, relative to the others: runs do the work, and pauses take long."""

START = dt.date(2025, 1, 20)
SETTLE_SECONDS = 600
OBSERVATION_SECONDS = 5
"""More than observing this whole source takes."""

LATE_SESSIONS, CHANGED_SESSIONS = 400, 20

T = TypeVar("T")

console = Console()


@dataclass
class Deployment:
    """A running ``tippers up``, and its processes."""

    settings: Settings
    up: psutil.Process


@contextmanager
def deployment(settings: Settings) -> Iterator[Deployment]:
    """Start ``tippers up`` and wait until everything is up; stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tippers_dagster.cli", "up"],
        stdout=subprocess.PIPE,
        env=os.environ.copy(),
        text=True,
    )
    assert process.stdout is not None
    try:
        # A service that dies during the start ends it; its output is shown.
        for line in process.stdout:
            _show([line])
            if line.startswith("Everything is up"):
                break
        threading.Thread(target=_show, args=(process.stdout,), daemon=True).start()
        yield Deployment(settings, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(f"    {line.rstrip()}", style="dim", markup=False)


def use_home(home: Path, device_key: str, lake: Mapping[str, str] | None = None) -> Settings:
    """Settings of a home whose automation reacts at once, and retries killed runs without limit.

    Of the shell's, only the dbt project stays: definitions are not computed, but every run loads
    them.
    """
    ours = [name for name in os.environ if name.startswith(("TIPPERS_", "DAGSTER_", "AWS_"))]
    for name in set(ours) - {"TIPPERS_DBT_PROJECT"}:
        del os.environ[name]
    os.environ |= {
        "TIPPERS_HOME": str(home),
        "TIPPERS_DEVICE_KEY": device_key,
        **free_ports(),
        "TIPPERS_AUTOMATE_DEFINITIONS": "false",
        "TIPPERS_MLFLOW_URL": f"sqlite:///{home}/mlflow.db",  # a server less; nothing is logged
        "TIPPERS_OBSERVE_RECENT_SECONDS": "1",
        "TIPPERS_OBSERVE_RECENT_CHUNKS": "1000",
        "TIPPERS_MAX_TRIES": "1000",
        "TIPPERS_RETRY_DELAY_SECONDS": "0",
        "TIPPERS_ENVIRONMENT_RETRY_SECONDS": "5",
        **(lake or {}),
    }
    get_settings.cache_clear()
    return get_settings()


def prepare(settings: Settings, people: int, weeks: int) -> None:
    """Simulate and track a campus."""
    options = CampusOptions(buildings=1, people=people, days=7 * weeks, start=START)
    write_campus(settings, simulate_campus(options))
    _track(settings, weeks)


def disturb(settings: Settings, faults: Faults, names: list[str], weeks: int) -> Counter[str]:
    """Let each fault happen in turn, after sessions arrived, changed and disappeared."""
    happened: Counter[str] = Counter()
    for name in names:
        done = False
        while not done:
            _retrying(lambda: _change_sessions(settings, weeks))
            done = _retrying(faults.by_name[name])
        happened[name] += 1
        console.print(f"{happened.total():3d} {name}")
    return happened


def settle(settings: Settings) -> list[LevelStatus]:
    """Wait until the source was observed again, everything is up to date, and no run is active."""
    deadline = time.monotonic() + SETTLE_SECONDS
    # "Up to date" means with the last observation of the source. An observation that began before
    # the last late sessions arrived may end after them.
    since = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=OBSERVATION_SECONDS)
    while True:
        levels, busy, seen = _retrying(lambda: _progress(settings))
        done = all(level.done == level.wanted for level in levels)
        if seen is not None and seen > since and done and not busy:
            return levels
        if time.monotonic() > deadline:
            status = ", ".join(f"{level.asset} {level.numbers}" for level in levels)
            raise TippersError(f"Not up to date after {SETTLE_SECONDS} s: {status}; runs: {busy}")
        time.sleep(2)


def _progress(
    settings: Settings,
) -> tuple[list[LevelStatus], list[ActiveRun], dt.datetime | None]:
    oldest = sa.select(sa.func.min(source_chunk.c.observed_at))
    with dagster_instance(settings) as instance, warehouse_engine(settings).connect() as connection:
        # In this order: a later observation can only make more partitions out of date.
        seen = connection.execute(oldest).scalar_one()
        return occupancy_status(settings), active_runs(instance), seen


def undisturbed(disturbed: Settings, home: Path, weeks: int) -> Settings:
    """A second home with the same source rows, computed in this process."""
    rows = {kind: _rows(disturbed, kind) for kind in (SPACES, SESSIONS)}
    settings = use_home(home, os.environ["TIPPERS_DEVICE_KEY"])
    create_source_schema(settings)
    with load_transaction(settings) as load:
        for kind, table in rows.items():
            load.copy_in(source_tables(settings)[kind], table)
    _track(settings, weeks)
    with dagster_instance(settings) as instance:
        materialize(settings, instance)
    return settings


def differences(one: Settings, other: Settings) -> list[str]:
    """Keys of the lake that only one home has, or whose rows differ."""
    lakes = open_lake(one), open_lake(other)
    keys = [set(lake.list()) for lake in lakes]
    different = sorted(keys[0] ^ keys[1])
    common = sorted(keys[0] & keys[1])
    tables = [lake.read_tables(common) for lake in lakes]
    return different + [
        key for key, a, b in zip(common, *tables, strict=True) if _decoded(a) != _decoded(b)
    ]


def _decoded(table: pa.Table) -> pa.Table:
    """Texts in place of codes: which texts have one depends on what was extracted with them."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def disagreements(settings: Settings) -> list[str]:
    """Partitions of which Dagster's latest materialization is not what is recorded."""
    recorded: dict[str, dict[str, str]] = {asset: {} for asset in ASSETS}
    with warehouse_engine(settings).connect() as connection:
        for row in connection.execute(sa.select(partition_figures)):
            key = partition_key(row.asset, row.space, row.chunk)
            recorded[row.asset][key] = f"{row.output_fingerprint % 2**64:016x}"
        left = (
            connection.execute(sa.select(sa.func.count()).select_from(replacing)).scalar_one()
            + connection.execute(sa.select(sa.func.count()).select_from(unreported)).scalar_one()
        )
    found = [f"{left} rows of runs that died"] if left else []
    with dagster_instance(settings) as instance:
        for asset, versions in recorded.items():
            known = instance.event_log_storage.get_latest_tags_by_partition(
                AssetKey(asset), DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION]
            )
            told = {key: tags[DATA_VERSION] for key, tags in known.items()}
            found += [f"{asset} {key}" for key in versions if told.get(key) != versions[key]]
    return found


def main() -> int:
    """Run the soak; exit status 0 when nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--faults", help="in this order: run,database,paused daemon ...")
    parser.add_argument("--pause", type=float, default=90.0, help="seconds of a pause")
    parser.add_argument("--disk", type=Path, help="a small file system, for the lake; it is filled")
    parser.add_argument("--s3", action="store_true", help="a lake on S3, behind a slow network")
    parser.add_argument("--people", type=int, default=600)
    parser.add_argument("--weeks", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="seed for moments and faults")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    random.seed(seed)
    console.print(f"seed {seed}")
    with (
        tempfile.TemporaryDirectory(prefix="tippers-soak-") as folder,
        slow_s3() if options.s3 else nullcontext() as store,
    ):
        began = time.monotonic()
        settings = use_home(
            Path(folder) / "disturbed", random.randbytes(32).hex(), _lake(options, store)
        )
        prepare(settings, options.people, options.weeks)
        with deployment(settings) as running:
            faults = Faults(settings, running.up, options.pause, options.disk, store)
            happened = disturb(settings, faults, _chosen(faults, options), options.weeks)
            console.print("settling")
            levels = settle(settings)
        wrong = disagreements(settings)
        other = undisturbed(settings, Path(folder) / "undisturbed", options.weeks)
        found = differences(settings, other)
        _report(happened, levels, found, wrong, time.monotonic() - began)
    return 1 if found or wrong else 0


def _lake(options: argparse.Namespace, store: SlowStore | None) -> dict[str, str]:
    """The settings of the disturbed home's lake."""
    if store is not None:
        return {
            "TIPPERS_LAKE_URL": "s3://soak/lake",
            "TIPPERS_S3_ENDPOINT_URL": store.address,
            "AWS_ACCESS_KEY_ID": "soak",
            "AWS_SECRET_ACCESS_KEY": "soak",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    return {} if options.disk is None else {"TIPPERS_LAKE_URL": str(options.disk / "lake")}


def _chosen(faults: Faults, options: argparse.Namespace) -> list[str]:
    if options.faults:
        return options.faults.split(",")
    names = list(faults.by_name)
    # Each at least once, if there are rounds for all.
    more = random.choices(
        names, [WEIGHTS.get(name, 1.0) for name in names], k=max(0, options.rounds - len(names))
    )
    chosen = [*names, *more]
    random.shuffle(chosen)
    return chosen[: options.rounds]


def _report(
    happened: Counter[str],
    levels: list[LevelStatus],
    found: list[str],
    wrong: list[str],
    seconds: float,
) -> None:
    table = Table("what", "number")
    for name, number in sorted(happened.items()):
        table.add_row(name, str(number))
    for level in levels:
        table.add_row(f"up to date: {level.asset}", f"{level.done:,} of {level.wanted:,}")
    table.add_row("files that differ from the undisturbed home", str(len(found)))
    table.add_row("partitions that Dagster knows otherwise", str(len(wrong)))
    table.add_row("seconds", f"{seconds:.0f}")
    console.print(table)
    for key in found[:10]:
        console.print(f"differs: {key}", style="red")
    for what in wrong[:10]:
        console.print(f"not as recorded: {what}", style="red")


def _track(settings: Settings, weeks: int) -> None:
    end = START + dt.timedelta(weeks=weeks)
    for root in _roots(settings):
        track_space(settings, space=root, start=START, end=end)


def _roots(settings: Settings) -> list[str]:
    table = read_source(
        settings, "SELECT space_id FROM source.space WHERE parent_space_id IS NULL ORDER BY 1"
    )
    return table["space_id"].to_pylist()


def _rows(settings: Settings, kind: str) -> pa.Table:
    table = source_tables(settings)[kind]
    types = {**table.types, **EXACT} if kind == SESSIONS else table.types
    schema = pa.schema(list(types.items()))
    return read_source(settings, f"SELECT * FROM {table.sql}").select(schema.names).cast(schema)


def _change_sessions(settings: Settings, weeks: int) -> None:
    """Copy some sessions, shifted by whole minutes, so that they touch a few spaces in every chunk;
    make some longer, and delete some.
    """
    before = START + dt.timedelta(days=7 * weeks - 1)
    chosen = "SELECT ctid FROM source.user_ap_trajectory WHERE start_time < %s ORDER BY random()"
    with (
        closing(psycopg2.connect(databases(settings).source)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT setseed(%s)", (random.uniform(-1, 1),))
        cursor.execute(
            "INSERT INTO source.user_ap_trajectory SELECT mac_address, sensor_id, "
            "start_time + shift, end_time + shift, space_id FROM (SELECT *, "
            "floor(random() * 50) * interval '1 minute' AS shift FROM source.user_ap_trajectory "
            "WHERE start_time < %s ORDER BY random() LIMIT %s) AS chosen",
            (before, LATE_SESSIONS),
        )
        cursor.execute(
            "UPDATE source.user_ap_trajectory SET end_time = end_time + interval '5 minutes' "
            f"WHERE ctid IN ({chosen} LIMIT %s)",
            (before, CHANGED_SESSIONS),
        )
        cursor.execute(
            f"DELETE FROM source.user_ap_trajectory WHERE ctid IN ({chosen} LIMIT %s)",
            (before, CHANGED_SESSIONS),
        )


def _retrying(action: Callable[[], T], seconds: float = 60) -> T:
    """Retry an action while the killed database restarts."""
    import adbc_driver_manager
    import sqlalchemy.exc

    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (
            psycopg2.Error,
            sqlalchemy.exc.DBAPIError,
            adbc_driver_manager.Error,
            TippersError,
        ):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def free_ports() -> dict[str, str]:
    """Settings with a free port for every service of the stack."""
    services = ("WEB", "CODE_SERVER", "MLFLOW", "STREAMLIT")
    return {f"TIPPERS_{service}_PORT": str(free_port()) for service in services}


if __name__ == "__main__":
    sys.exit(main())
