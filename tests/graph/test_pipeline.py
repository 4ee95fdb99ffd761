"""The graph of all definitions: computed in one run, recomputed after changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import dagster as dg
import pytest

from tests.graph.small import ALL, IS_A, LONG, NAMES, STAGING, Small, function, rule
from tests.sql.definitions import extract
from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import Condition
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.definitions import pipeline_definitions
from tippers_dagster.graph.load import load


@pytest.mark.slow
def test_all_levels_are_one_run_and_a_changed_threshold_reaches_its_dependents(
    small: Small,
) -> None:
    small.save(*ALL)
    status = small.status()
    assert {s.standing for s in status.values()} == {"stale"}
    assert status["device/devices"].why == "staging.int_sessions must be computed first."

    assert small.computed() == NAMES | STAGING
    assert len(small.instance.get_runs()) == 1
    assert {s.standing for s in small.status().values()} == {"fresh"}
    assert small.computed() == set()
    chosen = small.keys("indexes.device__chosen")
    assert len(chosen) == 3

    lower = IS_A.body.model_copy(update={"conditions": (Condition(when="hours > 4", label="A"),)})
    small.change(IS_A, lower)
    status = small.status()
    stale = {name: s.why for name, s in status.items() if s.standing != "fresh"}
    below = {"device/is_a", "device/type", "device/chosen", "device/days"}
    assert set(stale) == below
    assert stale["device/is_a"] == "Its definition has changed."
    assert stale["device/type"] == "device.is_a must be computed first."
    assert small.computed() == below
    assert {s.standing for s in small.status().values()} == {"fresh"}


@pytest.mark.slow
def test_changed_rows_are_recomputed(small: Small) -> None:
    small.save(*ALL)
    small.computed()
    small.execute(
        "INSERT INTO source.user_ap_trajectory VALUES "
        "('aa:bb:cc:dd:ee:99', 'ap', '2025-01-07 09:00', '2025-01-07 17:00', 'r1')"
    )
    assert small.computed() == set()  # the log is what was extracted
    extract(small.settings)
    redone = small.computed()
    assert redone >= NAMES
    assert "staging/stg_space" not in redone
    assert "aa:bb:cc:dd:ee:99" in small.keys("indexes.device__devices")


@pytest.mark.slow
def test_a_failed_asset_delays_only_its_dependents(small: Small) -> None:
    """Dagster skips everything downstream of a step in which one asset failed."""
    wrong = rule("wrong", LONG.body.sql.replace("avg(seconds)", "1 / (count(*) - count(*))"))
    small.save(*ALL, wrong, function("reads_wrong", "hours > 1", "A", rule="wrong"))
    found = small.materialize()
    bad = {name: o for name, o in found.items() if o.state != "computed"}
    assert set(bad) == {"device/wrong", "device/reads_wrong"}
    assert bad["device/wrong"].state == "failed"
    assert "Division by zero" in bad["device/wrong"].why
    assert bad["device/reads_wrong"].why == "It depends on device.wrong."
    status = small.status()
    assert status["device/wrong"].standing == "failed"
    assert "Division by zero" in status["device/wrong"].why
    assert status["device/reads_wrong"].why == "device.wrong must be computed first."
    assert status["device/days"].standing == "fresh"

    small.save(dataclasses.replace(wrong, body=LONG.body))
    assert small.computed() == {"device/wrong", "device/reads_wrong"}


@pytest.mark.slow
def test_a_selection_is_computed_with_its_stale_inputs(small: Small) -> None:
    small.save(*ALL)
    done = small.computed("device.long")
    assert {"device/long", "device/devices", "staging/int_sessions"} <= done
    assert not done & {"device/type", "device/is_a"}
    assert small.computed("device.long") == set()
    again = small.materialize("device.long", stale_only=False)
    assert set(again) == {"device/long"}
    with pytest.raises(BadInput, match="matches no asset"):
        small.materialize("device.nothing")
    assert {"device/is_a", "device/type"} <= small.computed("device")


# --- what is broken ----------------------------------------------------------------------------
@pytest.mark.slow
def test_broken_definitions_are_assets_that_fail_and_the_others_work(
    small: Small, bare_folder: Path
) -> None:
    small.save(*ALL)
    small.insert_by_hand("rule", "no_json_object", {"sql": 7})
    small.insert_by_hand("rule", "two_statements", {"index": "devices", "sql": "SELECT 1; DROP"})
    small.insert_by_hand("rule", "no_index", {"index": "nowhere", "sql": "SELECT 1"})
    small.insert_by_hand("spell", "no_kind", {})
    small.insert_by_hand("index", "odd name/here", {"sql": "SELECT 1"}, concept="a b/c")
    small.insert_by_hand(
        "labelling_function",
        "bad_python",
        {"rule": "long", "labels": ["A"], "python": "def f(row): return __import__('os')"},
    )
    folder = bare_folder / "definitions" / "device" / "labelling_functions"
    folder.mkdir(parents=True)
    (folder / "raises.py").write_text("raise RuntimeError('at import')")
    (folder / "raises.yml").write_text("rule: long\nlabels: [A]\nfunction: raises\n")
    (folder / "torn.yml").write_text("rule: [long\n")

    loaded = load(small.settings)
    dg.Definitions.validate_loadable(dg.Definitions(assets=loaded.assets))
    status = small.status()
    broken = {name: s.why for name, s in status.items() if s.standing == "broken"}
    for name in ("no_json_object", "two_statements", "no_index", "torn"):
        assert f"device/{name}" in broken
    assert "nowhere" in broken["device/no_index"]

    found = small.materialize()
    states = {name: o.state for name, o in found.items()}
    assert {name for name, state in states.items() if state == "computed"} == NAMES | STAGING
    assert found["device/no_index"].why == broken["device/no_index"]
    for name in ("bad_python", "raises"):
        assert states[f"device/{name}"] == "failed", found[f"device/{name}"]


def test_a_project_that_dbt_cannot_read_stops_only_sql(small: Small, bare_folder: Path) -> None:
    small.save(*ALL)
    (bare_folder / "models" / "staging" / "torn.sql").write_text("SELECT {{ ref('nowhere')")
    loaded = load(small.settings)
    dg.Definitions.validate_loadable(dg.Definitions(assets=loaded.assets))
    status = small.status()
    assert status["device/devices"].standing == "broken"
    assert "dbt cannot parse" in status["device/devices"].why
    (bare_folder / "models" / "staging" / "torn.sql").unlink()
    assert {s.standing for s in small.status().values()} == {"stale"}


def test_a_cycle_is_reported_and_not_loaded(small: Small) -> None:
    small.save(*ALL)
    small.execute(
        "UPDATE tippers.definition SET body = jsonb_set(body, '{sql}', CAST(:text AS jsonb)), "
        "reads = CAST('[\"device.chosen\"]' AS jsonb) WHERE name = 'long'",
        text='"SELECT mac_address, 1 AS hours FROM chosen"',
    )
    loaded = load(small.settings)
    dg.Definitions.validate_loadable(dg.Definitions(assets=loaded.assets))
    assert small.status()["device/long"].standing == "broken"


def test_the_code_location_is_these_assets_and_one_sensor(small: Small) -> None:
    small.save(*ALL)
    defs = pipeline_definitions(small.settings)
    dg.Definitions.validate_loadable(defs)
    keys = {"/".join(k.path) for k in defs.resolve_asset_graph().materializable_asset_keys}
    assert keys == NAMES | STAGING
    sensor = defs.get_repository_def().get_sensor_def("definitions_automation")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_automation_requests_all_in_one_run(small: Small) -> None:
    small.save(*ALL)
    defs = pipeline_definitions(small.settings)
    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def("definitions_automation")
    context = dg.build_sensor_context(instance=small.instance, repository_def=repository)
    data = sensor.evaluate_tick(context)
    (request,) = data.run_requests
    asked = {"/".join(key.path) for key in request.asset_selection}
    assert asked == NAMES | STAGING
    assert request.asset_check_keys is None  # all of them
    store.retire(small.settings, IS_A.ref, by="ada")
    assert "have changed since they were loaded" in sensor.evaluate_tick(context).skip_message
