"""Results of classifiers in the warehouse, for pages and the command line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier
from tippers_dagster.catalog.model import Ref
from tippers_dagster.labelling.evaluate import numbers
from tippers_dagster.learning.errors import NotTrained
from tippers_dagster.learning.held_out import read_training_file
from tippers_dagster.learning.scores import METRICS
from tippers_dagster.learning.tables import (
    EVALUATED_ON,
    classifier_model_result,
    classifier_result,
)
from tippers_dagster.learning.work import Trained, held_out_predictions_key
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

TRAINED, FAILED, LEFT_OUT = "trained", "failed", "left out"

_PLAIN = ("model", "rank", "status", "error", "seconds")


@dataclass(frozen=True)
class ModelResult:
    """One model of a bank in one materialisation.

    ``cross_validated``, ``held_out`` and ``gold``: metrics by name, None if unknown.
    """

    model: str
    rank: int
    status: str
    error: str | None
    seconds: float | None
    cross_validated: Mapping[str, float | None]
    held_out: Mapping[str, float | None]
    gold: Mapping[str, float | None]


@dataclass(frozen=True)
class ClassifierResult:
    """One materialisation of a classifier.

    Attributes
    ----------
    version, run_id
        The asset's version, and the id of the Dagster run.
    best, metric
        The model that ranks first, and the metric used for ranking.
    trained, held_out, gold
        Entities trained on; held out with a confident label; held out with a gold label.
    mlflow_run, registered
        MLflow's run, and the registered version; None if it was not logged.
    details
        JSON: ``labels``, ``label_model``, ``features``, ``steps``, ``counts``, ``columns``,
        ``importances``, ``comparison`` (on ``held_out`` and ``gold``: the measures of ``best``,
        ``label_model`` and ``majority_class``), ``warned``, ``majority``.
    models
        Best first.
    """

    concept: str
    classifier: str
    version: str
    run_id: str
    at: dt.datetime
    best: str
    metric: str
    threshold: float
    trained: int
    held_out: int
    gold: int
    seconds: float
    mlflow_run: str | None
    registered: int | None
    details: Mapping[str, Any]
    models: tuple[ModelResult, ...]


# --- writing --------------------------------------------------------------------------------------
def details_of(catalog: Catalog, ref: Ref, made: Trained) -> dict[str, Any]:
    """The recorded details of a materialisation as JSON; see ``ClassifierResult.details``."""
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    chosen, first, base = made.chosen, made.first, made.baselines
    assert first.held_out is not None
    assert first.gold is not None
    return {
        "labels": list(made.inputs.labels),
        "label_model": str(catalog.resolve(body.label_model, ref.concept).ref),
        "features": [str(catalog.resolve(name, ref.concept).ref) for name in body.features],
        "method": body.threshold_method,
        "steps": [
            {
                "threshold": step.threshold,
                "counts": dict(zip(made.inputs.labels, step.counts, strict=True)),
            }
            for step in chosen.steps
        ],
        "counts": {
            "confident": chosen.counts(np.ones(len(chosen.label), bool)),
            "trained": chosen.counts(chosen.trained),
            "held_out": chosen.counts(chosen.held_out),
        },
        "columns": {
            "numeric": list(made.best.sides.numeric),
            "categorical": list(made.best.sides.categorical),
        },
        "importances": [vars(one) for one in made.importances],
        "comparison": {
            "held_out": {
                "best": first.held_out.to_json(),
                "label_model": base.label_model.to_json(),
                "majority_class": base.majority_class.to_json(),
            },
            "gold": {
                "best": first.gold.to_json(),
                "label_model": base.label_model_gold.to_json(),
                "majority_class": base.majority_class_gold.to_json(),
            },
        },
        "majority": made.majority,
        "warned": {
            r.outcome.model: list(r.outcome.warned) for r in made.ranked if r.outcome.warned
        },
    }


def make_result(
    catalog: Catalog,
    ref: Ref,
    made: Trained,
    version: str,
    run_id: str,
    seconds: float,
    *,
    mlflow_run: str | None,
    registered: int | None,
) -> ClassifierResult:
    """The record of a materialisation that took ``seconds``."""
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    first = made.first
    assert first.held_out is not None
    assert first.gold is not None
    return ClassifierResult(
        concept=ref.concept,
        classifier=ref.name,
        version=version,
        run_id=run_id,
        at=dt.datetime.now(dt.UTC),
        best=first.outcome.model,
        metric=body.promotion_metric,
        threshold=made.chosen.threshold,
        trained=int(made.chosen.trained.sum()),
        held_out=first.held_out.entities,
        gold=first.gold.entities,
        seconds=seconds,
        mlflow_run=mlflow_run,
        registered=registered,
        details=details_of(catalog, ref, made),
        models=tuple(model_results(made)),
    )


def model_results(made: Trained) -> list[ModelResult]:
    """The recorded models of a bank, best first, those left out last."""
    none: dict[str, float | None] = dict.fromkeys(METRICS)
    found = [
        ModelResult(
            model=r.outcome.model,
            rank=place,
            status=TRAINED if r.outcome.error is None else FAILED,
            error=r.outcome.error,
            seconds=r.outcome.seconds,
            cross_validated=none if r.cross_validated is None else r.cross_validated.values(),
            held_out=none if r.held_out is None else r.held_out.values(),
            gold=none if r.gold is None else r.gold.values(),
        )
        for place, r in enumerate(made.ranked, start=1)
    ]
    missing = enumerate(made.left_out.items(), start=len(found) + 1)
    return [
        *found,
        *(
            ModelResult(name, place, LEFT_OUT, reason, None, none, none, none)
            for place, (name, reason) in missing
        ),
    ]


def record_result(settings: Settings, result: ClassifierResult) -> None:
    """Record a materialisation, replacing an earlier record of the same run."""
    key = {name: getattr(result, name) for name in ("concept", "classifier", "version", "run_id")}
    values = {c.name: getattr(result, c.name) for c in classifier_result.c}
    rows = [
        {
            **key,
            **{
                name: getattr(one, name) for name in ("model", "rank", "status", "error", "seconds")
            },
            **{
                f"{judged}_{metric}": getattr(one, judged)[metric]
                for judged in EVALUATED_ON
                for metric in METRICS
            },
        }
        for one in result.models
    ]
    same = sa.and_(*(classifier_result.c[name] == value for name, value in key.items()))
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.delete(classifier_result).where(same))
        connection.execute(insert(classifier_result).values(**values))
        connection.execute(insert(classifier_model_result), rows)


# --- reading --------------------------------------------------------------------------------------
def read_results(settings: Settings, ref: Ref, limit: int = 20) -> list[ClassifierResult]:
    """The last materialisations of a classifier, newest first."""
    r, m = classifier_result.c, classifier_model_result.c
    newest = (
        sa.select(classifier_result)
        .where(r.concept == ref.concept, r.classifier == ref.name)
        .order_by(r.at.desc())
        .limit(limit)
    )
    with warehouse_engine(settings).connect() as connection:
        found = connection.execute(newest).mappings().all()
        models = connection.execute(
            sa.select(classifier_model_result)
            .where(
                m.concept == ref.concept,
                m.classifier == ref.name,
                m.run_id.in_([row["run_id"] for row in found]),
            )
            .order_by(m.rank)
        ).mappings()
        of: dict[tuple[str, str], list[ModelResult]] = {}
        for row in models:
            of.setdefault((row["version"], row["run_id"]), []).append(_model(row))
    return [
        ClassifierResult(**row, models=tuple(of.get((row["version"], row["run_id"]), ())))
        for row in found
    ]


def last_result(settings: Settings, ref: Ref) -> ClassifierResult:
    """The last materialisation of a classifier.

    Raises
    ------
    NotTrained
        When there is none.
    """
    found = read_results(settings, ref, 1)
    if not found:
        raise NotTrained(ref)
    return found[0]


def _model(row: sa.RowMapping) -> ModelResult:
    judged: dict[str, Any] = {
        on: {metric: row[f"{on}_{metric}"] for metric in METRICS} for on in EVALUATED_ON
    }
    return ModelResult(**{name: row[name] for name in _PLAIN}, **judged)


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """The labels of models and label model on the held-out entities of the last training.

    Attributes
    ----------
    key, keys
        The key column in the lake, and the entities' keys, [n].
    labels
        In the order of the class numbers.
    label_model
        int8 [n]: the label model's current labels, confident or not; -1 if there is none.
    models
        int8 [n] for each trained model of the bank.
    """

    key: str
    keys: pa.Array
    labels: tuple[str, ...]
    label_model: np.ndarray
    models: Mapping[str, np.ndarray]


def read_held_out_predictions(settings: Settings, catalog: Catalog, ref: Ref) -> HeldOutPredictions:
    """The labels that every model gives the held-out entities.

    Raises
    ------
    NotTrained
        When the classifier was never trained.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    model = catalog.resolve(body.label_model, ref.concept).ref
    labels = catalog.model_labels(model)
    rows = read_training_file(settings, ref, held_out_predictions_key(ref))
    key, keys = rows.column_names[0], rows[0].combine_chunks()
    place = definition_key("labels", model.concept, model.name)
    table = open_lake(settings).read_table(place, [key, "label"])
    places = pa.compute.index_in(keys, value_set=table[key].combine_chunks())
    return HeldOutPredictions(
        key=key,
        keys=keys,
        labels=labels,
        label_model=numbers(labels, table["label"].take(places).to_pylist()),
        models={name: numbers(labels, rows[name].to_pylist()) for name in rows.column_names[1:]},
    )
