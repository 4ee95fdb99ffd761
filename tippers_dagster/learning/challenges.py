"""Decides about challengers: reads the held-out entities, and compares with the champion.

Call it within :func:`~tippers_dagster.learning.registry.deciding`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow.compute as pc

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.learning.drift import ColumnProfile, profile
from tippers_dagster.learning.features import FeatureRows, read_features
from tippers_dagster.learning.gold import gold_in_lake
from tippers_dagster.learning.held_out import read_held_out
from tippers_dagster.learning.models import LoadedModel, load_model
from tippers_dagster.learning.predictions import predicted_columns
from tippers_dagster.learning.promotion import NO_CHAMPION, HeldOut, PromotionResult, judge
from tippers_dagster.learning.registry import (
    Decision,
    ModelVersion,
    RegisteredModel,
    judged,
    record_and_apply,
)
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.mlflow.model_files import ModelRefused
from tippers_dagster.settings import Settings

LABEL = "label"
"""The name of the predicted column in profiles."""


def judge_challenger(
    settings: Settings, catalog: Catalog, ref: Ref, model: RegisteredModel, run_id: str
) -> Decision | None:
    """Decide about the challenger, and make it champion if it wins; None: nothing to decide.

    A version about which a decision was made, automatically or by a person, is not judged again:
    the next evaluation does not undo a rollback.

    Parameters
    ----------
    ref, model
        The classifier, and its registered versions.
    run_id
        The Dagster run that decides.

    Raises
    ------
    TippersError
        When the held-out entities or their features are missing, or MLflow is unavailable.
    """
    challenger = model.challenger
    if challenger is None or judged(settings, model.name, challenger.number):
        return None
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    features = _features(settings, catalog, ref)
    trained = load_model(settings, model.name, challenger.number)
    _keep_profile(settings, catalog, ref, trained, features)
    held = _held_out(settings, catalog, ref, features)
    champion, without = _champion(settings, model, challenger)
    result = judge(
        held,
        trained.model,
        champion,
        without=without,
        metric=body.promotion_metric,
        margin=body.promotion_margin,
    )
    return record_and_apply(settings, _decision(body, model, challenger, result, run_id))


def _champion(
    settings: Settings, model: RegisteredModel, challenger: ModelVersion
) -> tuple[Any | None, str]:
    """The trained champion, or the reason why there is none to compare with."""
    champion = model.champion
    if champion is None or champion.number == challenger.number:
        return None, NO_CHAMPION
    try:
        return load_model(settings, model.name, champion.number).model, NO_CHAMPION
    except ModelRefused as error:
        return None, error.message


def _decision(
    body: Classifier,
    model: RegisteredModel,
    challenger: ModelVersion,
    result: PromotionResult,
    run_id: str,
) -> Decision:
    metric = body.promotion_metric
    before = model.champion
    return Decision(
        model=model.name,
        version=challenger.number,
        champion_before=None if before is None else before.number,
        decision="promoted" if result.wins else "kept",
        automatic=True,
        by=f"run {run_id}",
        reason=result.reason,
        metric=metric,
        margin=body.promotion_margin,
        score=result.challenger.label.values()[metric],
        champion_score=None if result.champion is None else result.champion.label.values()[metric],
        majority_score=result.majority.label.values()[metric],
        entities=result.challenger.label.entities,
        details=result.to_json(),
    )


# --- held-out entities ----------------------------------------------------------------------------
def _features(settings: Settings, catalog: Catalog, ref: Ref) -> FeatureRows:
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    features = [catalog.resolve(name, ref.concept).ref for name in body.features]
    index = catalog.resolve(body.index, ref.concept).ref
    return read_features(settings, catalog, index, features)


def _held_out(settings: Settings, catalog: Catalog, ref: Ref, features: FeatureRows) -> HeldOut:
    """The held-out entities that are still in the index, with their current features."""
    held = read_held_out(settings, catalog, ref)
    keys = held.keys.cast(features.keys.type)
    places = pc.index_in(keys, value_set=features.keys)
    there = np.asarray(places.is_valid())
    chosen = features.take(places.drop_null().to_numpy())
    labels, key = held.labels, catalog.key_column(ref)
    return HeldOut(
        labels=labels,
        frame=chosen.frame(),
        label=held.label[there],
        gold=gold_in_lake(settings, ref.concept, key, chosen.keys, labels),
    )


# --- profiles of the training data ----------------------------------------------------------------
def _keep_profile(
    settings: Settings, catalog: Catalog, ref: Ref, model: LoadedModel, features: FeatureRows
) -> None:
    """Keep a profile of the entities and predictions at the time when a version is trained.

    Covers all entities of the index, not only those trained on: the confident entities of a capped
    training set differ from the index by design, and would always seem to have drifted.
    """
    given = predicted_columns(model, features.columns, catalog.labels(ref.concept))
    found = {
        "features": profile(features.columns),
        "label": profile(given.select([LABEL])),
    }
    data = {
        what: {name: column.to_json() for name, column in columns.items()}
        for what, columns in found.items()
    }
    key = _profile_key(ref, model.version)
    open_lake(settings).write_bytes(key, json.dumps(data).encode())


def read_profile(
    settings: Settings, ref: Ref, version: int
) -> dict[str, dict[str, ColumnProfile]] | None:
    """A profile of the entities at training time: columns by ``features`` and ``label``.

    None if it is unknown, because the version was never judged.
    """
    try:
        data = json.loads(open_lake(settings).read_bytes(_profile_key(ref, version)))
    except LakeFileMissing:
        return None
    return {
        what: {name: ColumnProfile.from_json(column) for name, column in columns.items()}
        for what, columns in data.items()
    }


def _profile_key(ref: Ref, version: int) -> str:
    place = definition_key("classifiers", ref.concept, ref.name)
    return place.replace("data.parquet", f"profiles/{version}.json")
