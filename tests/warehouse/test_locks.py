"""Locks that tell which runs are alive."""

from __future__ import annotations

from tests.conftest import SessionServer
from tippers_dagster.settings import Settings
from tippers_dagster.warehouse.locks import hold_run_lock, live_runs


def test_locks_of_runs_come_back_after_the_server_was_away(
    stack: Settings, session_server: SessionServer
) -> None:
    assert stack.database_url is not None
    hold_run_lock(stack, "one")
    hold_run_lock(stack, "one")
    assert live_runs(stack, ["one", "two"]) == {"one"}
    session_server.disconnect(stack.database_url.get_secret_value())
    assert live_runs(stack, ["one", "two"]) == set()
    hold_run_lock(stack, "two")
    assert live_runs(stack, ["one", "two", "three"]) == {"one", "two"}
