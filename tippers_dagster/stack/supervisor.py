"""`tippers up`: starts the local stack, keeps it going, and stops all of it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.dagster.addresses import STACK_LOCK, stack_owner
from tippers_dagster.platform.dagster.environment import dagster_environment
from tippers_dagster.platform.home import private_home
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.postgres.embedded import (
    EmbeddedServerError,
    postmaster_pid,
    start_embedded,
)
from tippers_dagster.settings import Settings
from tippers_dagster.stack import guard
from tippers_dagster.stack.services import (
    Service,
    mlflow_environment,
    port_taken,
    stack_services,
)

POLL_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 30
ASK_SECONDS = 5.0
SURE_ASKS = 3
"""Restart a service after this many checks in a row in which it reported an error."""

SILENT_ASKS = 20
"""The same for checks without an answer, minutes in all: a busy server is left alone."""

STEADY_SECONDS = 60
"""A process that lasted this long begins its back-off anew."""

Report = Callable[[str], None]


class StackError(TippersError):
    """The local stack could not be started."""


def run_stack(settings: Settings, report: Report) -> None:
    """Run the stack until SIGINT, SIGTERM or SIGHUP, then stop all that it started.

    Parameters
    ----------
    settings
        Whose home and ports.
    report
        Takes one line at a time of what happens.

    Raises
    ------
    StackError
        When the stack of this home runs already, a port is taken, or a process does not come up.
    """
    with _only_stack(settings), _stop_signals() as signals:
        report(f"home        {settings.home_path}")
        device_key(settings)
        environment = {
            **mlflow_environment(settings),
            **os.environ,
            **dagster_environment(settings),
        }
        if _embedded(settings):
            report(f"database    embedded PostgreSQL, pid {postmaster_pid(settings.home_path)}")
        stages = stack_services(settings)
        _check_ports(stages)
        supervisor = _Supervisor(settings, environment, report, signals)
        try:
            if supervisor.start(stages):
                report("Everything is up. Ctrl-C stops it.")
                supervisor.keep_going()
        finally:
            report("Stopping ...")
            supervisor.stop()
            report("Stopped.")


@contextmanager
def _only_stack(settings: Settings) -> Iterator[None]:
    """Hold the home's lock, with who holds it written inside."""
    path = private_home(settings.home_path) / STACK_LOCK
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = stack_owner(settings) or {}
            raise StackError(
                f"The stack of {settings.home_path} runs already: process "
                f"{owner.get('pid', '?')}, {owner.get('web', 'still starting')}.",
                "Use it, stop it with Ctrl-C where it runs, or set TIPPERS_HOME to another folder.",
            ) from None
        file.truncate(0)
        web = f"http://127.0.0.1:{settings.web_port}"
        file.write(json.dumps({"pid": str(os.getpid()), "web": web}))
        file.flush()
        yield


class _Signals:
    """Counts the requests to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.event = threading.Event()

    def handle(self, number: int, frame: object) -> None:
        self.count += 1
        self.event.set()

    def requested(self) -> bool:
        return self.event.is_set()


@contextmanager
def _stop_signals() -> Iterator[_Signals]:
    signals = _Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _embedded(settings: Settings) -> bool:
    return settings.database_url is None or settings.dagster_url is None


def _check_ports(stages: list[list[Service]]) -> None:
    for service in (service for stage in stages for service in stage):
        if service.port is not None and port_taken(service.port):
            raise StackError(
                f"Port {service.port}, for the {service.name}, is taken by another program.",
                f"Stop that program, or set {service.port_setting} to a free port.",
            )


@dataclass
class _Child:
    """A service's process, its group, and its history."""

    service: Service
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    failures: int = 0
    restart_at: float | None = None
    answered: bool = True
    """Whether it has worked since it was started."""

    unanswered: int = 0
    """Failed checks in a row."""

    hopeless: str | None = None
    """Why it must be restarted although its process is alive."""

    def ask(self) -> None:
        """Check the service, and note the result."""
        process = self.process
        trouble = self.service.trouble(self.started)
        if process is not self.process:
            return  # it was restarted meanwhile
        if trouble is None:
            self.answered, self.unanswered = True, 0
        elif self.answered or time.time() - self.started > self.service.ready_seconds:
            self.unanswered += 1
            if self.unanswered >= (SURE_ASKS if trouble.sure else SILENT_ASKS):
                self.hopeless = trouble.why

    def start_again(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Start over with another process."""
        self.process, self.log, self.started = process, log, time.time()
        self.restart_at, self.hopeless = None, None
        self.answered, self.unanswered = False, 0


@dataclass
class _Supervisor:
    settings: Settings
    environment: dict[str, str]
    report: Report
    signals: _Signals
    children: list[_Child] = field(default_factory=list)
    database_failures: int = 0
    database_at: float = 0.0

    def __post_init__(self) -> None:
        self.logs = self.settings.home_path / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        # Should this process be killed, the guard ends what it started.
        self.guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, stages: list[list[Service]]) -> bool:
        """Start all, stage after stage; False when asked to stop before everything was up."""
        for stage in stages:
            started = [_Child(s, *self._launch(s), time.time()) for s in stage]
            self.children += started
            for child in started:
                self._wait_first(child)
                if self.signals.requested():
                    return False
                self.report(f"{child.service.name:<12}{child.service.address or 'running'}")
        return True

    def keep_going(self) -> None:
        """Restart services that die or no longer answer, until asked to stop."""
        for child in self.children:
            threading.Thread(target=self._ask, args=(child,), daemon=True).start()
        while not self.signals.event.wait(POLL_SECONDS):
            if _embedded(self.settings):
                self._keep_database()
            for child in self.children:
                self._keep(child)

    def stop(self) -> None:
        """Stop all processes and their descendants; a second request kills them at once."""
        for child in self.children:
            guard.send(child.process.pid, signal.SIGTERM)
        started = time.monotonic()
        asked = self.signals.count
        left = list(self.children)
        while left:
            time.sleep(0.05)
            for child in list(left):
                child.process.poll()  # takes its status, or its group would never be empty
                group = child.process.pid
                over = time.monotonic() - started - child.service.grace_seconds
                if over > 0 or self.signals.count > asked:
                    guard.send(group, signal.SIGKILL)
                # Where process 1 takes no statuses, a killed group never looks empty.
                if not guard.send(group, 0) or over > 5:
                    left.remove(child)
        self._close_guard()

    def _close_guard(self) -> None:
        for child in self.children:
            self._tell_guard("-", child.process.pid)
        assert self.guard.stdin is not None
        with suppress(BrokenPipeError):
            self.guard.stdin.close()
        self.guard.wait()

    def _tell_guard(self, sign: str, group: int) -> None:
        assert self.guard.stdin is not None
        with suppress(BrokenPipeError):  # somebody ended the guard: the stack goes on without it
            self.guard.stdin.write(f"{sign}{group}\n".encode())
            self.guard.stdin.flush()

    def _launch(self, service: Service) -> tuple[subprocess.Popen[bytes], Path]:
        path = self.logs / f"{service.name.replace(' ', '-')}.log"
        with _rotated(path) as log:
            process = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        self._tell_guard("+", process.pid)
        return process, path

    def _wait_first(self, child: _Child) -> None:
        service = child.service
        deadline = time.monotonic() + service.ready_seconds
        while not self.signals.requested():
            if child.process.poll() is not None or time.monotonic() > deadline:
                code = child.process.returncode
                what = "did not become ready" if code is None else f"exited with status {code}"
                raise StackError(
                    f"The {service.name} {what}:\n{_tail(child.log)}", f"Its log: {child.log}"
                )
            if service.ready(child.started):
                return
            self.signals.event.wait(POLL_SECONDS)

    def _ask(self, child: _Child) -> None:
        """In its own thread, so that a hanging service does not delay the others."""
        while not self.signals.event.wait(ASK_SECONDS):
            if child.restart_at is None:
                child.ask()

    def _keep(self, child: _Child) -> None:
        now = time.monotonic()
        if child.restart_at is None:
            code = child.process.poll()
            if code is None and child.hopeless is None:
                return
            if time.time() - child.started > STEADY_SECONDS:
                child.failures = 0
            delay = min(2**child.failures, LONGEST_BACKOFF_SECONDS)
            child.failures += 1
            child.restart_at = now + delay
            why = (child.hopeless or "").removesuffix(".")
            what = f"stopped: {why}" if code is None else f"exited with status {code}"
            self._clear_group(child)
            self.report(
                f"{child.service.name:<12}{what}; restarting in {delay} s (log: {child.log})"
            )
        if now >= child.restart_at:
            child.start_again(*self._launch(child.service))

    def _clear_group(self, child: _Child) -> None:
        """Kill the whole process group: its runs would otherwise go on unreported."""
        group = child.process.pid
        if guard.send(group, 0):
            guard.end_groups({group})
        child.process.poll()  # takes its status
        self._tell_guard("-", group)

    def _keep_database(self) -> None:
        now = time.monotonic()
        if now < self.database_at or postmaster_pid(self.settings.home_path) is not None:
            return
        self.report("database    gone; restarting it")
        try:
            start_embedded(self.settings.home_path)
        except EmbeddedServerError as error:
            delay = min(2**self.database_failures, LONGEST_BACKOFF_SECONDS)
            self.database_failures += 1
            self.database_at = now + delay
            self.report(f"database    {error.message}; again in {delay} s")
        else:
            self.database_failures = 0
            self.report(
                f"database    embedded PostgreSQL, pid {postmaster_pid(self.settings.home_path)}"
            )


@contextmanager
def _rotated(path: Path) -> Iterator[IO[bytes]]:
    """The log opened to append; a large one is put aside, and the one before it removed."""
    if path.exists() and path.stat().st_size > 20 << 20:
        path.replace(path.with_suffix(".log.1"))
    with path.open("ab") as file:
        yield file


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
