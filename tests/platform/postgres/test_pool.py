"""Lost connections of a pool are replaced; those in use are not asked each time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg2
import pytest
import sqlalchemy as sa

from tests.stack.waiting import until
from tippers_dagster.platform.postgres import pool
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(sqlalchemy_url(database), pool_size=1)
    pool.replace_lost(engine)
    yield engine
    engine.dispose()


def backend(engine: sa.Engine) -> int:
    """The server's process of the connection that is used."""
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT pg_backend_pid()"))


def end(url: str, pid: int) -> None:
    """End a server process; returns once it is gone."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))

        def gone() -> bool:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,))
            return cursor.fetchone() == (0,)

        until(gone, 10)
    connection.close()


def test_what_the_server_closed_is_replaced(engine: sa.Engine, database: str) -> None:
    before = backend(engine)
    assert backend(engine) == before
    end(database, before)
    after = backend(engine)
    assert after != before
    assert backend(engine) == after


def test_only_idle_connections_are_asked(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(engine.dialect, "do_ping", lambda one: not asked.append(one))
    before = backend(engine)
    assert backend(engine) == before
    assert asked == []

    now = time.monotonic() + pool.ASK_AFTER_SECONDS
    monkeypatch.setattr(pool.time, "monotonic", lambda: now)
    assert backend(engine) == before
    assert len(asked) == 1


def test_an_idle_connection_that_does_not_answer_is_replaced(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(connection: object) -> bool:
        raise psycopg2.OperationalError("no route to host")

    monkeypatch.setattr(engine.dialect, "do_ping", silent)
    monkeypatch.setattr(pool, "ASK_AFTER_SECONDS", 0)
    before = backend(engine)
    assert backend(engine) != before
