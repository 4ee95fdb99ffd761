"""Training the bank: cross-validated, ranked, beside the label model and the majority class.

Pure: frames and arrays in, arrays out. Models are chosen by cross-validation on the training side
alone; what is held out is only ever judged.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.learning.bank import make_model
from tippers_dagster.learning.scores import Measures, better_first, measure

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # has no types

IMPORTANCE_ROWS = 1000
"""Importances are of at most so many rows."""

IMPORTANCE_REPEATS = 5


@dataclass(frozen=True, eq=False)
class Sides:
    """What models are trained and judged on.

    Attributes
    ----------
    labels
        Names, in the order of the class numbers.
    training, label
        Columns of the n entities that are trained on, and their labels: int8 [n], every one of
        ``labels`` at least ``training_set.FEWEST_TRAINED`` times.
    held_out
        Columns of the m entities that are held out, the unlabelled ones too.
    numeric, categorical
        Names of the columns that are numbers, and of the others.
    """

    labels: tuple[str, ...]
    training: pd.DataFrame
    label: np.ndarray
    held_out: pd.DataFrame
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def names(self) -> np.ndarray:
        """The labels' names, row by row: what models are trained on."""
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
    """What became of one model.

    Attributes
    ----------
    cross_validated
        float64 [n, labels]: probabilities of the training rows, each from a model that was
        trained on other folds.
    held_out
        float64 [m, labels]: of the held-out rows, from a model trained on all training rows.
    seconds
        That it took.
    warned
        What its library warned of, each once.
    error
        Why it could not be trained; the arrays have no rows then.
    """

    model: str
    cross_validated: np.ndarray
    held_out: np.ndarray
    seconds: float
    warned: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Ranked:
    """A model with its measures: none of them when it could not be trained.

    ``held_out`` is by the label model's own labels, ``gold`` by what people know.
    """

    outcome: Outcome
    cross_validated: Measures | None
    held_out: Measures | None
    gold: Measures | None


@dataclass(frozen=True, eq=False)
class Baselines:
    """What models are compared with: on held-out entities, by the label model and by gold."""

    label_model: Measures
    majority_class: Measures
    label_model_gold: Measures
    majority_class_gold: Measures


def one_thread() -> Any:
    """A context in which numerical libraries use one thread.

    Models are trained side by side, and threads that wait for each other by spinning made gradient
    boosting two hundred times slower on a busy machine.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no types

    return threadpool_limits(1)


def train_model(task: Task) -> Outcome:
    """Cross-validate a model, and train it on the whole training side to judge what is held out.

    Equal tasks give equal probabilities wherever they run. Whatever goes wrong is told in
    ``Outcome.error``: one model of a bank must not take the others with it.
    """
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            crossed, held = _train(task)
        except Exception as error:  # noqa: BLE001 - a library's own, of any kind
            told = f"{type(error).__name__}: {error}".strip()
            none = np.empty((0, len(task.sides.labels)))
            return Outcome(task.model, none, none, time.monotonic() - began, (), told[:2000])
    warned = dict.fromkeys(str(w.message).strip().splitlines()[0][:300] for w in caught)
    return Outcome(task.model, crossed, held, time.monotonic() - began, tuple(warned))


def _train(task: Task) -> tuple[np.ndarray, np.ndarray]:
    with one_thread():
        return _crossed_and_held_out(task)


def _crossed_and_held_out(task: Task) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import (  # type: ignore[import-untyped]  # has no types
        StratifiedKFold,
        cross_val_predict,
    )

    sides = task.sides
    folds = number_of_folds(sides.label, task.folds)
    model = untrained(task)
    crossed = cross_val_predict(
        model,
        sides.training,
        sides.names,
        cv=StratifiedKFold(folds, shuffle=True, random_state=task.seed),
        method="predict_proba",
    )
    order = np.argsort(np.argsort(sides.labels))  # columns are by name, wanted by class number
    model.fit(sides.training, sides.names)
    held = probabilities(model, sides.held_out, sides.labels)
    crossed = crossed[:, order]
    if not (np.isfinite(crossed).all() and np.isfinite(held).all()):
        raise FloatingPointError("some probabilities are no numbers")
    return crossed, held


def number_of_folds(label: np.ndarray, wanted: int) -> int:
    """As many as wanted, but no more than there are entities of the rarest label."""
    return int(min(wanted, np.bincount(label).min()))


def untrained(task: Task) -> Pipeline:
    """The model of a task, as it is before training."""
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
    """float64 [n, labels]: a trained model's, in the order of the labels."""
    if not len(frame):
        return np.empty((0, len(labels)))
    column = {name: place for place, name in enumerate(model.classes_)}
    given: np.ndarray = model.predict_proba(frame)
    return given[:, [column[label] for label in labels]].astype(np.float64)


# --- judging ------------------------------------------------------------------------------------
def rank(
    outcomes: Sequence[Outcome],
    label: np.ndarray,
    held_out_label: np.ndarray,
    gold: np.ndarray,
    metric: str,
) -> list[Ranked]:
    """The models, the best first, by cross-validation; those that failed come last, by name.

    Parameters
    ----------
    outcomes
        One per model.
    label
        int [n]: labels of the training rows.
    held_out_label, gold
        int [m]: the confident labels of the held-out rows, and what people know of them; -1 where
        there is none.
    metric
        By which they are ranked first; then by the others, in the order of ``METRICS``.
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
    """The label model and the majority class, on what is held out.

    Parameters
    ----------
    held_out_label, gold
        As :func:`rank` takes them.
    label_model, label_model_label
        float64 [m, labels] and int [m]: its probabilities, NaN where none of its functions voted,
        and its labels, -1 where it abstains or ties.
    shares
        float64 [labels]: of each label among confident entities on the training side, before the
        cap; what the majority class gives everybody.
    """
    constant = np.tile(shares, (len(gold), 1))
    return Baselines(
        measure(held_out_label, label_model, label_model_label),
        measure(held_out_label, constant),
        measure(gold, label_model, label_model_label),
        measure(gold, constant),
    )


# --- the best one -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Importance:
    """By how much the log loss grows when a column is shuffled: mean and deviation.

    Log loss and not accuracy: where several columns say the same, a model hardly errs without one
    of them, but is less sure.
    """

    column: str
    mean: float
    deviation: float


def fit(task: Task) -> Pipeline:
    """A model trained on all training rows: the one that ``train_model`` judged."""
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # told when it was cross-validated
        return untrained(task).fit(task.sides.training, task.sides.names)


def importances(
    model: Pipeline, frame: pd.DataFrame, label: np.ndarray, labels: Sequence[str], seed: int
) -> list[Importance]:
    """Permutation importances of the columns, the greatest first.

    Breiman: Random forests (2001), as scikit-learn computes them, with the log loss.

    Parameters
    ----------
    frame, label
        Rows and their class numbers; those of -1 are left out, and of many a part is taken.
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
        return -measure(truth, probabilities(model, shuffled, labels)).log_loss

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
