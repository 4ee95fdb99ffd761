"""What Dagster sees: a change of it is meant, or a mistake."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg

from tippers_dagster.definitions import defs


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs())


def test_the_assets_and_checks_are_these() -> None:
    graph = defs().resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "session_source",
        "sessions",
        "source_occupancy",
        "derived_occupancy",
    }
    assert {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys} == {
        "sessions:sessions__rejected_share",
        "source_occupancy:source_occupancy__within_devices",
        "source_occupancy:source_occupancy__wider_bins_hold_narrower",
        "derived_occupancy:derived_occupancy__within_devices",
        "derived_occupancy:derived_occupancy__wider_bins_hold_narrower",
        "derived_occupancy:derived_occupancy__between_children",
    }


def test_every_asset_says_what_it_is() -> None:
    for spec in defs().resolve_all_asset_specs():
        assert spec.group_name == "occupancy"
        assert spec.description
        assert spec.description.startswith("One ")  # its grain
        if spec.key.to_user_string() != "session_source":
            assert spec.owners
            assert spec.automation_condition is not None
            assert "dagster/column_schema" in spec.metadata


def test_loading_them_touches_no_database() -> None:
    code = "from tippers_dagster.definitions import defs; defs(); import sys; " + (
        "assert 'matplotlib' not in sys.modules; "
        "from tippers_dagster.local.databases import databases; "
        "assert databases.cache_info().misses == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
