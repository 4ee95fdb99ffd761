"""What makes a model stale, and how models appear in Dagster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from tests.conftest import REPOSITORY
from tests.sql.definitions import LONG, catalog, rule
from tippers_dagster.automation.nodes import Table
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.sql.assets import dbt_assets
from tippers_dagster.sql.nodes import apart_from_added, dbt_nodes, key_of
from tippers_dagster.sql.project import rendered_project
from tippers_dagster.sql.translator import Translator


def contents(settings: Settings, found: Catalog) -> dict[str, str]:
    return {n.name: n.content for n in dbt_nodes(rendered_project(settings, found))}


def differing(a: dict[str, str], b: dict[str, str]) -> set[str]:
    return {name for name in a if a[name] != b[name]}


@pytest.mark.slow
def test_only_changed_models_have_other_content(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(bare, catalog())
    assert set(before) >= {"sessions", "source/space", "staging/int_sessions", "device/long"}

    told = replace(LONG, description="Told otherwise.", owner="team:other")
    assert contents(bare, catalog(told)) == before

    other = rule(LONG.body.sql.replace("count(*)", "count(*) + 1"))  # type: ignore[attr-defined]
    assert differing(before, contents(bare, catalog(other))) == {"device/long"}

    # A setting makes models stale that use it, directly or in a macro.
    monkeypatch.setenv("TIPPERS_TIMEZONE", "Europe/Berlin")
    get_settings.cache_clear()
    assert differing(before, contents(get_settings(), catalog())) == {"staging/space_occupancy"}

    # On another engine, their inputs are elsewhere.
    monkeypatch.setenv("TIPPERS_SQL_ENGINE", "duckdb")
    get_settings.cache_clear()
    models = {n.name for n in dbt_nodes(rendered_project(bare, catalog())) if n.source is None}
    assert differing(before, contents(get_settings(), catalog())) == models


def test_added_columns_are_no_part_of_what_others_read() -> None:
    for name in ("int_sessions", "stg_user_ap_trajectory"):
        path = REPOSITORY / "dbt_project" / "models" / "staging" / f"{name}.sql"
        lines = path.read_text().splitlines(keepends=True)
        before = "".join(line for line in lines if "added(" not in line)
        assert apart_from_added("".join(lines)) == (before.rstrip("\n") + "\n", ["sessions.kept"])
    assert apart_from_added("select 1") == ("select 1", [])


def test_nodes_and_assets_agree(bare: Settings) -> None:
    project = rendered_project(bare, catalog())
    nodes = {node.name: node for node in dbt_nodes(project)}
    assert nodes["source/space"].source == Table("source", "space")
    log = nodes["sessions"].source
    assert log is not None
    assert "log_fingerprint" in (log.query or "")
    assert nodes["staging/int_sessions"].deps == (("sessions",), ("staging", "int_places"))
    assert nodes["staging/int_devices"].deps == (("sessions",), ("vendor_prefix",))
    registry = nodes["vendor_prefix"].source
    assert registry is not None
    assert (registry.schema, registry.name) == ("tippers", "vendor_prefix")
    assert nodes["staging/space_occupancy"].deps == (("derived_occupancy",),)
    assert nodes["device/long"].deps == (("device", "devices"), ("staging", "int_sessions"))
    assert ("device", "type") in nodes["device/chosen"].deps

    (assets,) = dbt_assets(bare, project, list(nodes.values()))
    keys = {"/".join(key.path) for key in assets.keys}
    assert keys == {name for name, node in nodes.items() if node.source is None}
    for spec in assets.specs:
        node = nodes["/".join(spec.key.path)]
        assert {tuple(dep.asset_key.path) for dep in spec.deps} == set(node.deps)
        assert spec.code_version == node.content
        assert spec.automation_condition is not None
    spec = next(s for s in assets.specs if s.key == dg.AssetKey(["device", "devices"]))
    assert spec.group_name == "device"
    assert spec.owners == ["ada@example.org"]
    assert spec.kinds == {"dbt", "postgres", "index"}
    assert spec.tags["tippers/level"] == "1"
    assert (spec.description or "").startswith("One row per device.")
    checks = [c for c in assets.check_specs if c.asset_key == dg.AssetKey(["device", "long"])]
    assert len(checks) == 3


def resource(source: str, table: str, schema: str = "x") -> dict[str, Any]:
    return {
        "resource_type": "source",
        "source_name": source,
        "name": table,
        "schema": schema,
        "identifier": f"{table}_there",
    }


def test_sources_have_the_keys_of_their_assets() -> None:
    assert key_of(resource("lake", "sessions")) == ("sessions",)
    assert key_of(resource("lake", "device_address")) == ("sessions",)
    assert key_of(resource("lake", "occupancy")) == ("derived_occupancy",)
    assert key_of(resource("source", "space")) == ("source", "space")
    assert key_of(resource("labels", "device__device_type")) == ("device", "device_type")
    assert key_of(resource("connection_hr", "people")) == ("connection", "hr", "people")
    synced = resource("source", "space", "connection_source")
    assert key_of(synced) == ("connection", "source", "space_there")


@pytest.mark.parametrize(
    ("owner", "shown"),
    [
        ("ada@example.org", ["ada@example.org"]),
        ("team:data", ["team:data"]),
        ("Ada Lovelace", None),
        ("team:", None),
        ("a@b", None),
        ("ada@example.photography", None),
        ("-ada@example.org", None),
        ("ada@exämple.org", None),
        ("x y@example.org", None),
        ("", None),
    ],
)
def test_only_valid_owners_are_passed_to_dagster(owner: str, shown: list[str] | None) -> None:
    model = {"config": {"meta": {"owner": owner}}}
    assert Translator([]).get_owners(model) == shown
    if shown:
        dg.AssetSpec("x", owners=shown)
