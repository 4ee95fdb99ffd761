"""The definitions that Dagster loads; any change of them must be intended."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

from tippers_dagster.definitions import defs
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.settings import Settings, get_settings

HEAVY = ("torch", "snorkel", "mlflow", "dlt", "matplotlib", "sklearn", "dagster_graphql")
CONCEPTS = {"device", "people", "resident", "student", "group"}
OF_NO_CONCEPT = {"labelled_occupancy", "people_count", "forecaster", "operations"}


@pytest.mark.slow
def test_the_definitions_load_and_each_has_an_asset(stack: Settings) -> None:
    found = defs()
    dg.Definitions.validate_loadable(found)
    specs = {"/".join(spec.key.path): spec for spec in found.resolve_all_asset_specs()}
    assert set(specs) >= {
        "session_source",
        "derived_occupancy",
        "device/devices",
        "device/device_type",
        "device/kind__champion",
        "device/kind__predictions",
        "people/people",
        "people/visitor_or_resident",
        "resident/residents",
        "resident/role",
        "student/students",
        "student/degree",
    }
    groups = {spec.group_name for spec in specs.values()}
    assert groups == {*CONCEPTS, "occupancy", "staging", *OF_NO_CONCEPT}
    assert not [name for name, spec in specs.items() if "broken" in spec.kinds]
    for name, spec in specs.items():
        assert spec.description, name
        if spec.group_name in CONCEPTS:
            assert spec.automation_condition is not None, name
    graph = found.resolve_asset_graph()
    below = graph.get_ancestor_asset_keys(dg.AssetKey(["student", "degree"]))
    assert {"session_source", "device/device_type", "people/people", "resident/role"} <= {
        "/".join(key.path) for key in below
    }
    sensors = {sensor.name for sensor in found.sensors or ()}
    assert sensors == {
        "occupancy_automation",
        "session_source_observer",
        "definitions_automation",
    }


def test_the_occupancy_assets_and_checks_are_these() -> None:
    graph = occupancy_definitions(get_settings()).resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "session_source",
        "sessions",
        "source_occupancy",
        "derived_occupancy",
        "days_and_encounters",
    }
    assert {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys} == {
        "sessions:sessions__rejected_share",
        "source_occupancy:source_occupancy__within_devices",
        "source_occupancy:source_occupancy__wider_bins_hold_narrower",
        "derived_occupancy:derived_occupancy__within_devices",
        "derived_occupancy:derived_occupancy__wider_bins_hold_narrower",
        "derived_occupancy:derived_occupancy__between_children",
    }


def test_every_occupancy_asset_has_a_description() -> None:
    for spec in occupancy_definitions(get_settings()).resolve_all_asset_specs():
        assert spec.group_name == "occupancy"
        assert spec.description
        assert spec.description.startswith("One ")  # its grain
        if spec.key.to_user_string() != "session_source":
            assert spec.owners
            assert spec.automation_condition is not None
            assert "dagster/column_schema" in spec.metadata


@pytest.mark.slow
def test_loading_them_imports_nothing_heavy(stack: Settings) -> None:
    code = (
        "from tippers_dagster.definitions import defs; defs(); import sys; "
        f"found = [name for name in {HEAVY} if name in sys.modules]; "
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_database_nothing_is_loaded(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tippers_dagster.errors import TippersError

    monkeypatch.setenv("TIPPERS_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:1/none")
    monkeypatch.setattr("tippers_dagster.graph.load.WAIT_SECONDS", 0)
    get_settings.cache_clear()
    with pytest.raises(TippersError, match="warehouse is unavailable") as caught:
        defs()
    assert "secret" not in str(caught.value)
