"""`tippers up`: starts the local stack, keeps it running, and stops it."""

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
from tippers_dagster.platform.home import UNFINISHED, private_home
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
MAX_BACKOFF_SECONDS = 30
CHECK_SECONDS = 5.0
MAX_ERRORS = 3
"""A service is restarted after this many checks in a row in which it reported an error."""

MAX_TIMEOUTS = 20
"""The same for checks without an answer: some minutes, as the server may only be busy."""

STEADY_SECONDS = 60
"""The back-off starts from the beginning for a process that lasted this long."""

Report = Callable[[str], None]


class StackError(TippersError):
    """The local stack could not be started."""


def run_stack(settings: Settings, report: Report) -> None:
    """Run the stack until SIGINT, SIGTERM or SIGHUP, then stop everything it started.

    Parameters
    ----------
    report
        Called with each line of output.

    Raises
    ------
    StackError
        When this home's stack is already running, a port is taken, a service does not start, or a
        restore was interrupted.
    """
    with _only_stack(settings), _stop_signals() as signals:
        report(f"home        {settings.home_path}")
        unfinished = settings.home_path / UNFINISHED
        if unfinished.exists():
            raise StackError(
                f"A restore into {settings.home_path} was interrupted.",
                "Repeat tippers restore with the same backup. If the deployment was used since, "
                f"remove {unfinished} instead.",
            )
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
                report("Everything is up. Press Ctrl-C to stop.")
                supervisor.keep_running()
        finally:
            report("Stopping ...")
            supervisor.stop()
            report("Stopped.")


@contextmanager
def _only_stack(settings: Settings) -> Iterator[None]:
    """Hold the home's lock, and write this process's id and URL into it."""
    path = private_home(settings.home_path) / STACK_LOCK
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = stack_owner(settings) or {}
            raise StackError(
                f"The stack of {settings.home_path} is already running: process "
                f"{owner.get('pid', '?')}, {owner.get('web', 'still starting')}.",
                "Use it, stop it with Ctrl-C in its terminal, or set TIPPERS_HOME to another "
                "folder.",
            ) from None
        file.truncate(0)
        web = f"http://127.0.0.1:{settings.web_port}"
        file.write(json.dumps({"pid": str(os.getpid()), "web": web}))
        file.flush()
        yield


class _Signals:
    """Counts stop signals."""

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
                f"Port {service.port} of the {service.name} is taken by another program.",
                f"Stop that program, or set {service.port_setting} to a free port.",
            )


@dataclass
class _Child:
    """The process of a service, and its history."""

    service: Service
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    failures: int = 0
    restart_at: float | None = None
    answered: bool = True
    """Whether it has answered since it was started."""

    failed_checks: int = 0
    """Failed checks in a row."""

    restart_reason: str | None = None
    """Why it must be restarted although its process is alive."""

    def check(self) -> None:
        """Check the service, and record the result."""
        process = self.process
        trouble = self.service.trouble(self.started)
        if process is not self.process:
            return  # restarted meanwhile
        if trouble is None:
            self.answered, self.failed_checks = True, 0
        elif (
            self.answered
            or trouble.ended
            or time.time() - self.started > self.service.ready_seconds
        ):
            self.failed_checks += 1
            if self.failed_checks >= (MAX_ERRORS if trouble.sure else MAX_TIMEOUTS):
                self.restart_reason = trouble.why

    def restarted(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Record that another process was started."""
        self.process, self.log, self.started = process, log, time.time()
        self.restart_at, self.restart_reason = None, None
        self.answered, self.failed_checks = False, 0


@dataclass
class _Supervisor:
    settings: Settings
    environment: dict[str, str]
    report: Report
    signals: _Signals
    children: list[_Child] = field(default_factory=list)
    database_failures: int = 0
    database_restart_at: float = 0.0

    def __post_init__(self) -> None:
        self.logs = self.settings.home_path / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        # If this process is killed, the guard ends the processes that it started.
        self.guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, stages: list[list[Service]]) -> bool:
        """Start the stages one after another; False when asked to stop before all were up."""
        for stage in stages:
            started = [_Child(s, *self._launch(s), time.time()) for s in stage]
            self.children += started
            for child in started:
                self._wait_until_ready(child)
                if self.signals.requested():
                    return False
                self.report(f"{child.service.name:<12}{child.service.address or 'running'}")
        return True

    def keep_running(self) -> None:
        """Restart services that die or no longer answer, until asked to stop."""
        for child in self.children:
            threading.Thread(target=self._check, args=(child,), daemon=True).start()
        while not self.signals.event.wait(POLL_SECONDS):
            if _embedded(self.settings):
                self._restart_database_if_needed()
            for child in self.children:
                self._restart_if_needed(child)

    def stop(self) -> None:
        """Stop all processes and their descendants; a second request kills them at once."""
        for child in self.children:
            guard.send(child.process.pid, signal.SIGTERM)
        started = time.monotonic()
        signals = self.signals.count
        remaining = list(self.children)
        while remaining:
            time.sleep(0.05)
            for child in list(remaining):
                child.process.poll()  # reaps it, or its group would never be empty
                group = child.process.pid
                overdue = time.monotonic() - started - child.service.grace_seconds
                if overdue > 0 or self.signals.count > signals:
                    guard.send(group, signal.SIGKILL)
                # If process 1 does not reap its children, a killed group never looks empty.
                if not guard.send(group, 0) or overdue > 5:
                    remaining.remove(child)
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
        with suppress(BrokenPipeError):  # the guard was killed: the stack goes on without it
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
                # So that PostgreSQL's list of connections says whose each is.
                env={**self.environment, "PGAPPNAME": f"tippers {service.name}"},
                start_new_session=True,
            )
        self._tell_guard("+", process.pid)
        return process, path

    def _wait_until_ready(self, child: _Child) -> None:
        service = child.service
        deadline = time.monotonic() + service.ready_seconds
        while not self.signals.requested():
            if child.process.poll() is not None or time.monotonic() > deadline:
                code = child.process.returncode
                what = (
                    f"was not ready within {service.ready_seconds:.0f} s"
                    if code is None
                    else f"exited with status {code}"
                )
                raise StackError(
                    f"The {service.name} {what}:\n{_tail(child.log)}", f"Its log: {child.log}"
                )
            if service.ready(child.started):
                return
            self.signals.event.wait(POLL_SECONDS)

    def _check(self, child: _Child) -> None:
        """Check a service regularly; in its own thread, so that it does not delay the others."""
        while not self.signals.event.wait(CHECK_SECONDS):
            if child.restart_at is None:
                child.check()

    def _restart_if_needed(self, child: _Child) -> None:
        now = time.monotonic()
        if child.restart_at is None:
            code = child.process.poll()
            if code is None and child.restart_reason is None:
                return
            if time.time() - child.started > STEADY_SECONDS:
                child.failures = 0
            delay = min(2**child.failures, MAX_BACKOFF_SECONDS)
            child.failures += 1
            child.restart_at = now + delay
            why = (child.restart_reason or "").removesuffix(".")
            what = f"stopped: {why}" if code is None else f"exited with status {code}"
            self._clear_group(child)
            self.report(
                f"{child.service.name:<12}{what}; restarting in {delay} s (log: {child.log})"
            )
        if now >= child.restart_at:
            child.restarted(*self._launch(child.service))

    def _clear_group(self, child: _Child) -> None:
        """Kill the whole process group: its runs would otherwise continue without supervision."""
        group = child.process.pid
        if guard.send(group, 0):
            guard.end_groups({group})
        child.process.poll()  # reaps it
        self._tell_guard("-", group)

    def _restart_database_if_needed(self) -> None:
        now = time.monotonic()
        if now < self.database_restart_at or postmaster_pid(self.settings.home_path) is not None:
            return
        self.report("database    has stopped; restarting it")
        try:
            start_embedded(self.settings.home_path)
        except EmbeddedServerError as error:
            delay = min(2**self.database_failures, MAX_BACKOFF_SECONDS)
            self.database_failures += 1
            self.database_restart_at = now + delay
            self.report(f"database    {error.message}; next attempt in {delay} s")
        else:
            self.database_failures = 0
            self.report(
                f"database    embedded PostgreSQL, pid {postmaster_pid(self.settings.home_path)}"
            )


@contextmanager
def _rotated(path: Path) -> Iterator[IO[bytes]]:
    """The log, opened to append; a large one is first renamed, replacing the previous one."""
    if path.exists() and path.stat().st_size > 20 << 20:
        path.replace(path.with_suffix(".log.1"))
    with path.open("ab") as file:
        yield file


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
