"""Trains the bank: models are cross-validated, ranked and compared with baselines.

Pure: frames and arrays in, arrays out. Models are chosen by cross-validation on the training set
alone; the held-out set is only used for evaluation.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.learning.bank import make_model
from tippers_dagster.learning.scores import Measures, better_first, log_loss, measure

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # has no types

IMPORTANCE_ROWS = 1000
"""Importances use at most this many rows."""

IMPORTANCE_REPEATS = 5


@dataclass(frozen=True, eq=False)
class Sides:
    """The training set and the held-out set.

    Attributes
    ----------
    labels
        Label names, in the order of the class numbers.
    training, label
        Columns of the n entities in the training set, and their labels: int8 [n], with every one of
        ``labels`` at least ``training_set.MIN_TRAINED_PER_LABEL`` times.
    held_out
        Columns of the m held-out entities, including unlabelled ones.
    numeric, categorical
        Names of the number columns, and of the others.
    """

    labels: tuple[str, ...]
    training: pd.DataFrame
    label: np.ndarray
    held_out: pd.DataFrame
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def names(self) -> np.ndarray:
        """The label name of each row, which models are trained on."""
        return np.array(self.labels, object)[self.label]


@dataclass(frozen=True, eq=False)
class Task:
    """One model to train."""

    model: str
    sides: Sides
    folds: int
    seed: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of training one model.

    Attributes
    ----------
    cross_validated
        float64 [n, labels]: probabilities of the training rows, each from a model trained on
        other folds.
    held_out
        float64 [m, labels]: of the held-out rows, from a model trained on all training rows.
    seconds
        Training time.
    warned
        Distinct warnings of its library.
    error
        Why it could not be trained; then the arrays have no rows.
    """

    model: str
    cross_validated: np.ndarray
    held_out: np.ndarray
    seconds: float
    warned: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Ranked:
    """A model with its measures, which are None if it could not be trained.

    ``held_out``: compared with the label model's labels; ``gold``: with gold labels.
    """

    outcome: Outcome
    cross_validated: Measures | None
    held_out: Measures | None
    gold: Measures | None


@dataclass(frozen=True, eq=False)
class Baselines:
    """Baselines on held-out entities: compared with the label model's labels, and with gold."""

    label_model: Measures
    majority_class: Measures
    label_model_gold: Measures
    majority_class_gold: Measures


def one_thread() -> Any:
    """A context in which numerical libraries use one thread.

    Models are trained in parallel, and threads that busy-wait for each other made gradient boosting
    two hundred times slower on a busy machine.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no types

    return threadpool_limits(1)


def train_model(task: Task) -> Outcome:
    """Cross-validate a model, then train it on the whole training set and predict the held-out set.

    Equal tasks give equal probabilities on any machine. Errors are returned in ``Outcome.error``:
    one model must not stop the rest of the bank.
    """
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            cross_validated, held = _train(task)
        except Exception as error:  # noqa: BLE001 - libraries may raise anything
            message = f"{type(error).__name__}: {error}".strip()
            none = np.empty((0, len(task.sides.labels)))
            return Outcome(task.model, none, none, time.monotonic() - began, (), message[:2000])
    warned = dict.fromkeys(str(w.message).strip().splitlines()[0][:300] for w in caught)
    return Outcome(task.model, cross_validated, held, time.monotonic() - began, tuple(warned))


def _train(task: Task) -> tuple[np.ndarray, np.ndarray]:
    with one_thread():
        return _cross_validate_and_predict(task)


def _cross_validate_and_predict(task: Task) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import (  # type: ignore[import-untyped]  # has no types
        StratifiedKFold,
        cross_val_predict,
    )

    sides = task.sides
    folds = number_of_folds(sides.label, task.folds)
    model = untrained(task)
    cross_validated = cross_val_predict(
        model,
        sides.training,
        sides.names,
        cv=StratifiedKFold(folds, shuffle=True, random_state=task.seed),
        method="predict_proba",
    )
    order = np.argsort(np.argsort(sides.labels))  # from the order of names to that of class numbers
    model.fit(sides.training, sides.names)
    held = probabilities(model, sides.held_out, sides.labels)
    cross_validated = cross_validated[:, order]
    if not (np.isfinite(cross_validated).all() and np.isfinite(held).all()):
        raise FloatingPointError("some probabilities are not finite")
    return cross_validated, held


def number_of_folds(label: np.ndarray, wanted: int) -> int:
    """The wanted number, but no more than there are entities with the rarest label."""
    return int(min(wanted, np.bincount(label).min()))


def untrained(task: Task) -> Pipeline:
    """The untrained model of a task."""
    counts = np.bincount(task.sides.label)
    folds = number_of_folds(task.sides.label, task.folds)
    return make_model(
        task.model,
        task.sides.numeric,
        task.sides.categorical,
        rows=len(task.sides.label) - -(-len(task.sides.label) // folds),
        least=int(counts.min() - -(-counts.min() // folds)),
        seed=task.seed,
    )


def probabilities(model: Any, frame: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """float64 [n, labels]: a trained model's probabilities, in the order of the labels."""
    if not len(frame):
        return np.empty((0, len(labels)))
    column = {name: place for place, name in enumerate(model.classes_)}
    given: np.ndarray = model.predict_proba(frame)
    return given[:, [column[label] for label in labels]].astype(np.float64)


# --- ranking ------------------------------------------------------------------------------------
def rank(
    outcomes: Sequence[Outcome],
    label: np.ndarray,
    held_out_label: np.ndarray,
    gold: np.ndarray,
    metric: str,
) -> list[Ranked]:
    """Rank models by cross-validation, best first; those that failed come last, by name.

    Parameters
    ----------
    outcomes
        One per model.
    label
        int [n]: labels of the training rows.
    held_out_label, gold
        int [m]: the confident labels of the held-out rows, and their gold labels; -1 if there is
        none.
    metric
        The metric for ranking; ties are broken by the others, in the order of ``METRICS``.
    """
    ranked = [_judged(outcome, label, held_out_label, gold) for outcome in outcomes]
    values = [{} if r.cross_validated is None else r.cross_validated.values() for r in ranked]
    by_name = sorted(range(len(ranked)), key=lambda i: ranked[i].outcome.model)
    order = better_first([values[i] for i in by_name], metric)
    return [ranked[by_name[position]] for position in order]


def _judged(
    outcome: Outcome, label: np.ndarray, held_out_label: np.ndarray, gold: np.ndarray
) -> Ranked:
    if outcome.error is not None:
        return Ranked(outcome, None, None, None)
    return Ranked(
        outcome,
        measure(label, outcome.cross_validated),
        measure(held_out_label, outcome.held_out),
        measure(gold, outcome.held_out),
    )


def compare(
    held_out_label: np.ndarray,
    gold: np.ndarray,
    label_model: np.ndarray,
    label_model_label: np.ndarray,
    shares: np.ndarray,
) -> Baselines:
    """The label model and the majority class, on the held-out set.

    Parameters
    ----------
    held_out_label, gold
        As for :func:`rank`.
    label_model, label_model_label
        float64 [m, labels] and int [m]: its probabilities, NaN if none of its functions voted,
        and its labels, -1 if it abstains or ties.
    shares
        float64 [labels]: each label's share of the confident entities in the training set, before
        the cap; the majority class predicts these for every entity.
    """
    constant = np.tile(shares, (len(gold), 1))
    return Baselines(
        measure(held_out_label, label_model, label_model_label),
        measure(held_out_label, constant),
        measure(gold, label_model, label_model_label),
        measure(gold, constant),
    )


# --- the best model -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Importance:
    """The increase of the log loss when a column is shuffled: mean and standard deviation.

    Uses log loss instead of accuracy: if several columns carry the same information, a model
    without one of them is hardly less accurate, but less confident.
    """

    column: str
    mean: float
    deviation: float


def fit(task: Task) -> Pipeline:
    """A model trained on all training rows: the one that ``train_model`` evaluated."""
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # already reported by cross-validation
        return untrained(task).fit(task.sides.training, task.sides.names)


def importances(
    model: Pipeline, frame: pd.DataFrame, label: np.ndarray, labels: Sequence[str], seed: int
) -> list[Importance]:
    """Permutation importances of the columns, largest first.

    Breiman: Random forests (2001), as scikit-learn computes them, with the log loss.

    Parameters
    ----------
    frame, label
        Rows and their class numbers; rows with -1 are ignored, and large sets sampled.
    """
    from sklearn.inspection import (  # type: ignore[import-untyped]  # has no types
        permutation_importance,
    )

    rows = np.flatnonzero(label >= 0)
    if not len(rows):
        return []
    if len(rows) > IMPORTANCE_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, IMPORTANCE_ROWS, replace=False))

    def score(model: Pipeline, shuffled: pd.DataFrame, truth: np.ndarray) -> float:
        return -log_loss(truth, probabilities(model, shuffled, labels))

    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        found = permutation_importance(
            model,
            frame.iloc[rows],
            label[rows],
            scoring=score,
            n_repeats=IMPORTANCE_REPEATS,
            random_state=seed,
        )
    columns = zip(
        frame.columns, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True
    )
    return sorted((Importance(*c) for c in columns), key=lambda one: (-one.mean, one.column))
