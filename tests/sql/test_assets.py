"""dbt models as assets, in real runs on a real database."""

import json
from collections.abc import Sequence
from functools import partial

import dagster as dg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.kills import POINTS, leaves_nothing_fresh
from tests.sql.definitions import MACS, catalog, fill_source, rule
from tippers_dagster.automation.nodes import Node, digest, in_dependency_order
from tippers_dagster.automation.state import load_states, recorder
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.assets import dbt_assets
from tippers_dagster.sql.nodes import dbt_nodes
from tippers_dagster.sql.project import rendered_project

LABELS = Node(("device", "type"), digest("labels"), (("device", "devices"),))


def labels_asset(settings: Settings, nodes: Sequence[Node]) -> dg.AssetsDefinition:
    """Replaces a label model: the device with the longest sessions is B, all others are A."""

    @dg.asset(key=["device", "type"], deps=[["device", "devices"]])
    def label_model(context: dg.AssetExecutionContext) -> None:
        found = recorder(settings, nodes, context.run.run_id)
        with warehouse_engine(settings).begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS labels"))
            connection.execute(sa.text("DROP TABLE IF EXISTS labels.device__type CASCADE"))
            connection.execute(
                sa.text(
                    "CREATE TABLE labels.device__type AS SELECT mac_address, "
                    f"CASE WHEN mac_address = '{MACS[-1]}' THEN 'B' ELSE 'A' END AS label, "
                    "0.9 AS confidence FROM indexes.device__devices"
                )
            )
        found.succeeded(LABELS.key)

    return label_model


class Deployment:
    """The assets of a catalog, ready to be materialised in this process."""

    def __init__(self, settings: Settings, found: Catalog) -> None:
        self.settings = settings
        project = rendered_project(settings, found)
        assert not project.broken, project.broken
        self.nodes = in_dependency_order([*dbt_nodes(project), LABELS])
        self.defs = dg.Definitions(
            assets=[
                *dbt_assets(settings, project, self.nodes),
                labels_asset(settings, self.nodes),
            ],
            executor=dg.in_process_executor,
        )

    def materialize(self, *names: str) -> dg.ExecuteInProcessResult:
        job = self.defs.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(name.split("/")) for name in names] or None
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(
                instance=instance, raise_on_error=False, asset_selection=keys
            )

    def recorded(self) -> dict[str, str | None]:
        return {name: state.version for name, state in load_states(self.settings).items()}


def metadata(result: dg.ExecuteInProcessResult, name: str) -> dict[str, object]:
    (found,) = [
        e.step_materialization_data.materialization
        for e in result.get_asset_materialization_events()
        if e.asset_key == dg.AssetKey(name.split("/"))
    ]
    return {n: value.value for n, value in found.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    user = event.step_failure_data.user_failure_data
    assert user is not None
    return user.description


@pytest.mark.slow
@pytest.mark.second_engine
def test_dbt_then_python_then_dbt_in_one_run(bare: Settings) -> None:
    fill_source(bare)
    deployment = Deployment(bare, catalog())
    result = deployment.materialize()
    assert result.success

    # Everything is recorded with its version, and everything is up to date.
    versions = deployment.recorded()
    assert {n.name for n in deployment.nodes if n.source is None} == set(versions)
    assert all(versions.values())

    # Dagster's metadata.
    told = metadata(result, "device/long")
    assert told["dagster/row_count"] == len(MACS)
    columns = [(c.name, c.type) for c in told["dagster/column_schema"].columns]  # type: ignore[attr-defined]
    assert ("mac_address", "text") in columns
    assert ("hours", "numeric") in columns
    assert "column_statistics" in told
    assert told["dagster/uri"].endswith("rules/device__long/data.parquet")  # type: ignore[attr-defined]
    assert "dagster/column_schema" in metadata(result, "staging/int_sessions")
    assert metadata(result, "device/chosen")["dagster/row_count"] == len(MACS) - 1
    assert all(checks(result).values())
    assert len(checks(result)) >= 3 + 3 + 3 + 2
    event = next(
        e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "long"
    )
    tags = event.step_materialization_data.materialization.tags or {}
    assert versions["device/long"] in tags.values()

    # The lake contains device ids, but no MAC address.
    lake = open_lake(bare)
    table = lake.read_table(definition_key("rules", "device", "long"))
    assert table.column_names == ["device_id", "hours", "sessions", "room"]
    ids = pseudonymise(bare, pa.table({"mac_address": list(MACS)}))["device_id"].to_pylist()
    by_id = dict(zip(table["device_id"].to_pylist(), table["hours"].to_pylist(), strict=True))
    assert by_id == {device: n + 1.0 for n, device in enumerate(ids)}
    chosen = lake.read_table(definition_key("indexes", "device", "chosen"))
    assert set(chosen["device_id"].to_pylist()) == set(ids[:-1])
    assert lake.read_table(definition_key("features", "device", "numbers")).num_rows == 5

    # A single asset.
    result = deployment.materialize("device/long")
    assert result.success
    assert [e.asset_key.path for e in result.get_asset_materialization_events()] == [
        ["device", "long"]
    ]
    assert deployment.recorded() == versions


@pytest.mark.slow
@pytest.mark.second_engine
def test_failures_are_recorded_with_reasons_and_do_not_stop_others(bare: Settings) -> None:
    fill_source(bare)
    twice = rule(
        "SELECT mac_address FROM int_sessions WHERE mac_address IN (:index_values)", name="twice"
    )
    strange = rule(
        "SELECT mac_address || 'x' AS mac_address FROM devices WHERE mac_address <> ''",
        name="strange",
    )
    divided = rule(
        "SELECT mac_address, 1 / (length(mac_address) - 17) FROM devices", name="divided"
    )
    leaking = rule("SELECT mac_address, mac_address AS other FROM devices", name="leaking")
    deployment = Deployment(bare, catalog(twice, strange, divided, leaking))
    result = deployment.materialize()
    assert not result.success

    states = load_states(bare)
    assert states["device/long"].version
    reasons = {name: states[f"device/{name}"].error or "" for name in FAILING}
    for name, reason in FAILING.items():
        assert states[f"device/{name}"].version is None
        assert reason in reasons[name], reasons[name]
    assert all(name in failure(result) for name in FAILING)
    assert "Traceback" not in " ".join(reasons.values())

    # The failed checks name examples.
    found = {e.check_name: e for e in result.get_asset_check_evaluations() if not e.passed}
    assert len(found) == 2
    (once,) = [e for name, e in found.items() if name.startswith("one_row_per_entity")]
    assert once.asset_key == dg.AssetKey(["device", "twice"])
    assert once.metadata["failing_rows"].value == len(MACS)
    examples = once.metadata["examples"].value
    assert len(examples) == 5  # type: ignore[arg-type]
    assert not [mac for mac in MACS if mac in json.dumps(examples)]
    assert "device_id" in examples[0]  # type: ignore[index]
    assert "select" in str(once.metadata["query"].value).lower()


FAILING = {
    "twice": "one_row_per_entity",
    "strange": "only_entities_of_index",
    "divided": "division by zero",
    "leaking": "contains MAC addresses",
}


@pytest.mark.slow
@pytest.mark.second_engine
def test_a_killed_run_records_nothing_as_made(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the table is new, but its file in the lake is of the old one."""
    fill_source(bare)
    deployment = Deployment(bare, catalog())
    assert deployment.materialize().success
    for point in POINTS:
        again = partial(deployment.materialize, "device/long")
        leaves_nothing_fresh(monkeypatch, bare, "device/long", again, point)
