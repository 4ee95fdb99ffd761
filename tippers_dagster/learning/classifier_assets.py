"""An asset for each classifier: trains and ranks its models, and registers the best one."""

from collections.abc import Sequence
from functools import partial

import dagster as dg

from tippers_dagster.automation.computation import Computation, DefinitionAsset, definition_assets
from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.automation.state import AssetState
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.learning import describe
from tippers_dagster.learning.describe import CLASSIFIER_CHECKS
from tippers_dagster.learning.held_out import held_out_key
from tippers_dagster.learning.mlflow_log import log_classifier
from tippers_dagster.learning.results import make_result, record_result
from tippers_dagster.learning.work import (
    VERSION,
    all_there,
    same_training,
    train_classifier,
    write_held_out,
)
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings

TRAINED_ON = "trained_on"
"""The recorded detail with the fingerprint of what the models were trained on."""


def classifier_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The refresh node of each classifier, which depends on index, label model and features.

    Gold labels are not included: nothing is learned from them, so a new gold label needs no new
    training. Comparisons with gold labels read the current ones.
    """
    return [_node(catalog, definition) for definition in catalog.of_kind(Kind.CLASSIFIER)]


def _node(catalog: Catalog, definition: Definition) -> Node:

    ref, body = definition.ref, definition.body
    assert isinstance(body, Classifier)
    labels = catalog.model_labels(ref)
    # How a challenger is judged does not affect training: the margin belongs to the champion.
    text = body.model_dump_json(exclude={"promotion_margin"})
    deps = tuple(dep.asset_path for dep in catalog.dependencies(ref))
    return Node(ref.asset_path, digest("classifier", str(VERSION), text, *labels), deps)


def classifier_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid classifier."""
    plan = partial(_classifier, catalog)
    return definition_assets(settings, catalog, Kind.CLASSIFIER, nodes, plan)


def _classifier(catalog: Catalog, definition: Definition) -> DefinitionAsset:

    return DefinitionAsset(
        grain="One row per model of the bank, ranked by cross-validation; the best one is "
        "registered in MLflow as challenger.",
        kinds={"classifier", "scikitlearn", "mlflow"},
        checks=CLASSIFIER_CHECKS,
        compute=partial(_train, catalog, definition.ref),
        unchanged=partial(_unchanged, catalog, definition.ref),
        experiment=str(definition.ref),
    )


def _unchanged(catalog: Catalog, ref: Ref, work: Computation, state: AssetState) -> bool:
    """Whether the last training was of the same rows, and its results are still there."""
    settings, details = work.settings, state.details
    return same_training(settings, catalog, ref, details.get(TRAINED_ON)) and all_there(
        settings, ref, details.get("registered")
    )


def _train(catalog: Catalog, ref: Ref, work: Computation) -> None:
    """Read features and labels, train and rank the bank, write and register the result."""
    settings, run_id, version = work.settings, work.run_id, work.version
    made, parts = train_classifier(settings, catalog, ref, work.context.log.info)
    work.replacing()
    write_held_out(settings, ref, made)
    plots = describe.classifier_plots(made)
    registered = log_classifier(settings, work.log, made, catalog, ref, version, run_id, plots)
    result = make_result(
        catalog,
        ref,
        made,
        version,
        run_id,
        work.seconds,
        mlflow_run=work.log.run_id,
        registered=registered,
    )
    record_result(settings, result)
    place = open_lake(settings).uri(held_out_key(ref))
    metadata = describe.classifier_metadata(result, plots, place, work.log.url)
    details = {**describe.state_details(result), TRAINED_ON: parts.state}
    checks = describe.classifier_checks(work.asset, made, result)
    work.succeeded(len(result.models), details, metadata, checks=checks)
    parts.forget()
