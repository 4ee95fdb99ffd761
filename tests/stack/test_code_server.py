"""The code server forks its processes, and takes up code that has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import ListRepositoriesResponse
from dagster._serdes import deserialize_value

from benchmarks.soak import free_ports
from tests.stack.waiting import until

DEFINITIONS = """
import os
import dagster as dg

@dg.job
def nothing():
    pass

IMPORTED_BY = os.getpid()

@dg.repository(name=f"imported_by_{IMPORTED_BY}_served_by_{os.getpid()}")
def some():
    return [nothing]
"""

TEMPLATE, SERVER = "tippers: template of code server and runs", "tippers: definitions"


class CodeServer:
    """A code server of the definitions in a folder, started as a script starts it with ``&``."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "some_definitions.py"
        self.file.write_text(DEFINITIONS)
        self.output = folder / "output"
        port = free_ports()["TIPPERS_CODE_SERVER_PORT"]
        with self.output.open("w") as output:
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", "tippers_dagster.stack.code_server", self.file.stem),
                    *("-h", "127.0.0.1", "-p", port, "--location-name", "some"),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore_signals,
            )
        self.client = DagsterGrpcClient(port=int(port))
        until(self._answers, 60, self.output.read_text)

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            self.client.ping("")
        except DagsterUserCodeUnreachableError:
            return False
        return bool(self.named(SERVER))

    def repository(self) -> str:
        """The name of the repository it serves."""
        answer = deserialize_value(self.client.list_repositories(), ListRepositoriesResponse)
        (symbol,) = answer.repository_symbols
        return symbol.repository_name

    def named(self, title: str) -> list[int]:
        """The processes with a name."""
        children = self.process.children(recursive=True)
        return [child.pid for child in children if _title(child) == title]


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _title(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CodeServer]:
    server = CodeServer(tmp_path)
    children = server.process.children(recursive=True)
    yield server
    if server.process.is_running():
        server.process.terminate()
        server.process.wait(20)
    until(lambda: not any(child.is_running() for child in children), 60)


def test_a_reload_forks_what_an_edit_imports_anew(server: CodeServer) -> None:
    (template,) = server.named(TEMPLATE)
    (first,) = server.named(SERVER)
    assert server.repository() == f"imported_by_{template}_served_by_{template}"

    server.client.reload_code(timeout=60)
    until(lambda: server.named(SERVER) not in ([first], []), 20)
    assert server.repository().startswith(f"imported_by_{template}_")

    server.file.write_text(DEFINITIONS.replace("imported_by", "edited_imported_by"))
    server.client.reload_code(timeout=60)
    name = server.repository()
    assert name.startswith("edited_imported_by_")
    assert str(template) not in name


def test_it_leaves_no_process(server: CodeServer) -> None:
    assert server.named(TEMPLATE)
    server.process.terminate()
    assert server.process.wait(20) == 0
