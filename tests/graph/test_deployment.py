"""A running deployment loads and computes what another process saves, without a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from benchmarks.soak import free_ports
from tests.graph.small import ALL, IS_A, Small, function
from tests.sql.definitions import bare_project, fill_source
from tests.stack.waiting import until
from tippers_dagster.automation.state import load_states
from tippers_dagster.catalog import store
from tippers_dagster.catalog.files import export
from tippers_dagster.graph.definitions import pipeline_definitions
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.postgres.embedded import stop_embedded
from tippers_dagster.settings import Settings, get_settings

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Deployed:
    """A running ``tippers up`` and the environment of its home."""

    environment: dict[str, str]
    log: Path

    def tippers(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tippers_dagster.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def assets(self) -> set[str]:
        """The assets on Dagster's page."""
        query = {"query": "{ assetNodes { assetKey { path } } }"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.environment['TIPPERS_WEB_PORT']}/graphql",
            json.dumps(query).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        return {"/".join(node["assetKey"]["path"]) for node in answer["data"]["assetNodes"]}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    home = tmp_path_factory.mktemp("deployed") / "home"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TIPPERS_", "DAGSTER_"))},
        "TIPPERS_HOME": str(home),
        **free_ports(),
        "TIPPERS_DBT_PROJECT": str(bare_project(home.parent / "project")),
        "TIPPERS_REFRESH_SECONDS": "1",
    }
    log = home.parent / "up.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tippers_dagster.cli", "up"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "Everything is up" in log.read_text(), 180, log.read_text)
        yield Deployed(environment, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        stop_embedded(home)


@pytest.fixture
def small(running: Deployed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    for name, value in running.environment.items():
        if name.startswith("TIPPERS_"):
            monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    settings = get_settings()
    with dagster_instance(settings) as instance:
        yield Small(settings, instance)


def version(settings: Settings, name: str) -> str | None:
    state = load_states(settings).get(name)
    return state and state.version


def checks(small: Small, name: str) -> Counter[str]:
    """The latest results of an asset's checks, without those that never ran."""
    defs = pipeline_definitions(small.settings)
    (node,) = [n for n in defs.resolve_asset_graph().asset_nodes if n.key.path == name.split("/")]
    storage = small.instance.event_log_storage
    records = storage.get_latest_asset_check_execution_by_key(list(node.check_keys))
    return Counter(record.status.value for record in records.values())


def wait_until_fresh(small: Small, seconds: float = 300) -> None:
    def standings() -> dict[str, str]:
        return {n: f"{s.standing} {s.why}" for n, s in small.status().items()}

    until(
        lambda: all(s.startswith("fresh") for s in standings().values()),
        seconds,
        lambda: str({n: s for n, s in standings().items() if not s.startswith("fresh")}),
    )


def test_what_another_process_saves_appears_and_is_computed(
    running: Deployed, small: Small, tmp_path: Path
) -> None:
    fill_source(small.settings)
    small.save(*ALL)
    folder = tmp_path / "out"
    export(folder, [store.get(small.settings, d.ref) for d in ALL])
    done = running.tippers("pipeline", "reload")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "device/type" in running.assets()
    wait_until_fresh(small)
    assert checks(small, "device/long") == {"SUCCEEDED": 3}
    assert checks(small, "device/is_a") == {"SUCCEEDED": 2}
    assert sum(checks(small, "device/type").values()) == 4

    before = {name: version(small.settings, name) for name in ("device/type", "device/is_b")}
    file = folder / "device" / "labelling_functions" / "is_a.yml"
    file.write_text(file.read_text().replace("hours > 3", "hours > 4"))
    done = running.tippers("definitions", "import", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: version(small.settings, "device/type") != before["device/type"], 120)
    wait_until_fresh(small)
    assert version(small.settings, "device/is_b") == before["device/is_b"]


def test_an_invalid_definition_is_rejected_and_nothing_changes(
    running: Deployed, small: Small, tmp_path: Path
) -> None:
    export(tmp_path, [store.get(small.settings, IS_A.ref)])
    file = tmp_path / "device" / "labelling_functions" / "is_a.yml"
    file.write_text(file.read_text().replace("hours", "minutes"))
    done = running.tippers("definitions", "import", str(tmp_path))
    assert done.returncode == 1
    assert "minutes" in done.stderr
    assert "Traceback" not in done.stderr
    assert {s.standing for s in small.status().values()} == {"fresh"}


def test_a_row_inserted_by_hand_is_loaded(running: Deployed, small: Small) -> None:
    small.insert_by_hand("rule", "by_hand", {"sql": ["no text"]})
    until(lambda: "device/by_hand" in running.assets(), 120, lambda: str(running.assets()))
    until(lambda: bool(load_states(small.settings).get("device/by_hand")), 120)
    new = replace(function("extra", "hours > 1", "B"))
    small.save(new)
    until(lambda: version(small.settings, "device/extra") is not None, 120)
    small.execute("DELETE FROM tippers.definition WHERE name = 'by_hand'")
    until(lambda: "device/by_hand" not in running.assets(), 120)


def test_changed_rows_are_computed_automatically(running: Deployed, small: Small) -> None:
    from contextlib import closing

    from tippers_dagster.platform.postgres.databases import databases

    before = version(small.settings, "device/devices")
    with (
        closing(psycopg2.connect(databases(small.settings).source)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO source.user_ap_trajectory VALUES "
            "('late', 'ap', '2025-01-15 03:00', '2025-01-15 03:30', 'r1')"
        )
    until(lambda: version(small.settings, "device/devices") != before, 120)
    wait_until_fresh(small)
    assert "late" in small.keys("indexes.device__devices")
