"""An asset for each classifier: trains and ranks its models, and registers the best one."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg

from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.automation.specs import assets_of_kind, definition_spec, one_asset, recording
from tippers_dagster.automation.state import Recorder
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.settings import Settings


def classifier_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The refresh node of each classifier, which depends on index, label model and features.

    Gold labels are not included: nothing is learned from them, so a new gold label needs no new
    training. Comparisons with gold labels read the current ones.
    """
    return [_node(catalog, definition) for definition in catalog.of_kind(Kind.CLASSIFIER)]


def _node(catalog: Catalog, definition: Definition) -> Node:
    from tippers_dagster.learning.work import VERSION

    ref, body = definition.ref, definition.body
    assert isinstance(body, Classifier)
    labels = catalog.model_labels(catalog.resolve(body.label_model, ref.concept).ref)
    # How a challenger is judged does not affect training: the margin belongs to the champion.
    text = body.model_dump_json(exclude={"promotion_margin"})
    deps = tuple(dep.asset_path for dep in catalog.dependencies(ref))
    return Node(ref.asset_path, digest("classifier", str(VERSION), text, *labels), deps)


def classifier_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per classifier that can work.

    Parameters
    ----------
    nodes
        The nodes of all assets, not only these; broken ones get no asset here.
    """
    make = partial(_classifier, settings, catalog)
    return assets_of_kind(catalog, Kind.CLASSIFIER, nodes, make)


def _classifier(
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> dg.AssetsDefinition:
    from tippers_dagster.learning.describe import CLASSIFIER_CHECKS

    ref = definition.ref
    grain = (
        "One row per model of the bank, ranked by cross-validation; the best one is registered in "
        "MLflow as challenger."
    )
    kinds = {"classifier", "scikitlearn", "mlflow"}
    spec = definition_spec(catalog, nodes[ref.asset_path], definition, grain, kinds=kinds)
    return one_asset(
        spec,
        CLASSIFIER_CHECKS,
        lambda context: _train(context, settings, catalog, nodes, ref),
    )


def _train(
    context: dg.AssetExecutionContext,
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    ref: Ref,
) -> Iterator[Any]:
    """Train, write, log and record; a failure is recorded, and the MLflow run marked FAILED."""
    from tippers_dagster.automation.mlflow_runs import mlflow_run
    from tippers_dagster.learning.describe import classifier_checks

    with (
        recording(settings, context, list(nodes.values()), ref.asset_path) as record,
        mlflow_run(settings, context, str(ref)) as log,
    ):
        made, result, event = _trained(context, settings, catalog, ref, record, log)
    if log.problem is not None:
        context.log.error("The models are trained, but not fully logged to MLflow: %s", log.problem)
    yield event
    yield from classifier_checks(dg.AssetKey(ref.asset_path), made, result, log.problem)


def _trained(
    context: dg.AssetExecutionContext,
    settings: Settings,
    catalog: Catalog,
    ref: Ref,
    record: Recorder,
    log: Any,
) -> tuple[Any, Any, dg.MaterializeResult[None]]:
    from tippers_dagster.learning import describe
    from tippers_dagster.learning.held_out import held_out_key
    from tippers_dagster.learning.mlflow_log import log_classifier
    from tippers_dagster.learning.results import make_result, record_result
    from tippers_dagster.learning.work import train_classifier, write_held_out
    from tippers_dagster.platform.lake import open_lake

    started = time.monotonic()
    run_id, version = context.run.run_id, record.version(ref.asset_path)
    made, parts = train_classifier(settings, catalog, ref, context.log.info)
    record.replacing(ref.asset_path)
    write_held_out(settings, ref, made)
    plots = describe.classifier_plots(made)
    registered = log_classifier(settings, log, made, catalog, ref, version, run_id, plots)
    seconds = time.monotonic() - started
    result = make_result(
        catalog, ref, made, version, run_id, seconds, mlflow_run=log.run_id, registered=registered
    )
    record_result(settings, result)
    event: dg.MaterializeResult[None] = dg.MaterializeResult(
        asset_key=dg.AssetKey(ref.asset_path),
        metadata=describe.classifier_metadata(
            result, plots, open_lake(settings).uri(held_out_key(ref)), log.url
        ),
        data_version=dg.DataVersion(version),
    )
    record.succeeded(ref.asset_path, len(result.models), seconds, describe.state_details(result))
    parts.forget()
    return made, result, event
