"""What is wrong with a service, and when it is started again for that."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.stack.health import Trouble, daemon_trouble, web_trouble
from tippers_dagster.stack.services import Service
from tippers_dagster.stack.supervisor import SILENT_ASKS, SURE_ASKS, _Child


def beat(url: str, part: str, seconds_ago: float) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body) "
            "VALUES (%s, 'id', now() AT TIME ZONE 'UTC' - make_interval(secs => %s), '{}')",
            (part, seconds_ago),
        )


def test_a_daemon_of_which_a_part_stopped(stack: Settings) -> None:
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
    assert daemon_trouble(nobody, began, 600) is None, "the database is looked after by itself"


def test_a_web_server_that_is_not_there() -> None:
    trouble = web_trouble("http://127.0.0.1:1/", 1)
    assert trouble is not None
    assert not trouble.sure


class Asked:
    """A service that answers what the test sets, and counts as started long ago or just now."""

    def __init__(self, age: float = 1000) -> None:
        self.trouble: Trouble | None = None
        service = Service(
            "it", (), "", ready=lambda _: True, trouble=lambda _: self.trouble, ready_seconds=100
        )
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        self.child = _Child(service, process, Path(), time.time() - age)

    def asks(self, trouble: Trouble | None, times: int = 1) -> str | None:
        self.trouble = trouble
        for _ in range(times):
            self.child.ask()
        return self.child.hopeless


BUSY, BROKEN = Trouble("busy"), Trouble("broken", sure=True)


def test_a_busy_service_has_patience() -> None:
    asked = Asked()
    for _ in range(3):
        assert asked.asks(BUSY, SILENT_ASKS - 1) is None
        assert asked.asks(None) is None
    assert asked.asks(BUSY, SILENT_ASKS) == "busy"


def test_one_that_says_what_is_wrong_has_less() -> None:
    asked = Asked()
    assert asked.asks(BROKEN, SURE_ASKS - 1) is None
    assert asked.asks(BROKEN) == "broken"


def test_one_that_starts_may_take_its_time() -> None:
    asked = Asked(age=50)
    asked.child.answered = False
    assert asked.asks(BUSY, 2 * SILENT_ASKS) is None
    assert asked.asks(None) is None
    assert asked.asks(BUSY, SILENT_ASKS) == "busy"
