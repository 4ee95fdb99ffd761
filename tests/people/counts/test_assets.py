"""The asset of a people count, on a real Dagster instance and MLflow store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.kills import POINTS, leaves_nothing_fresh
from tests.labelling.small import QUIET
from tests.people.counts.campus import count_heads
from tippers_dagster.automation.nodes import Node, wanted_versions
from tippers_dagster.automation.state import load_states
from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Concept,
    ConceptValue,
    Condition,
    Index,
    Kind,
    LabellingFunction,
    LabelModel,
    PeopleCount,
    Rule,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.people.counts.assets import HEAD_COUNTS, headcount_assets, headcount_nodes
from tippers_dagster.people.counts.reading import read_people_count
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

LABELS = ("LAPTOP", "PHONE")
TYPES = Node(("device", "device_type"), "1")
NAME = "people_count/phones"


def catalog(body: PeopleCount | None = None) -> Catalog:
    def of(kind: Kind, name: str, body: object) -> Definition:
        return Definition(Ref("device", name, kind), body)

    functions = [
        of(
            Kind.LABELLING_FUNCTION,
            f"f{n}",
            LabellingFunction(
                rule="usage",
                labels=(label,),
                conditions=(Condition(when=f"hours > {n}", label=label),),
            ),
        )
        for n, label in enumerate((*LABELS, "PHONE"))
    ]
    values = tuple(ConceptValue(name=label) for label in LABELS)
    body = body or PeopleCount(by="device.device_type", labels=("PHONE",))
    return Catalog(
        [
            Definition(Ref("", "device", Kind.CONCEPT), Concept(values=values)),
            of(Kind.INDEX, "devices", Index(sql="SELECT mac_address FROM int_sessions")),
            of(Kind.RULE, "usage", Rule(index="devices", sql="SELECT 1")),
            *functions,
            of(
                Kind.LABEL_MODEL,
                "device_type",
                LabelModel(index="devices", labelling_functions=("f0", "f1", "f2")),
            ),
            Definition(Ref("", "phones", Kind.PEOPLE_COUNT), body, description="By phones."),
        ]
    )


def run(settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    nodes = [TYPES, *headcount_nodes(settings, catalog())]
    assets = headcount_assets(settings, catalog(), nodes)
    return dg.materialize(assets, instance=instance, raise_on_error=False, run_config=QUIET)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def mlflow_runs(settings: Settings) -> list[Run]:
    client = MlflowClient(settings.mlflow_url)
    experiment = client.get_experiment_by_name("people_count.phones")
    return list(client.search_runs([experiment.experiment_id]))


def versions(settings: Settings, nodes: Sequence[Node]) -> dict[tuple[str, ...], str]:
    return wanted_versions(nodes, check_sources(settings, nodes, at_once=True))


def test_it_is_calibrated_recorded_and_logged(logged: Settings, tmp_path: Path) -> None:
    count_heads(logged, tmp_path / "heads.csv")
    with dg.instance_for_test() as instance:
        result = run(logged, instance)
        assert result.success
        (event,) = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
    assert metadata["state"].value == "calibrated"
    assert metadata["head_counts"].value == metadata["dagster/row_count"].value == 504
    assert metadata["mae"].value < metadata["uncalibrated_mae"].value
    assert 0.8 <= metadata["coverage"].value <= 1
    assert set(checks(result)) == {
        "phones__enough_head_counts",
        "phones__coverage_near_nominal",
        "phones__ratio_plausible",
        "phones__logged_to_mlflow",
    }
    assert all(checks(result).values())
    made = read_people_count(logged, "phones")
    assert made.calibration is not None
    assert made.evaluation is not None
    state = load_states(logged)[NAME]
    assert state.version == made.version
    assert state.details["calibrated"] is True
    (of_mlflow,) = mlflow_runs(logged)
    assert of_mlflow.info.status == "FINISHED"
    assert of_mlflow.data.metrics["mae"] == pytest.approx(made.evaluation.calibrated.mae)


def test_without_head_counts_it_is_not_calibrated(campus: Settings) -> None:
    with dg.instance_for_test() as instance:
        result = run(campus, instance)
        assert result.success
        (event,) = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
    assert metadata["state"].value == "not calibrated"
    assert metadata["reason"].value == "There are no head counts."
    assert checks(result)["phones__enough_head_counts"] is False
    assert read_people_count(campus, "phones").calibration is None


def test_without_labels_it_fails_with_the_reason(logged: Settings) -> None:
    with warehouse_engine(logged).begin() as connection:
        connection.execute(sa.text("DROP TABLE labels.device__device_type"))
    with dg.instance_for_test() as instance:
        result = run(logged, instance)
    assert not result.success
    assert "device.device_type has no labels yet" in load_states(logged)[NAME].error
    assert [found.info.status for found in mlflow_runs(logged)] == ["FAILED"]


def test_it_is_stale_when_head_counts_labels_or_its_body_change(
    stack: Settings, tmp_path: Path
) -> None:
    def now(labels: str = "1", body: PeopleCount | None = None) -> str:
        types = Node(TYPES.key, labels)
        nodes = [types, *headcount_nodes(stack, catalog(body))]
        assert {node.key: node.deps for node in nodes}["people_count", "phones"] == (
            TYPES.key,
            HEAD_COUNTS.key,
        )
        return versions(stack, nodes)["people_count", "phones"]

    first = now()
    assert now() == first
    assert now(labels="2") != first
    assert now(body=PeopleCount(by="device.device_type", labels=("LAPTOP",))) != first
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.text("INSERT INTO tippers.head_count VALUES ('r1', now(), 0, 3, 'ada', now())")
        )
    with warehouse_engine(stack).connect() as connection:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    warehouse_engine(stack).dispose()  # PostgreSQL counts when a connection is done
    assert now() != first


def test_broken_definitions_say_why() -> None:
    def problem(**body: object) -> str:
        found = catalog(PeopleCount(**body)).problems
        return next(iter(found.values()), "")

    assert problem(by="device.device_type", labels=("PHONE",)) == ""
    assert problem() == ""
    assert "set by too" in problem(labels=("PHONE",))
    assert "which devices are counted" in problem(by="device.device_type")
    assert "TABLET is not a label of device.device_type" in problem(
        by="device.device_type", labels=("TABLET",)
    )


def test_a_run_that_dies_leaves_the_calibration_stale(
    campus: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_heads(campus, tmp_path / "heads.csv")
    with dg.instance_for_test() as instance:
        assert run(campus, instance).success
        for point in POINTS:
            again = partial(run, campus, instance)
            leaves_nothing_fresh(monkeypatch, campus, NAME, again, point)
