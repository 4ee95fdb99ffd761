"""Watching a running deployment."""

from __future__ import annotations

import json

import pytest

from tests.deployment import Deployed

pytestmark = pytest.mark.slow


def test_a_running_deployment_is_watched(deployed: Deployed) -> None:
    shown = deployed.run("status", "--json")
    found = json.loads(shown.stdout)
    assert found["failures"] == {}
    assert found["services"] == dict.fromkeys(
        ("code server", "daemon", "web server", "app", "mlflow")
    )
    queue = found["queue"]
    assert {"session_source_observer", "occupancy_automation"} <= set(queue["ticks"])
    assert max(queue["ticks"].values()) < 120
    assert "SENSOR" in queue["heartbeats"]
    assert max(queue["heartbeats"].values()) < 120
    assert shown.returncode == bool(found["attention"])
