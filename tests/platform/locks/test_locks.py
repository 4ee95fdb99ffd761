"""Locks survive restarts of the database, and a process that lost them records nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from tests.conftest import SessionServer, server_folder
from tests.stack.waiting import until
from tippers_dagster.platform.locks import keeper, locks
from tippers_dagster.platform.locks.locks import advisory_locks, hold_run_lock, run_processes
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import postmaster_pid, start_embedded
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.platform.warehouse.fence import LocksLost
from tippers_dagster.settings import Settings, get_settings

HOLDER = Path(__file__).with_name("holder.py")
LOG = logging.getLogger()


class Holder:
    """A process that holds locks and executes commands."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __call__(self, line: str) -> str:
        self.send(line)
        return self.answer()


@pytest.fixture
def holder() -> Iterator[Callable[[], Holder]]:
    started: list[Holder] = []

    def start() -> Holder:
        started.append(Holder())
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture(scope="module")
def own_home() -> Iterator[Path]:
    """A home whose server the tests stop and start."""
    with server_folder() as folder:
        start_embedded(folder)
        yield folder


@pytest.fixture
def home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIPPERS_HOME", str(own_home))
    get_settings.cache_clear()
    return own_home


def stop_server(home: Path) -> None:
    pid = postmaster_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    until(lambda: postmaster_pid(home) is None, 20)


def recorded(settings: Settings) -> list[str]:
    with warehouse_engine(settings).connect() as connection:
        return list(connection.scalars(sa.text("SELECT what FROM recorded")))


def make_table(settings: Settings) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("CREATE TABLE recorded (what text)"))


def held(settings: Settings) -> list[str]:
    with warehouse_engine(settings).connect() as connection:
        return list(connection.scalars(sa.text("SELECT name FROM held_lock ORDER BY 1")))


def forget_the_killed(settings: Settings) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("DELETE FROM held_lock"))


def free_now(settings: Settings, name: str) -> bool:
    """Whether the advisory lock of a name is free."""
    with warehouse_engine(settings).begin() as connection:
        return bool(
            connection.scalar(
                sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": keeper.key_of(name)}
            )
        )


def test_locks_are_retaken_after_the_database_restarted(
    home: Path, settings: Settings, holder: Callable[[], Holder]
) -> None:
    make_table(settings)
    first, second = holder(), holder()
    assert (first("run one"), first("hold a b")) == ("run", "hold")
    stop_server(home)
    time.sleep(2 * keeper.PING_SECONDS)
    start_embedded(home)
    # At no time does the run count as dead, or does another run get its locks.
    assert run_processes(settings, ["one", "two"]) == locks.RunProcesses({"one"}, set())
    second.send("hold b c")
    until(lambda: not free_now(settings, "a"), 10)
    until(lambda: not free_now(settings, "run one"), 10)
    assert first("record once") == "record"
    assert first("free") == "free"
    assert second.answer() == "hold"
    assert recorded(settings) == ["once"]
    assert held(settings) == ["b", "c", "run one"]
    assert second("free") == "free"
    first.process.kill()
    first.process.wait()
    until(lambda: run_processes(settings, ["one"]) == locks.RunProcesses(set(), {"one"}), 5)


def test_a_process_that_waits_for_locks_survives_a_restart(
    home: Path, settings: Settings, holder: Callable[[], Holder]
) -> None:
    first, second = holder(), holder()
    assert first("hold a") == "hold"
    second.send("hold a")
    time.sleep(1)
    stop_server(home)
    time.sleep(1)
    start_embedded(home)
    assert first("free") == "free"
    assert second.answer() == "hold"


def test_others_see_who_waits_for_locks_and_since_when(
    home: Path, settings: Settings, holder: Callable[[], Holder]
) -> None:
    def waiting() -> list[int]:
        """Since when (Unix seconds)."""
        query = sa.text(
            "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND objsubid = 2 AND classid = :key ORDER BY 1"
        )
        with warehouse_engine(settings).connect() as connection:
            return list(connection.scalars(query, {"key": keeper.WAITING}))

    first, second, third = holder(), holder(), holder()
    assert first("hold a") == "hold"
    assert waiting() == []
    began = int(time.time())
    second.send("hold a")
    until(lambda: len(waiting()) == 1, 5)
    stop_server(home)
    start_embedded(home)
    until(lambda: len(waiting()) == 1, 10)
    assert began <= waiting()[0] <= began + 2, "the wait began before the restart"
    third.send("hold a")
    until(lambda: len(waiting()) == 2, 5)
    third.process.kill()
    until(lambda: len(waiting()) == 1, 5)
    assert first("free") == "free"
    assert second.answer() == "hold"
    assert waiting() == []


def test_releasing_locks_never_fails(home: Path, settings: Settings) -> None:
    forget_the_killed(settings)
    with advisory_locks(settings, ["a", "b"], LOG):
        stop_server(home)
    start_embedded(home)
    until(lambda: held(settings) == [], 10)
    with advisory_locks(settings, ["a"], LOG):
        assert held(settings) == ["a"]
    assert held(settings) == []


def test_a_process_that_lost_its_locks_records_nothing(
    stack: Settings,
    session_server: SessionServer,
    holder: Callable[[], Holder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A suspended process on another host, whose locks another process takes."""
    make_table(stack)
    first = holder()
    assert first("hold a b") == "hold"
    first.process.send_signal(signal.SIGSTOP)
    assert stack.database_url is not None
    session_server.disconnect(stack.database_url.get_secret_value())
    with warehouse_engine(stack).begin() as connection:
        connection.execute(sa.text("UPDATE held_lock SET place = 'elsewhere'"))
    monkeypatch.setattr(keeper, "REMOTE_GRACE_SECONDS", 1.0)
    began = time.monotonic()
    with advisory_locks(stack, ["b"], LOG):
        assert time.monotonic() - began >= 1
        first.process.send_signal(signal.SIGCONT)
        assert first("record while-another-has-them") == "LocksLost"
        with warehouse_engine(stack).begin() as connection:
            connection.execute(sa.text("INSERT INTO recorded VALUES ('by the second')"))
    assert first("record after-another-had-them") == "LocksLost"
    assert first("free") == "free"
    assert first("record without-locks") == "record"
    assert recorded(stack) == ["by the second", "without-locks"]


def test_a_remote_process_has_its_grace_period_each_time_it_loses_a_lock(
    stack: Settings, session_server: SessionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second time, after it has retaken the lock."""
    add = (
        "INSERT INTO held_lock (name, token, place, pid, began) VALUES ('a', 1, 'elsewhere', 1, 1)"
    )
    with warehouse_engine(stack).begin() as connection:
        connection.execute(sa.text(add))
    monkeypatch.setattr(keeper, "REMOTE_GRACE_SECONDS", 2.5)
    monkeypatch.setattr(keeper, "SEEN_FREE_SECONDS", 1.0)
    taken = threading.Event()

    def wait() -> None:
        with advisory_locks(stack, ["a"], LOG):
            taken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    with psycopg2.connect(databases(stack).warehouse) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (keeper.key_of("a"),))
        time.sleep(3)
        cursor.execute("SELECT pg_advisory_unlock(%s)", (keeper.key_of("a"),))
    assert not taken.wait(1.5)
    thread.join(10)
    assert taken.is_set()


def test_a_process_that_wants_locks_waits_for_a_commit(
    stack: Settings, session_server: SessionServer
) -> None:
    """No process can take the locks between the check for them and the commit."""
    make_table(stack)
    order = []
    with advisory_locks(stack, ["a"], LOG):

        def take_over() -> None:
            with psycopg2.connect(databases(stack).warehouse) as other, other.cursor() as cursor:
                cursor.execute("DELETE FROM tippers.held_lock WHERE name = 'a'")
            order.append("taken over")

        with warehouse_engine(stack).begin() as connection:
            connection.execute(sa.text("INSERT INTO recorded VALUES ('kept')"))
            connection.dispatch.commit(connection)
            thread = threading.Thread(target=take_over)
            thread.start()
            thread.join(0.5)
            order.append("recorded")
        thread.join(10)
        assert order == ["recorded", "taken over"]
        with (
            pytest.raises(LocksLost, match="Another run took over"),
            warehouse_engine(stack).begin() as connection,
        ):
            connection.execute(sa.text("INSERT INTO recorded VALUES ('too late')"))
    assert recorded(stack) == ["kept"]


def test_locks_of_runs_are_retaken_after_their_connection_broke(
    stack: Settings, session_server: SessionServer
) -> None:
    assert stack.database_url is not None
    hold_run_lock(stack, "one")
    hold_run_lock(stack, "one")
    session_server.disconnect(stack.database_url.get_secret_value())
    assert run_processes(stack, ["one", "two"]).alive == {"one"}
    hold_run_lock(stack, "two")
    assert run_processes(stack, ["one", "two", "three"]).alive == {"one", "two"}
    assert not free_now(stack, "run one")


def test_a_run_on_another_host_has_a_grace_period(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO held_lock (name, token, place, pid, began) "
                "VALUES ('run far', 1, 'elsewhere', 1, 1), ('run near', 2, :here, 1, 1)"
            ),
            {"here": keeper.this_process().place},
        )
    assert run_processes(stack, ["far", "near"]) == locks.RunProcesses({"far"}, {"near"})
    monkeypatch.setattr(locks, "REMOTE_GRACE_SECONDS", 0)
    assert run_processes(stack, ["far"]).gone == {"far"}
