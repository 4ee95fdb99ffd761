"""What is wrong with a service, and when it is restarted."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2

from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.stack.health import Trouble, daemon_trouble, web_trouble
from tippers_dagster.stack.services import Service
from tippers_dagster.stack.supervisor import (
    MAX_ERRORS,
    MAX_TIMEOUTS,
    _Child,
)


def beat(url: str, part: str, seconds_ago: float) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body) "
            "VALUES (%s, 'id', now() AT TIME ZONE 'UTC' - make_interval(secs => %s), '{}')",
            (part, seconds_ago),
        )


def test_a_stalled_daemon_is_named(stack: Settings) -> None:
    url, began = databases(stack).dagster, time.time() - 3600
    assert daemon_trouble(url, began, 600) == Trouble("It has sent no heartbeat.")
    beat(url, "SENSOR", 10)
    beat(url, "OF_AN_EARLIER_DAEMON", 5000)
    assert daemon_trouble(url, began, 600) is None
    beat(url, "BACKFILL", 700)
    trouble = daemon_trouble(url, began, 600)
    assert trouble is not None
    assert (trouble.sure, "BACKFILL" in trouble.why) == (True, True)
    nobody = "postgresql://nobody@127.0.0.1:1/nothing"
    assert daemon_trouble(nobody, began, 600) is None, "the database has its own check"


def test_a_web_server_that_does_not_run() -> None:
    trouble = web_trouble("http://127.0.0.1:1/", 1)
    assert trouble is not None
    assert not trouble.sure


class Checked:
    """A service that gives the answers that the test sets, ``age`` seconds after its start."""

    def __init__(self, age: float = 1000) -> None:
        self.trouble: Trouble | None = None
        service = Service(
            "it", (), "", ready=lambda _: True, trouble=lambda _: self.trouble, ready_seconds=100
        )
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        self.child = _Child(service, process, Path(), time.time() - age)

    def check(self, trouble: Trouble | None, times: int = 1) -> str | None:
        self.trouble = trouble
        for _ in range(times):
            self.child.check()
        return self.child.restart_reason


BUSY, BROKEN = Trouble("busy"), Trouble("broken", sure=True)


def test_a_busy_service_is_not_restarted_soon() -> None:
    checked = Checked()
    for _ in range(3):
        assert checked.check(BUSY, MAX_TIMEOUTS - 1) is None
        assert checked.check(None) is None
    assert checked.check(BUSY, MAX_TIMEOUTS) == "busy"


def test_a_service_that_reports_an_error_is_restarted_sooner() -> None:
    checked = Checked()
    assert checked.check(BROKEN, MAX_ERRORS - 1) is None
    assert checked.check(BROKEN) == "broken"


def test_a_starting_service_is_not_restarted() -> None:
    checked = Checked(age=50)
    checked.child.answered = False
    assert checked.check(BUSY, 2 * MAX_TIMEOUTS) is None
    assert checked.check(None) is None
    assert checked.check(BUSY, MAX_TIMEOUTS) == "busy"


def test_a_starting_service_whose_inner_process_has_ended_is_restarted() -> None:
    checked = Checked(age=5)
    checked.child.answered = False
    assert checked.check(BROKEN, 2 * MAX_ERRORS) is None
    assert checked.check(replace(BROKEN, ended=True), MAX_ERRORS) == "broken"
