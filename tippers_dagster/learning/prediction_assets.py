"""An asset for each classifier: the predictions of its champion."""

from collections.abc import Sequence
from functools import partial

import dagster as dg

from tippers_dagster.automation.computation import Computation, DefinitionAsset, definition_assets
from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.learning.drift_checks import DRIFT_CHECKS
from tippers_dagster.learning.keys import champion_path, predictions_path
from tippers_dagster.learning.naming import registered_name
from tippers_dagster.settings import Settings

VERSION = 1
"""Raise it when the same model and features would give other rows."""


def prediction_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The refresh node of each classifier's predictions."""
    return [_node(catalog, definition) for definition in catalog.of_kind(Kind.CLASSIFIER)]


def _node(catalog: Catalog, definition: Definition) -> Node:
    ref, body = definition.ref, definition.body
    assert isinstance(body, Classifier)
    read = [catalog.resolve(name, ref.concept).ref for name in (body.index, *body.features)]
    deps = dict.fromkeys((*(r.asset_path for r in read), champion_path(ref)))
    labels = catalog.labels(ref.concept)
    named = [str(r) for r in read]
    return Node(
        predictions_path(ref), digest("predictions", str(VERSION), *named, *labels), tuple(deps)
    )


def prediction_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid classifier."""
    plan = partial(_predictions, catalog)
    return definition_assets(settings, catalog, Kind.CLASSIFIER, nodes, plan, predictions_path)


def _predictions(catalog: Catalog, definition: Definition) -> DefinitionAsset:
    return DefinitionAsset(
        grain=f"One row per entity of the index: the label that the champion of {definition.ref} "
        "predicts, with probabilities and the model's version.",
        kinds={"classifier", "postgres"},
        checks=DRIFT_CHECKS,
        compute=partial(_predict, catalog, definition.ref),
        described=False,
    )


def _predict(catalog: Catalog, ref: Ref, work: Computation) -> None:
    """Read the champion and the entities, predict, write, and check for drift."""
    from tippers_dagster.learning.describe_predictions import (
        drift_checks,
        prediction_details,
        prediction_metadata,
    )
    from tippers_dagster.learning.drift_records import find_drift, record_drift
    from tippers_dagster.learning.models import load_model
    from tippers_dagster.learning.predictions import (
        predict,
        read_entities_with_features,
        write_predictions,
    )
    from tippers_dagster.learning.registry import champion_of

    settings, name, version = work.settings, registered_name(ref), work.version
    champion = champion_of(settings, name)
    model = load_model(settings, name, champion.number)
    entities = read_entities_with_features(settings, catalog, ref)
    rows = predict(model, entities, catalog.labels(ref.concept), version, work.run_id)
    work.replacing()
    write_predictions(settings, ref, entities.key_type, rows)
    drift = find_drift(settings, ref, champion.number, entities.features.columns, rows)
    record_drift(settings, name, champion.number, work.run_id, drift)
    metadata = prediction_metadata(settings, ref, entities.key_type, champion, rows, drift)
    work.succeeded(rows.num_rows, prediction_details(champion, rows, drift), metadata)
    work.report(*drift_checks(work.asset, drift))
