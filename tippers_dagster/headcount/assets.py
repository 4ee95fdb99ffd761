"""People counts, as assets."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, PeopleCount
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.headcount.tables import head_count
from tippers_dagster.learning.keys import predictions_path
from tippers_dagster.refresh.nodes import Node, Table, digest
from tippers_dagster.refresh.specs import assets_of_kind, definition_spec, one_asset, recording
from tippers_dagster.refresh.state import Recorder
from tippers_dagster.settings import Settings

HEAD_COUNTS = Node(("source", "head_count"), source=Table(str(head_count.schema), head_count.name))
"""The head counts that people counts are calibrated on."""


def headcount_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The nodes of all people counts, with what each depends on; broken definitions have none.

    They do not depend on sessions: a calibration is valid until labels or head counts change.
    """
    from tippers_dagster.headcount.work import VERSION

    found = catalog.of_kind(Kind.PEOPLE_COUNT)
    nodes = [_node(catalog, definition, VERSION) for definition in found]
    return [HEAD_COUNTS, *nodes] if nodes else []


def _node(catalog: Catalog, definition: Definition, version: int) -> Node:
    body = definition.body
    assert isinstance(body, PeopleCount)
    deps = (_labels_path(dep) for dep in catalog.dependencies(definition.ref))
    parts = ("people count", str(version), body.model_dump_json())
    return Node(definition.ref.asset_path, digest(*parts), (*deps, HEAD_COUNTS.key))


def _labels_path(ref: Ref) -> tuple[str, ...]:
    """The asset with the labels of devices; for a classifier, its predictions."""
    return predictions_path(ref) if ref.kind == Kind.CLASSIFIER else ref.asset_path


def headcount_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid definition."""
    make = partial(_people_count, settings, catalog)
    return assets_of_kind(catalog, Kind.PEOPLE_COUNT, nodes, make)


def _people_count(
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> dg.AssetsDefinition:
    from tippers_dagster.headcount.describe import CHECKS

    grain = "One calibration, which converts devices in any space and bin into people."
    node, kinds = nodes[definition.ref.asset_path], {"people_count", "postgres"}
    return one_asset(
        definition_spec(catalog, node, definition, grain, kinds=kinds),
        CHECKS,
        lambda context: _calibrate(context, settings, nodes, definition),
    )


def _calibrate(
    context: dg.AssetExecutionContext,
    settings: Settings,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> Iterator[Any]:
    """Fit, write, log and record; a failure is recorded, and its MLflow run FAILED."""
    from tippers_dagster.experiments.runs import mlflow_run
    from tippers_dagster.headcount.describe import people_checks

    key = definition.ref.asset_path
    with (
        recording(settings, context, list(nodes.values()), key) as record,
        mlflow_run(settings, context, str(definition.ref)) as log,
    ):
        calibrated, result = _calibrated(settings, definition, record, context.run.run_id, log)
    if log.problem is not None:
        context.log.error("The calibration is stored, but not completely logged: %s", log.problem)
    if calibrated.reason is not None:
        context.log.warning("Not calibrated: %s", calibrated.reason)
    yield result
    yield from people_checks(dg.AssetKey(key), calibrated, log.problem)


def _calibrated(
    settings: Settings, definition: Definition, record: Recorder, run_id: str, log: Any
) -> tuple[Any, dg.MaterializeResult[None]]:
    from tippers_dagster.headcount import describe
    from tippers_dagster.headcount.reading import compared_key
    from tippers_dagster.headcount.work import calibrate_people, write_calibrated
    from tippers_dagster.lake import open_lake

    started = time.monotonic()
    key, body = definition.ref.asset_path, definition.body
    assert isinstance(body, PeopleCount)
    version = record.version(key)
    calibrated = calibrate_people(settings, body)
    record.replacing(key)
    write_calibrated(settings, definition.ref.name, version, run_id, calibrated)
    plot = describe.people_plot(calibrated)
    place = open_lake(settings).uri(compared_key(definition.ref.name))
    log.log(
        params=describe.mlflow_params(calibrated),
        metrics=describe.figures(calibrated),
        tags={"version": version, "dagster_asset": "/".join(key)},
        files=describe.mlflow_files(calibrated, plot),
    )
    result: dg.MaterializeResult[None] = dg.MaterializeResult(
        asset_key=dg.AssetKey(key),
        metadata=describe.people_metadata(calibrated, place, plot, log.url),
        data_version=dg.DataVersion(version),
    )
    seconds = time.monotonic() - started
    details = describe.people_details(calibrated, log.run_id)
    record.succeeded(key, len(calibrated.observed), seconds, details)
    return calibrated, result
