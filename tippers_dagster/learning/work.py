"""Trains a classifier: reads labels and features, trains the bank, and writes the results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import CLASSIFIER_MODELS, Classifier
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import TippersError
from tippers_dagster.labelling.evaluate import numbers
from tippers_dagster.learning.bank import left_out, slowest_first
from tippers_dagster.learning.errors import CannotTrain, NoModel
from tippers_dagster.learning.features import FeatureRows, read_features
from tippers_dagster.learning.gold import gold_in_lake
from tippers_dagster.learning.held_out import held_out_key
from tippers_dagster.learning.leaks import check_leaks
from tippers_dagster.learning.naming import registered_name
from tippers_dagster.learning.train import (
    Baselines,
    Importance,
    Outcome,
    Ranked,
    Sides,
    Task,
    compare,
    fit,
    importances,
    rank,
    train_model,
)
from tippers_dagster.learning.trained_models import Parts
from tippers_dagster.learning.training_set import (
    TrainingSet,
    check_not_empty,
    make_training_set,
)
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.mlflow.client import MlflowUnavailable
from tippers_dagster.platform.mlflow.model_files import is_there
from tippers_dagster.platform.tasks import run_tasks
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # has no types

VERSION = 2
"""Raise it when the same labels and features would give other models."""

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a classifier, one entry per entity of its index.

    Attributes
    ----------
    labels
        Label names, in the order of the class numbers.
    label, probabilities
        From the label model: int8 [n], -1 if it abstains, ties or does not know the entity;
        float64 [n, labels], NaN if it knows nothing.
    gold
        int8 [n]: gold labels, -1 if there is none.
    """

    rows: FeatureRows
    labels: tuple[str, ...]
    label: np.ndarray
    probabilities: np.ndarray
    gold: np.ndarray


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training a classifier.

    Attributes
    ----------
    ranked
        The models, best first; those that failed last.
    left_out
        Models that cannot be trained on this machine, and why.
    best
        The task of the best model, including the training rows.
    model
        The best model, trained on the whole training set.
    importances
        Importances of its columns, on held-out entities if there are any.
    majority
        The label of the majority class.
    """

    inputs: Inputs
    chosen: TrainingSet
    ranked: list[Ranked]
    left_out: Mapping[str, str]
    baselines: Baselines
    best: Task
    model: Pipeline
    importances: list[Importance]
    majority: str

    @property
    def first(self) -> Ranked:
        """The best model with its measures."""
        return self.ranked[0]

    @property
    def outcomes(self) -> list[Outcome]:
        """The results of the models, best first."""
        return [ranked.outcome for ranked in self.ranked]


def same_training(settings: Settings, catalog: Catalog, ref: Ref, recorded: str | None) -> bool:
    """Whether a classifier would be trained on what this fingerprint was made from.

    Not if it cannot be trained: then training reports the reason.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    try:
        inputs = read_inputs(settings, catalog, ref)
        chosen = choose(inputs, catalog, ref, lambda message: None)
    except TippersError:
        return False
    missing = left_out(body.models or CLASSIFIER_MODELS)
    return fingerprint(body, inputs, chosen, missing) == recorded


def all_there(settings: Settings, ref: Ref, registered: int | None) -> bool:
    """Whether the held-out entities of the last training and its registered model are there.

    While MLflow is unavailable, only the held-out entities: training could not register a model.

    Parameters
    ----------
    registered
        The version that the training registered; None: there was no MLflow.
    """
    lake = open_lake(settings)
    if not all(lake.exists(key) for key in (held_out_key(ref), held_out_predictions_key(ref))):
        return False
    try:
        return is_there(settings, registered_name(ref), registered)
    except MlflowUnavailable:
        return True


def train_classifier(
    settings: Settings, catalog: Catalog, ref: Ref, progress: Progress
) -> tuple[Trained, Parts]:
    """Train and rank the models of a classifier.

    Trained models are kept in the lake one by one; call ``Parts.forget`` once the result is
    recorded.

    Parameters
    ----------
    progress
        Called with progress messages.

    Raises
    ------
    CannotTrain
        When labels or features do not allow it, or no model could be trained.
    LakeFileMissing
        When labels, index or a feature are missing.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    inputs = read_inputs(settings, catalog, ref)
    chosen = choose(inputs, catalog, ref, progress)
    sides = sides_of(inputs, chosen)
    wanted = body.models or CLASSIFIER_MODELS
    missing = left_out(wanted)
    for name, reason in missing.items():
        progress(f"{name} is skipped: {reason}")
    tasks = [Task(name, sides, body.folds, body.seed) for name in wanted if name not in missing]
    parts = Parts(settings, ref, fingerprint(body, inputs, chosen, missing))
    outcomes = _train(settings, tasks, parts, progress)
    _refuse_no_model(outcomes, missing)
    out = chosen.held_out
    held_label, gold = chosen.label[out], inputs.gold[out]
    ranked = rank(outcomes, sides.label, held_label, gold, body.promotion_metric)
    best = next(task for task in tasks if task.model == ranked[0].outcome.model)
    shares = _shares(chosen)
    model = fit(best)
    return Trained(
        inputs=inputs,
        chosen=chosen,
        ranked=ranked,
        left_out=missing,
        baselines=compare(held_label, gold, inputs.probabilities[out], inputs.label[out], shares),
        best=best,
        model=model,
        importances=_importances(model, sides, held_label, body.seed),
        majority=inputs.labels[int(shares.argmax())],
    ), parts


# --- reading --------------------------------------------------------------------------------------
def read_inputs(settings: Settings, catalog: Catalog, ref: Ref) -> Inputs:
    """Labels, features and gold labels of the entities of a classifier's index.

    Raises
    ------
    LakeFileMissing
        When one of them was never materialised.
    CannotTrain
        When the index is empty.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    index = catalog.resolve(body.index, ref.concept).ref
    features = [catalog.resolve(name, ref.concept).ref for name in body.features]
    model = catalog.resolve(body.label_model, ref.concept).ref
    rows = read_features(settings, catalog, index, features)
    if not len(rows):
        raise CannotTrain(
            f"There is nothing to learn from: the index {index} is empty.",
            "Check its query; for a derived index, check the labels that it is derived from.",
        )
    labels = catalog.model_labels(model)
    place = definition_key("labels", model.concept, model.name)
    table = open_lake(settings).read_table(place)
    theirs = table[rows.key].combine_chunks().cast(rows.keys.type)
    table = table.take(pc.index_in(rows.keys, value_set=theirs))
    columns = [table[f"p_{label.lower()}"].to_numpy() for label in labels]
    key = catalog.key_column(ref)
    return Inputs(
        rows=rows,
        labels=labels,
        label=numbers(labels, table["label"].to_pylist()),
        probabilities=np.column_stack(columns).astype(np.float64),
        gold=gold_in_lake(settings, ref.concept, key, rows.keys, labels),
    )


def choose(inputs: Inputs, catalog: Catalog, ref: Ref, progress: Progress) -> TrainingSet:
    """Choose the training set; the features are checked against the labels.

    Raises
    ------
    CannotTrain
        When labels or features do not allow it.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    labelled = (inputs.rows, inputs.label, inputs.probabilities, inputs.labels)
    check_leaks(*labelled, catalog.resolve(body.label_model, ref.concept).ref.name)
    chosen = make_training_set(
        inputs.rows.keys,
        inputs.label,
        inputs.probabilities,
        inputs.labels,
        method=body.threshold_method,
        threshold=body.threshold,
        minimum_per_class=body.minimum_per_class,
        imbalance_cap=body.imbalance_cap,
        test_share=body.test_share,
        seed=body.seed,
    )
    check_not_empty(inputs.rows.columns, chosen.trained)
    for step in chosen.steps:
        counts = zip(inputs.labels, step.counts, strict=True)
        listed = ", ".join(f"{count:,} {label}" for label, count in counts)
        progress(f"Confident at a threshold of {step.threshold:g}: {listed}.")
    return chosen


def sides_of(inputs: Inputs, chosen: TrainingSet) -> Sides:
    """The rows of both sets, prepared for models."""
    rows = inputs.rows
    return Sides(
        labels=inputs.labels,
        training=rows.take(chosen.trained).frame(),
        label=chosen.label[chosen.trained],
        held_out=rows.take(chosen.held_out).frame(),
        numeric=rows.numeric,
        categorical=rows.categorical,
    )


# --- training -------------------------------------------------------------------------------------
def _train(
    settings: Settings, tasks: Sequence[Task], parts: Parts, progress: Progress
) -> list[Outcome]:
    """The outcome of each task, trained now or earlier."""
    found = parts.kept([task.model for task in tasks])
    for name in found:
        progress(f"{name} was already trained by an earlier run.")
    unfinished = {task.model: task for task in tasks if task.model not in found}
    left = [unfinished[model] for model in slowest_first(list(unfinished))]
    for _, outcome in run_tasks(settings, train_model, left):
        parts.keep(outcome)
        found[outcome.model] = outcome
        result = (
            f"failed: {outcome.error}" if outcome.error else f"trained in {outcome.seconds:.1f} s"
        )
        progress(f"{outcome.model} {result}.")
    return [found[task.model] for task in tasks]


def _refuse_no_model(outcomes: Sequence[Outcome], missing: Mapping[str, str]) -> None:
    if any(outcome.error is None for outcome in outcomes):
        return
    reasons = {**missing, **{o.model: o.error or "" for o in outcomes}}
    raise NoModel(
        "No model could be trained.\n" + "\n".join(f"{n}: {why}" for n, why in reasons.items())
    )


def fingerprint(
    body: Classifier, inputs: Inputs, chosen: TrainingSet, missing: Collection[str]
) -> str:
    """A hash of everything that the models and their measures depend on, except gold labels.

    These are the rows of both sets with their features and confident labels, how the label model
    labels the held-out ones, the models that cannot be used on this machine (``missing``), and the
    versions of the libraries. Other entities of the index are not part of it.
    """
    used = chosen.trained | chosen.held_out
    libraries = [f"{name} {installed(name)}" for name in ("scikit-learn", "lightgbm")]
    text = body.model_dump_json(exclude={"promotion_margin"})
    about = (VERSION, libraries, sorted(missing), text, inputs.labels)
    mixed = hashlib.blake2b(repr(about).encode(), digest_size=16)
    out = chosen.held_out
    arrays = chosen.trained[used], chosen.label[used], inputs.label[out], inputs.probabilities[out]
    for array in arrays:
        mixed.update(np.ascontiguousarray(array).tobytes())
    mixed.update(_bytes_of(inputs.rows.take(used)))
    return mixed.hexdigest()


def _bytes_of(rows: FeatureRows) -> pa.Buffer:
    """The keys and columns of rows; what is stored in place of missing values does not matter."""
    columns = {rows.key: rows.keys}
    for name, column in zip(rows.columns.column_names, rows.columns.columns, strict=True):
        nothing = 0.0 if pa.types.is_float64(column.type) else ""
        columns[name] = pc.fill_null(column, nothing).combine_chunks()
        columns[f"{name} is missing"] = pc.is_null(column).combine_chunks()
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _shares(chosen: TrainingSet) -> np.ndarray:
    """float64 [labels]: each label's share of the confident entities not held out."""
    counts = np.array(list(chosen.counts(~chosen.held_out).values()), float)
    return counts / counts.sum()


def _importances(
    model: Pipeline, sides: Sides, held_label: np.ndarray, seed: int
) -> list[Importance]:
    if (held_label >= 0).any():
        return importances(model, sides.held_out, held_label, sides.labels, seed)
    return importances(model, sides.training, sides.label, sides.labels, seed)


# --- writing --------------------------------------------------------------------------------------
def held_out_predictions_key(ref: Ref) -> str:
    """The lake key of every model's labels for the held-out entities."""
    place = definition_key("classifiers", ref.concept, ref.name)
    return place.replace("data.parquet", "judged.parquet")


def write_held_out(settings: Settings, ref: Ref, made: Trained) -> None:
    """Write the held-out entities with their features, and every model's labels for them.

    ``heldout.parquet``: the key, ``label`` (the label model's, if confident), ``gold``, and the
    features. ``judged.parquet``: the key, and the label that each model predicts.
    """
    inputs, out = made.inputs, made.chosen.held_out
    rows = inputs.rows.take(out)
    names = pa.array(inputs.labels, pa.string())
    features: dict[str, Any] = dict(
        zip(rows.columns.column_names, rows.columns.columns, strict=True)
    )
    held = {
        rows.key: rows.keys,
        "label": _named(names, made.chosen.label[out]),
        "gold": _named(names, inputs.gold[out]),
    }
    predictions = {
        r.outcome.model: _named(names, r.outcome.held_out.argmax(axis=1)).dictionary_encode()
        for r in made.ranked
        if r.outcome.error is None
    }
    lake = open_lake(settings)
    lake.write_table(held_out_key(ref), pa.table({**held, **features}))
    lake.write_table(held_out_predictions_key(ref), pa.table({rows.key: rows.keys, **predictions}))


def _named(names: pa.Array, given: np.ndarray) -> pa.Array:
    return names.take(pa.array(given.astype(np.int8), mask=given < 0))
