"""The processes of runs are forked, and end as those that an interpreter starts."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc.server import DagsterApiServer

from tests.stack.waiting import until
from tippers_dagster.platform.dagster.internals import SERVER_MODULE
from tippers_dagster.platform.dagster.run_workers import (
    _ForkContext,
    choose_template,
    fork_run_workers,
    share_template,
)

PRELOADED = "tests.platform.dagster.preloaded"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterApiServer]:
    """Dagster's code server, as a process that serves definitions makes it."""
    monkeypatch.setattr(DagsterApiServer, "_mp_ctx", None, raising=False)
    with FuturesAwareThreadPoolExecutor() as threads:
        server = DagsterApiServer(threading.Event(), logging.getLogger(__name__), threads)
        fork_run_workers(PRELOADED)
        yield server
        server._server_termination_event.set()


def look(into: Path) -> None:
    """What a run would do: write, and leave something to be done at its end."""
    module = sys.modules[PRELOADED]
    atexit.register(lambda: into.with_suffix(".end").write_text("ended"))
    into.write_text(f"{module.IMPORTED_BY} {os.getpid()} {os.getppid()}")
    if into.stem == "failing":
        raise ValueError("This run fails.")


def fork_others(into: Path) -> None:
    """What the process with the definitions does; its template is killed in between."""
    share_template()
    choose_template(PRELOADED)
    fork_and_wait(into / "shared")
    template = os.getppid()
    os.kill(template, signal.SIGKILL)
    until(lambda: os.getppid() != template, 10)
    fork_and_wait(into / "replaced")


def fork_and_wait(into: Path) -> None:
    process = _ForkContext().Process(target=look, args=[into])
    process.start()
    process.join()


def finished(server: DagsterApiServer, into: Path) -> BaseProcess:
    process = server._mp_ctx.Process(target=look, args=[into])
    process.start()
    process.join()
    return process


@pytest.mark.parametrize(("name", "code"), [("fine", 0), ("failing", 1)])
def test_a_run_is_forked_from_the_process_that_imported_the_module(
    server: DagsterApiServer, tmp_path: Path, name: str, code: int
) -> None:
    process = finished(server, tmp_path / name)
    importer, pid, parent = map(int, (tmp_path / name).read_text().split())
    assert importer == parent
    assert pid == process.pid
    assert parent not in (pid, os.getpid())
    assert process.exitcode == code


def test_what_was_registered_for_its_end_is_called(
    server: DagsterApiServer, tmp_path: Path
) -> None:
    finished(server, tmp_path / "run")
    assert (tmp_path / "run.end").read_text() == "ended"


def test_those_with_a_template_share_it_and_replace_it_when_it_was_killed(
    server: DagsterApiServer, tmp_path: Path
) -> None:
    server._mp_ctx.Process(target=fork_others, args=[tmp_path]).start()
    until(lambda: (tmp_path / "replaced.end").exists(), 60)
    first, _, its_parent = map(int, (tmp_path / "shared").read_text().split())
    second, _, other_parent = map(int, (tmp_path / "replaced").read_text().split())
    assert first == its_parent != second == other_parent


def test_a_process_that_serves_nothing_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DagsterApiServer, "_mp_ctx", None, raising=False)
    monkeypatch.delitem(sys.modules, SERVER_MODULE)
    fork_run_workers(PRELOADED)
    assert DagsterApiServer._mp_ctx is None
