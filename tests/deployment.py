"""One running ``tippers up`` for all tests that need a whole deployment.

Starting one takes a minute of computing, so it is started once and stopped after the last test
that asks for it. What one test makes the others leave alone: each has spaces, weeks and concepts of
its own. Tests that take a part of the deployment away have the marker ``outage`` and come last.

Its home holds a simulated campus (two buildings, 120 people) and a plain one (three floors of four
rooms), both with the sessions of two weeks from 20 January 2025. Nothing is tracked, unless a test
asks for `tracked_log`; such tests come one after the other.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.soak import free_ports
from tests.conftest import enter, server_folder, without_fsync
from tests.sql.definitions import bare_project
from tests.stack.waiting import until
from tippers_dagster.automation.state import NEVER, load_states
from tippers_dagster.calendar.simulated import keep_simulated
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.occupancy.tracking import track_space, untrack_space
from tippers_dagster.platform.postgres.embedded import start_embedded
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

MONDAY = dt.date(2025, 1, 6)
"""From which on the weeks of the plain campus are counted."""

ROOMS, FLOORS = 12, 3
SIMULATED = CampusOptions(buildings=2, people=120, days=14, seed=5)

UP = Path(__file__).with_name("quick_up.py")


@dataclass(frozen=True)
class Deployed:
    """A running ``tippers up`` and the environment of its home."""

    environment: dict[str, str]
    up: psutil.Process
    log: Path

    @property
    def app_log(self) -> Path:
        """What Streamlit and the pages said."""
        return Path(self.environment["TIPPERS_HOME"]) / "logs" / "app.log"

    @property
    def app(self) -> str:
        """The app's address."""
        return f"http://127.0.0.1:{self.environment['TIPPERS_STREAMLIT_PORT']}"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "tippers_dagster.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def tippers(self, *arguments: str) -> str:
        """Run a command that succeeds; its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask Dagster's web server as its page does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.environment['TIPPERS_WEB_PORT']}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def assets(self) -> set[str]:
        """The assets that Dagster's page shows."""
        nodes = self.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
        return {"/".join(node["assetKey"]["path"]) for node in nodes}

    @contextmanager
    def tracking_the_log(self) -> Iterator[None]:
        """The log of the simulated dates is tracked, and the models below definitions computed."""
        dates = {"start": SIMULATED.start, "end": SIMULATED.start + dt.timedelta(SIMULATED.days)}
        with pytest.MonkeyPatch.context() as patch:
            settings = self.enter(patch)
            track_space(settings, space=None, **dates)
            until(lambda: _staged(settings), 300, self.log.read_text)
        yield
        with pytest.MonkeyPatch.context() as patch:
            untrack_space(self.enter(patch), space=None)

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        """The deployment's settings, in this process."""
        return enter(monkeypatch, ours(self.environment))


def ours(environment: dict[str, str]) -> dict[str, str]:
    """The settings in an environment."""
    return {name: value for name, value in environment.items() if name.startswith("TIPPERS_")}


class Shared:
    """The deployment, started when the first test asks for it."""

    def __init__(self) -> None:
        self._running: Iterator[Deployed] | None = None
        self._deployed: Deployed | None = None
        self._tracking = ExitStack()
        self._tracked = False
        self._failed = False

    def get(self, folders: pytest.TempPathFactory, *, tracked: bool) -> Deployed:
        """The running deployment; ``tracked``: whether its log is tracked."""
        if self._failed:
            pytest.fail("The deployment failed for an earlier test, which says why.")
        self._failed = True
        if self._deployed is None:
            self._running = _start(folders.mktemp("deployed"))
            self._deployed = next(self._running)
        if tracked and not self._tracked:
            self._tracking.enter_context(self._deployed.tracking_the_log())
        elif self._tracked and not tracked:
            self._tracking.close()
        self._failed, self._tracked = False, tracked
        return self._deployed

    def stop(self) -> None:
        """Stop it, if it runs."""
        self._deployed, self._tracked = None, False
        self._tracking = ExitStack()
        if self._running is not None:
            next(self._running, None)
            self._running = None


SHARED = Shared()


def _start(folder: Path) -> Iterator[Deployed]:
    log = folder / "up.log"
    with server_folder() as home:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TIPPERS_", "DAGSTER_"))},
            **free_ports(),
            "TIPPERS_HOME": str(home),
            "TIPPERS_DBT_PROJECT": str(bare_project(folder / "project")),
            "TIPPERS_OBSERVE_RECENT_SECONDS": "1",
            "TIPPERS_REFRESH_SECONDS": "1",
            "TIPPERS_REFRESH_DEFAULT": "on change",
            "TIPPERS_SENSOR_INTERVAL_SECONDS": "1",
            "TIPPERS_THREADS": "1",
        }
        with pytest.MonkeyPatch.context() as patch:
            settings = enter(patch, ours(environment))
            without_fsync(start_embedded(home))
            write_campus(settings, simulate_campus(SIMULATED))
            keep_simulated(settings, SIMULATED.start, SIMULATED.days)
            _ingest(settings, folder)
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", UP, "up"],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            until(lambda: "Everything is up" in log.read_text(), 300, log.read_text)
            yield Deployed(environment, psutil.Process(process.pid), log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _staged(settings: Settings) -> bool:
    states = load_states(settings)
    return bool(states.get("staging/int_sessions", NEVER).version)


def _ingest(settings: Settings, folder: Path) -> None:
    spaces = ["campus,Campus,,"]
    spaces += [f"f{i},Floor {i},campus," for i in range(FLOORS)]
    spaces += [f"r{i},Room {i},f{i % FLOORS},R-{i}" for i in range(ROOMS)]
    header = "space_id,space_name,parent_space_id,building_room\n"
    (folder / "spaces.csv").write_text(header + "\n".join(spaces))
    rows = [
        f"device{(n + room) % 5},ap,{day} {8 + room % 9:02}:00:00,"
        f"{day} {9 + room % 9:02}:30:00,r{room}"
        for n in range(SIMULATED.days)
        for day in [SIMULATED.start + dt.timedelta(days=n)]
        for room in range(ROOMS)
    ]
    header = "mac_address,sensor_id,start_time,end_time,space_id\n"
    (folder / "sessions.csv").write_text(header + "\n".join(rows))
    for kind in ("spaces", "sessions"):
        ingest_file(settings, kind, folder / f"{kind}.csv")
