"""Checks that automation works: code server, daemon and web server."""

from __future__ import annotations

import psycopg2

from tippers_dagster.platform.dagster.addresses import web_address
from tippers_dagster.platform.dagster.internals import heartbeat_ages
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.stack.health import (
    ANSWER_SECONDS,
    Trouble,
    code_server_trouble,
    web_trouble,
)

LATE_SECONDS = 120.0
"""A daemon sends a heartbeat every 30 s. After this long it counts as late."""


def automation_problems(settings: Settings, seconds: float = ANSWER_SECONDS) -> dict[str, str]:
    """Why automation does not work at the moment, by service; empty when it works.

    Also empty when no stack of this deployment is known to run. Each service has ``seconds`` to
    answer.
    """
    found = automation_services(settings, seconds)
    return {name: trouble.why for name, trouble in found.items() if trouble is not None}


def automation_services(
    settings: Settings, seconds: float = ANSWER_SECONDS
) -> dict[str, Trouble | None]:
    """The same for all services; those that work have no trouble."""
    address = web_address(settings)
    if address is None:
        return {}
    return {
        "code server": code_server_trouble(
            settings.code_server_host, settings.code_server_port, seconds
        ),
        "daemon": _late(settings),
        "web server": web_trouble(f"{address.rstrip('/')}/server_info", seconds),
    }


def _late(settings: Settings) -> Trouble | None:
    """What is wrong by the latest heartbeat of any daemon, as some may be of another version."""
    try:
        seconds = min(heartbeat_ages(databases(settings).dagster).values(), default=None)
    except psycopg2.OperationalError:
        return Trouble("Its storage does not answer.")
    if seconds is None:
        return Trouble("It has never sent a heartbeat.")
    if seconds <= LATE_SECONDS:
        return None
    return Trouble(f"Its last heartbeat was {seconds:.0f} s ago.")
