"""Pools of connections whose lost ones are replaced before they are used."""

from __future__ import annotations

import select
import time
from typing import Any

import psycopg2
import sqlalchemy as sa

ASK_AFTER_SECONDS = 5
"""A connection that was idle for longer is asked; the other side may be gone without a word."""


def replace_lost(engine: sa.Engine) -> None:
    """Replace connections of an engine's pool that the server has closed, restarted for example.

    SQLAlchemy's own check (``pool_pre_ping``) asks the server each time a connection is used, which
    doubles the time of short statements. One that was used a moment ago is not asked: if the server
    has closed it, there is something to read.
    """

    @sa.event.listens_for(engine, "checkin")
    def note(connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def check(connection: Any, record: Any, fairy: Any) -> None:
        idle_since = record.info.get("idle_since")
        if idle_since is not None and _lost(engine, connection, idle_since):
            raise sa.exc.DisconnectionError("The server has closed the connection.")


def _lost(engine: sa.Engine, connection: Any, idle_since: float) -> bool:
    if connection.closed or _readable(connection.fileno()):
        return True
    if time.monotonic() - idle_since < ASK_AFTER_SECONDS:
        return False
    try:
        return not engine.dialect.do_ping(connection)
    except psycopg2.Error:
        return True


def _readable(descriptor: int) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))
