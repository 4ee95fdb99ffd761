"""Compares classifiers with the label models that they learned from, using the simulated truth.

Only held-out entities count, including those with an unconfident label or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.source.schema import TRUTH_DEVICE, TRUTH_PERSON, source_tables
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier, Kind
from tippers_dagster.catalog.model import Definition
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.demo.levels import LEVELS, Level
from tippers_dagster.labelling.evaluate import Scores, score
from tippers_dagster.learning.errors import NotTrained
from tippers_dagster.learning.gold import match_labels
from tippers_dagster.learning.results import last_result, read_held_out_predictions
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings


@dataclass(frozen=True, eq=False)
class ClassifierResult:
    """Scores of a classifier and its label model on the same held-out entities.

    Attributes
    ----------
    name, label_model
        Such as ``device.kind`` and ``device.device_type``.
    entities
        Number of held-out entities whose true type is one of the labels.
    best
        The model that ranks first by cross-validation, which does not use the truth.
    by_label_model, by_majority_class
        Scores of the label model (an entity without a label counts as wrong), and of predicting the
        majority class of the training set for all.
    by_model
        Scores of each model of the bank, in the order of the ranking.
    """

    name: str
    label_model: str
    entities: int
    best: str
    by_label_model: Scores
    by_majority_class: Scores
    by_model: Mapping[str, Scores]


def evaluate_classifiers(settings: Settings) -> list[ClassifierResult]:
    """Results for trained classifiers of the label models in ``demo/levels.py``."""
    catalog = load_catalog(settings)
    levels = {f"{level.concept}.{level.label_model}": level for level in LEVELS}
    found = []
    for definition in catalog.of_kind(Kind.CLASSIFIER):
        level = levels.get(_label_model(catalog, definition))
        if level is None:
            continue
        try:
            result = _evaluate(settings, catalog, definition, level)
        except NotTrained:
            continue  # its label model may have no labels on this campus
        if result.entities:
            found.append(result)
    return found


def _label_model(catalog: Catalog, definition: Definition) -> str:
    assert isinstance(definition.body, Classifier)
    return str(catalog.resolve(definition.body.label_model, definition.ref.concept).ref)


def _evaluate(
    settings: Settings, catalog: Catalog, definition: Definition, level: Level
) -> ClassifierResult:
    ref = definition.ref
    result, judged = last_result(settings, ref), read_held_out_predictions(settings, catalog, ref)
    truth = _truth(settings, catalog.key_column(ref), level, judged.keys, judged.labels)
    known = truth >= 0
    true, labels = truth[known].astype(np.int64), len(judged.labels)

    def scores(given: np.ndarray) -> Scores:
        return score(true, given[known].astype(np.int64), labels)

    majority = judged.labels.index(result.details["majority"])
    return ClassifierResult(
        name=str(ref),
        label_model=_label_model(catalog, definition),
        entities=len(true),
        best=result.best,
        by_label_model=scores(judged.label_model),
        by_majority_class=scores(np.full(len(truth), majority)),
        by_model={
            one.model: scores(judged.models[one.model])
            for one in result.models
            if one.model in judged.models
        },
    )


def _truth(
    settings: Settings, key: str, level: Level, keys: pa.Array, labels: tuple[str, ...]
) -> np.ndarray:
    """int8 [n]: the true labels of devices, by their ids in the lake; -1 if unknown."""
    devices, people = (source_tables(settings)[kind].sql for kind in (TRUTH_DEVICE, TRUTH_PERSON))
    rows = read_arrow(
        settings,
        f"SELECT d.mac_address, {level.column} AS truth FROM {devices} d "
        f"LEFT JOIN {people} p USING (person_id)",
    )
    label_of = {type_: label for label, types in level.truth.items() for type_ in types}
    given = [label_of.get(type_) for type_ in rows["truth"].to_pylist()]
    return match_labels(settings, key, rows["mac_address"], given, keys, labels)
