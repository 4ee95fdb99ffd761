"""A running deployment loads and computes what another process saves, without a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from tests.deployment import Deployed
from tests.graph.small import ALL, IS_A, Small, function
from tests.stack.waiting import until
from tippers_dagster.automation.state import load_states
from tippers_dagster.catalog import store
from tippers_dagster.catalog.files import export
from tippers_dagster.graph.definitions import pipeline_definitions
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracked_log")]


@pytest.fixture
def running(deployed: Deployed) -> Deployed:
    return deployed


@pytest.fixture
def small(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    settings = deployed.enter(monkeypatch)
    with dagster_instance(settings) as instance:
        yield Small(settings, instance)


@pytest.fixture
def saved(running: Deployed, small: Small) -> Small:
    """The small set of definitions is saved, loaded and computed."""
    known = store.load_catalog(small.settings).definitions
    if IS_A.ref not in known:
        small.save(*ALL)
        running.tippers("pipeline", "reload")
    wait_until_fresh(small)
    return small


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
    running: Deployed, saved: Small, tmp_path: Path
) -> None:
    small = saved
    folder = tmp_path / "out"
    export(folder, [store.get(small.settings, d.ref) for d in ALL])
    assert "device/type" in running.assets()
    assert checks(small, "device/long") == {"SUCCEEDED": 3}
    assert checks(small, "device/is_a") == {"SUCCEEDED": 2}
    assert sum(checks(small, "device/type").values()) == 4

    before = {name: version(small.settings, name) for name in ("device/type", "device/is_b")}
    file = folder / "device" / "labelling_functions" / "is_a.yml"
    file.write_text(file.read_text().replace("hours > 3", "hours > 4"))
    done = running.run("definitions", "import", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: version(small.settings, "device/type") != before["device/type"], 120)
    wait_until_fresh(small)
    assert version(small.settings, "device/is_b") == before["device/is_b"]


def test_a_wrong_one_is_refused_and_nothing_changes(
    running: Deployed, saved: Small, tmp_path: Path
) -> None:
    small = saved
    export(tmp_path, [store.get(small.settings, IS_A.ref)])
    file = tmp_path / "device" / "labelling_functions" / "is_a.yml"
    file.write_text(file.read_text().replace("hours", "minutes"))
    done = running.run("definitions", "import", str(tmp_path))
    assert done.returncode == 1
    assert "minutes" in done.stderr
    assert "Traceback" not in done.stderr
    assert {s.standing for s in small.status().values()} == {"fresh"}


def test_a_row_by_hand_is_taken_up_without_being_told(running: Deployed, saved: Small) -> None:
    small = saved
    small.insert_by_hand("rule", "by_hand", {"sql": ["no text"]})
    until(lambda: "device/by_hand" in running.assets(), 120, lambda: str(running.assets()))
    until(lambda: bool(load_states(small.settings).get("device/by_hand")), 120)
    new = replace(function("extra", "hours > 1", "B"))
    small.save(new)
    until(lambda: version(small.settings, "device/extra") is not None, 120)
    small.execute("DELETE FROM tippers.definition WHERE name = 'by_hand'")
    until(lambda: "device/by_hand" not in running.assets(), 120)


def test_changed_rows_are_computed_by_themselves(running: Deployed, saved: Small) -> None:
    small = saved
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
