"""Kills processes of the stack at random moments: ``python -m benchmarks.soak`` (``make soak``).

``tippers up`` runs on a simulated campus, and late sessions keep arriving, so that there is always
work. At random moments a run, the daemon, the code server or the database is killed with SIGKILL.
In the end everything must be up to date, and every file of the lake must equal that of a second
home that computes the same sessions undisturbed.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg2
import pyarrow as pa
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import load_transaction, read_source
from tippers_dagster.campus.source.schema import EXACT, SESSIONS, SPACES, source_tables
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.runs import ActiveRun, active_runs
from tippers_dagster.occupancy.status import LevelStatus, occupancy_status
from tippers_dagster.occupancy.tables import source_chunk
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import postmaster_pid
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

VICTIMS = ("run", "run", "run", "run", "daemon", "code server", "database")
"""Mostly runs, which do the work."""

START = dt.date(2025, 1, 20)
SETTLE_SECONDS = 600
OBSERVATION_SECONDS = 5
"""More than observing this whole source takes."""

LATE_SESSIONS = 400

T = TypeVar("T")

console = Console()


@dataclass
class Deployment:
    """A running ``tippers up``, and its processes."""

    settings: Settings
    up: psutil.Process

    def victim(self, kind: str) -> psutil.Process | None:
        """A process of this kind to kill; None when there is none at the moment."""
        if kind == "database":
            pid = postmaster_pid(self.settings.home_path)
            return None if pid is None else psutil.Process(pid)
        marks = {"run": "tippers: run", "daemon": "dagster._daemon", "code server": "code_server"}
        found = [p for p in self._children() if marks[kind] in " ".join(_cmdline(p))]
        return random.choice(found) if found else None

    def _children(self) -> list[psutil.Process]:
        if not _is_running(self.up):
            raise SystemExit("`tippers up` has ended; its output is above.")
        return self.up.children(recursive=True)


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


def _is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(f"    {line.rstrip()}", style="dim", markup=False)


def use_home(home: Path, device_key: str) -> Settings:
    """Settings of a home whose automation reacts at once, and retries killed runs without limit.

    Of the shell's, only the dbt project stays: definitions are not computed, but every run loads
    them.
    """
    ours = [name for name in os.environ if name.startswith(("TIPPERS_", "DAGSTER_"))]
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
    }
    get_settings.cache_clear()
    return get_settings()


def prepare(settings: Settings, people: int, weeks: int) -> None:
    """Simulate and track a campus."""
    options = CampusOptions(buildings=1, people=people, days=7 * weeks, start=START)
    write_campus(settings, simulate_campus(options))
    _track(settings, weeks)


def disturb(settings: Settings, running: Deployment, kinds: list[str], weeks: int) -> Counter[str]:
    """Kill a process of each kind in turn, at a random moment after new sessions arrived."""
    killed: Counter[str] = Counter()
    for kind in kinds:
        while not _kill_one(settings, running, kind, weeks):
            pass
        killed[kind] += 1
        console.print(f"{killed.total():3d} killed: {kind}")
    return killed


def _kill_one(settings: Settings, running: Deployment, kind: str, weeks: int) -> bool:
    """Kill a process of this kind; returns whether there was one."""
    _retrying(lambda: _add_late_sessions(settings, weeks))
    deadline = time.monotonic() + 60
    process = None
    while process is None and time.monotonic() < deadline:
        time.sleep(random.uniform(0.0, 1.0))
        process = running.victim(kind)
    if process is None:
        return False
    time.sleep(random.uniform(0.0, 3.0))
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False  # it has ended meanwhile
    return True


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


def main() -> int:
    """Run the soak; exit status 0 when nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument(
        "--victims", help="processes to kill, in this order: run,database,daemon ..."
    )
    parser.add_argument("--people", type=int, default=600)
    parser.add_argument("--weeks", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="seed for moments and victims")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    random.seed(seed)
    console.print(f"seed {seed}")
    kinds = random.choices(VICTIMS, k=options.kills)
    if options.victims:
        kinds = options.victims.split(",")
    with tempfile.TemporaryDirectory(prefix="tippers-soak-") as folder:
        began = time.monotonic()
        settings = use_home(Path(folder) / "disturbed", random.randbytes(32).hex())
        prepare(settings, options.people, options.weeks)
        with deployment(settings) as running:
            killed = disturb(settings, running, kinds, options.weeks)
            console.print("settling")
            levels = settle(settings)
        other = undisturbed(settings, Path(folder) / "undisturbed", options.weeks)
        found = differences(settings, other)
        _report(killed, levels, found, time.monotonic() - began)
    return 1 if found else 0


def _report(
    killed: Counter[str], levels: list[LevelStatus], found: list[str], seconds: float
) -> None:
    table = Table("what", "number")
    for kind, number in sorted(killed.items()):
        table.add_row(f"killed: {kind}", str(number))
    for level in levels:
        table.add_row(f"up to date: {level.asset}", f"{level.done:,} of {level.wanted:,}")
    table.add_row("files that differ from the undisturbed home", str(len(found)))
    table.add_row("seconds", f"{seconds:.0f}")
    console.print(table)
    for key in found[:10]:
        console.print(f"differs: {key}", style="red")


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


def _add_late_sessions(settings: Settings, weeks: int) -> None:
    """Copy some sessions, shifted by whole minutes: they touch a few spaces in every chunk."""
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
            (START + dt.timedelta(days=7 * weeks - 1), LATE_SESSIONS),
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


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


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
