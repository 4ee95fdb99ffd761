"""dbt models as assets on DuckDB: what is recorded, stored and exported, and what fails."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tests.sql.definitions import MACS, catalog, rule
from tests.sql.test_assets import Deployment, checks, failure, metadata
from tippers_dagster.automation.state import load_states
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings
from tippers_dagster.sql.environment import dbt_environment
from tippers_dagster.sql.project import rendered_project
from tippers_dagster.sql.roles import ensure_roles
from tippers_dagster.sql.running import run_on_lake

FAILING = {
    "twice": "one_row_per_entity",
    "strange": "only_entities_of_index",
    "divided": "Division by zero",
    "large": "Out of Memory",
    "leaking": "contains MAC addresses",
}


@pytest.mark.slow
def test_dbt_then_python_then_dbt_in_one_run(lake: Settings) -> None:
    """What earlier steps and other assets made is read from the warehouse."""
    deployment = Deployment(lake, catalog())
    result = deployment.materialize()
    assert result.success
    assert {n.name for n in deployment.nodes if n.source is None} == set(deployment.recorded())
    assert all(deployment.recorded().values())
    assert all(checks(result).values())
    chosen = read_arrow(lake, "SELECT * FROM indexes.device__chosen ORDER BY 1")
    assert chosen["mac_address"].to_pylist() == list(MACS[:-1])
    numbers = read_arrow(lake, "SELECT * FROM features.device__numbers ORDER BY 1")
    assert numbers["seconds"].to_pylist() == [3 * 3600 * (n + 1) for n in range(5)]

    # A single asset.
    versions = deployment.recorded()
    assert deployment.materialize("device/long").success
    assert deployment.recorded() == versions


@pytest.mark.slow
def test_a_rule_that_does_not_name_its_index_is_computed_and_checked_alone(lake: Settings) -> None:
    plain = rule("SELECT mac_address, count(*) AS n FROM int_sessions GROUP BY 1", name="plain")
    deployment = Deployment(lake, catalog(plain))
    assert deployment.materialize("device/devices").success
    result = deployment.materialize("device/plain")
    assert result.success
    assert any(name.startswith("only_entities_of_index") for name in checks(result))
    assert deployment.recorded()["device/plain"]


@pytest.mark.slow
def test_failures_have_reasons_and_do_not_stop_others(lake: Settings) -> None:
    twice = rule("SELECT mac_address FROM int_sessions", name="twice")
    strange = rule("SELECT mac_address || 'x' AS mac_address FROM devices", name="strange")
    divided = rule(
        "SELECT mac_address, 1 / (length(mac_address) - 17) AS n FROM devices", name="divided"
    )
    large = rule(
        "SELECT mac_address, (SELECT count(DISTINCT i * 3) "
        "FROM generate_series(1, 500000000) t(i)) AS n FROM devices",
        name="large",
    )
    leaking = rule("SELECT mac_address, mac_address AS other FROM devices", name="leaking")
    lists = rule(
        "SELECT mac_address, array_agg(weekday || ',\"' ORDER BY weekday) AS days, "
        "max(end_time - start_time) AS longest FROM int_sessions "
        "WHERE mac_address IN (:index_values) GROUP BY 1",
        name="lists",
    )
    settings = lake.model_copy(update={"sql_memory_mb": 256, "sql_temporary_mb": 64})
    deployment = Deployment(settings, catalog(twice, strange, divided, large, leaking, lists))
    result = deployment.materialize()
    assert not result.success

    # What works is recorded with its version.
    states = load_states(settings)
    good = {n.name for n in deployment.nodes if n.source is None}
    good -= {f"device/{name}" for name in (*FAILING, "type", "chosen", "numbers")}
    assert good == {name for name, state in states.items() if state.version}
    told = metadata(result, "device/long")
    assert told["dagster/row_count"] == len(MACS)
    columns = [(c.name, c.type) for c in told["dagster/column_schema"].columns]  # type: ignore[attr-defined]
    assert columns == [
        ("mac_address", "text"),
        ("hours", "double precision"),
        ("sessions", "bigint"),
        ("room", "text"),
    ]
    assert metadata(result, "staging/int_sessions")["dagster/row_count"] == 3 * len(MACS)

    # The table is in the warehouse, and the lake has device ids only.
    stored = read_arrow(settings, "SELECT * FROM rules.device__long ORDER BY 1")
    assert stored["hours"].to_pylist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    table = open_lake(settings).read_table(definition_key("rules", "device", "long"))
    ids = pseudonymise(settings, pa.table({"mac_address": list(MACS)}))["device_id"].to_pylist()
    by_id = dict(zip(table["device_id"].to_pylist(), table["hours"].to_pylist(), strict=True))
    assert by_id == {device: n + 1.0 for n, device in enumerate(ids)}
    lists_stored = read_arrow(
        settings,
        "SELECT days[2] AS second, extract(epoch FROM longest)::integer AS longest "
        "FROM rules.device__lists ORDER BY 2",
    )
    assert lists_stored["second"].to_pylist() == ['2,"'] * len(MACS)
    assert lists_stored["longest"].to_pylist()[0] == 3600

    # What fails says why, and stops nothing else.
    for name, reason in FAILING.items():
        assert reason in (states[f"device/{name}"].error or ""), states[f"device/{name}"].error
        assert name in failure(result)
    failed = {e.check_name: e for e in result.get_asset_check_evaluations() if not e.passed}
    (once,) = [e for name, e in failed.items() if name.startswith("one_row_per_entity")]
    assert once.metadata["failing_rows"].value == len(MACS)
    assert len(once.metadata["examples"].value) == 5  # type: ignore[arg-type]
    assert not [mac for mac in MACS if mac in json.dumps(once.metadata["examples"].value)]
    assert sum(checks(result).values()) >= 11


def test_a_log_that_cannot_be_read_is_the_reason_of_each_model(lake: Settings) -> None:
    store = open_lake(lake)
    (key,) = store.list("place_days/")
    store.delete(key)
    deployment = Deployment(lake, catalog())
    assert not deployment.materialize("staging/int_place_days", "staging/int_regions").success
    states = load_states(lake)
    for name in ("int_place_days", "int_regions"):
        assert "although it is recorded" in (states[f"staging/{name}"].error or "")


def test_compiling_makes_no_table(lake: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    project = rendered_project(lake, catalog())
    target = lake.home_path / "dbt" / "target"
    ensure_roles(lake)
    environment = dbt_environment(lake, project.folder, target)
    assert run_on_lake(lake, project, ["compile", "--select", "device__long"], environment) == 0
    assert "storing" not in capfd.readouterr().out
    (compiled,) = target.rglob("compiled/**/device__long.sql")
    assert "int_sessions" in compiled.read_text()
