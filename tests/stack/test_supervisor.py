"""`tippers up`: what it starts it keeps going, and stops.

Two tests start all of it. Where only the supervisor matters, its services are stubs.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
import pytest

from benchmarks.soak import free_ports
from tests.stack.waiting import until
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import postmaster_pid
from tippers_dagster.settings import get_settings
from tippers_dagster.stack.automation_health import automation_problems

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


class Stack:
    """`tippers up` in a separate process."""

    def __init__(self, home: Path, output: Path, what: str) -> None:
        self.home = home
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "up_with_definitions.py", what, "up"],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path[1:]])},
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, pattern: str, seconds: float = 180) -> None:
        def seen() -> bool:
            assert self.process.poll() is None, self.text()
            return re.search(pattern, self.text()) is not None

        until(seen, seconds, self.text)

    def ends(self, seconds: float = 45) -> int:
        return self.process.wait(seconds)


def processes_of(home: Path, database: bool = True) -> list[str]:
    """Command lines of all running processes of this home, and of its database."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            serves = process.name() == "postgres" and process.cwd() == str(home / "postgres")
            given = process.environ().get("TIPPERS_HOME") == str(home)
            if (serves and database) or (given and not serves and process.pid != os.getpid()):
                found.append(" ".join(command))
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def up(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Stack]]:
    for name, port in free_ports().items():
        monkeypatch.setenv(name, port)
    get_settings.cache_clear()
    stacks: list[Stack] = []

    def start(what: str = "stack_definitions") -> Stack:
        stacks.append(Stack(home, tmp_path / f"up{len(stacks)}.txt", what))
        return stacks[-1]

    yield start
    for stack in stacks:
        if stack.process.poll() is None:
            stack.process.terminate()
            stack.process.wait(60)


def tippers(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@contextmanager
def storage() -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(databases(get_settings()).dagster)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def run_status() -> list[str]:
    with storage() as cursor:
        cursor.execute("SELECT status FROM runs ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def launch_run(stack: Stack) -> None:
    """Start the waiting job through the web server, as its pages do."""
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

    client = DagsterGraphQLClient("127.0.0.1", port_number=get_settings().web_port)

    def launched() -> bool:
        # The web server learns of a restarted code server some seconds later.
        with suppress(DagsterGraphQLClientError):
            client.submit_job_execution("waiting")
        return bool(run_status())

    until(launched, 60, stack.text)
    until(lambda: run_status()[-1] == "STARTED", 60, stack.text)


def test_second_up_says_so_and_sigterm_stops_everything(
    up: Callable[..., Stack], home: Path
) -> None:
    stack = up()
    stack.wait_for("Everything is up")
    launch_run(stack)
    assert any("code_server" in line for line in processes_of(home))

    second = tippers("up")
    assert second.returncode == 1
    assert f"process {stack.process.pid}" in second.stderr
    assert f"http://127.0.0.1:{get_settings().web_port}" in second.stderr
    assert "Traceback" not in second.stderr
    assert str(stack.process.pid) in tippers("doctor").stdout

    stack.process.send_signal(signal.SIGTERM)
    assert stack.ends() == 0
    assert stack.text().endswith("Stopped.\n")
    # This process has queried the storage and still uses the database.
    assert processes_of(home, database=False) == []
    assert run_status() == ["FAILURE"]


def test_killed_parts_come_back_and_ctrl_c_stops_everything(
    up: Callable[..., Stack], home: Path
) -> None:
    stack = up("stubs")
    stack.wait_for("Everything is up")
    pid = postmaster_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    stack.wait_for("has stopped; restarting it(.|\n)*embedded PostgreSQL")
    assert postmaster_pid(home) not in (None, pid)

    part_of(stack, "web").kill()
    stack.wait_for("web +exited with status -9")
    until(lambda: not web_down(), 60, stack.text)

    stack.process.send_signal(signal.SIGINT)
    assert stack.ends() == 0
    assert processes_of(home) == []


def test_what_does_not_work_is_started_again_and_a_killed_up_leaves_nothing(
    up: Callable[..., Stack], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MAX_TIMEOUTS", "4")
    monkeypatch.setenv("TIPPERS_MLFLOW_URL", f"sqlite:///{home}/mlflow.db")  # a server less
    get_settings.cache_clear()
    stack = up()
    stack.wait_for("Everything is up")
    assert tippers("doctor", "--code-server").returncode == 0
    assert not automation_problems(get_settings())

    # The inner process, with the definitions; the outer one, which forwards calls, keeps running.
    part_of(stack, "tippers: definitions").kill()
    found = automation_problems(get_settings())
    if "restarting" not in stack.text():
        assert found == {"code server": "The process that loads the definitions has ended."}
    stack.wait_for("code server +stopped: The process that loads the definitions has ended")
    until(lambda: tippers("doctor", "--code-server").returncode == 0, 90, stack.text)
    launch_run(stack)

    part_of(stack, "tippers_dagster.cli", "web").suspend()
    assert "web server" in automation_problems(get_settings(), 1.0)
    stack.wait_for("web +stopped: http://.* does not answer")
    until(lambda: not web_down(), 90, stack.text)
    until(lambda: not automation_problems(get_settings()), 60, stack.text)
    assert len(re.findall("restarting", stack.text())) == 2, "nothing else was"

    # All but the guard stand still, so that the run cannot say that it was stopped.
    for child in psutil.Process(stack.process.pid).children(recursive=True):
        if not child.cmdline()[-1].endswith("guard.py"):
            child.suspend()
    stack.process.kill()
    stack.process.wait()
    until(
        lambda: processes_of(home, database=False) == [],
        30,
        lambda: "\n".join(processes_of(home)),
    )
    assert run_status() == ["STARTED"]

    again = up()
    again.wait_for("code server +grpc")
    assert run_status() == ["FAILURE"]
    again.process.terminate()
    assert again.ends() == 0


def part_of(stack: Stack, *words: str) -> psutil.Process:
    """The process of a stack whose command has these words."""
    return next(
        child
        for child in psutil.Process(stack.process.pid).children(recursive=True)
        if set(words) <= set(child.cmdline())
    )


def web_down() -> bool:
    from tippers_dagster.stack.services import http_ok

    return not http_ok(f"http://127.0.0.1:{get_settings().web_port}/server_info")


def test_a_taken_port_is_named_with_its_setting(up: Callable[..., Stack]) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", get_settings().web_port))
        other.listen()
        stack = up()
        assert stack.ends() == 1
    assert f"Port {get_settings().web_port}" in stack.text()
    assert "TIPPERS_WEB_PORT" in stack.text()
    assert "Traceback" not in stack.text()


def test_a_process_that_does_not_come_up_is_shown_with_its_log(
    up: Callable[..., Stack], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = home / "broken.yaml"
    broken.write_text("run_monitoring: {enabled: maybe}\n")
    monkeypatch.setenv("TIPPERS_DAGSTER_YAML", str(broken))
    stack = up("stubs:web")
    assert stack.ends(90) == 1
    assert "exited with status" in stack.text()
    assert "run_monitoring" in stack.text()
    assert processes_of(home, database=False) == []


def test_sigterm_before_everything_is_up_stops_it(up: Callable[..., Stack]) -> None:
    stack = up()
    stack.wait_for("database")
    stack.process.send_signal(signal.SIGTERM)  # before everything is up
    assert stack.ends() == 0
