"""Decides whether a challenger replaces the champion, on the same held-out entities. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.errors import BadInput
from tippers_dagster.learning.scores import LOWER_IS_BETTER, Measures, measure

if TYPE_CHECKING:
    import pandas as pd

MIN_GOLD_LABELS = 30
"""With this many held-out gold labels, a challenger must not be worse on them."""

NO_CHAMPION = "There was no champion."

MAX_NAMED_COLUMNS = 5
"""How many columns an error names."""

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The current held-out entities.

    Attributes
    ----------
    labels
        Names of the labels in the order of the class numbers.
    frame
        Their features, [n].
    label, gold
        int8 [n]: class numbers of the label model's confident labels, and of gold labels; -1 if
        there is none.
    """

    labels: tuple[str, ...]
    frame: pd.DataFrame
    label: np.ndarray
    gold: np.ndarray


@dataclass(frozen=True, eq=False)
class ModelMeasures:
    """A model's measures on the held-out entities: by the label model's labels, and by gold."""

    label: Measures
    gold: Measures


@dataclass(frozen=True, eq=False)
class PromotionResult:
    """Whether the challenger wins, and the reason in a sentence.

    ``champion`` is None if there is none, or it cannot be applied to these entities.
    """

    wins: bool
    reason: str
    challenger: ModelMeasures
    champion: ModelMeasures | None
    majority: ModelMeasures

    def to_json(self) -> dict[str, Any]:
        """All measures, without confusion and calibration."""
        given = {"challenger": self.challenger, "champion": self.champion}
        given["majority_class"] = self.majority
        return {
            name: {"labels": one.label.values(), "gold": one.gold.values()}
            for name, one in given.items()
            if one is not None
        } | {"gold_entities": self.challenger.gold.entities}


def model_columns(model: Any) -> tuple[str, ...]:
    """The columns that a trained model takes, in order."""
    return tuple(str(name) for name in model.feature_names_in_)


def apply_model(model: Any, frame: pd.DataFrame, what: str) -> np.ndarray:
    """A model's probabilities: float64 [n, classes], in the order of ``model.classes_``.

    Parameters
    ----------
    frame
        With at least the columns that the model takes.
    what
        The model's name, for errors.

    Raises
    ------
    BadInput
        When a column is missing, or has another type than in training.
    """
    wanted = model_columns(model)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        more = (
            f" and {len(missing) - MAX_NAMED_COLUMNS} more"
            if len(missing) > MAX_NAMED_COLUMNS
            else ""
        )
        raise BadInput(
            f"{what} needs columns that are missing: "
            f"{', '.join(missing[:MAX_NAMED_COLUMNS])}{more}.",
            "Give rows with these columns, or use a version that was trained without them.",
        )
    if not len(frame):
        return np.empty((0, len(model.classes_)))
    try:
        given = model.predict_proba(frame[list(wanted)])
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"{what} cannot be applied to these rows: {str(error).strip().splitlines()[0]}",
            "Each column must have the same type as in training: numbers or text.",
        ) from error
    return np.asarray(given, np.float64)


def judge(
    held: HeldOut,
    challenger: Any,
    champion: Any | None,
    *,
    metric: str,
    margin: float,
    without: str = NO_CHAMPION,
) -> PromotionResult:
    """Compare a challenger with the champion on the same entities.

    It wins if it is better by ``margin`` of ``metric`` on the label model's labels and, with
    ``MIN_GOLD_LABELS`` gold labels or more, not worse on these. Without a champion, or with one
    that can no longer be applied, it must instead beat the majority class, which gives every entity
    the labels' shares among these entities.

    Parameters
    ----------
    challenger, champion
        Trained models; None if there is no champion.
    without
        Why there is no champion.
    """
    one = _measure_model(held, challenger, "The challenger")
    majority = _majority(held)
    if not one.label.entities:
        return PromotionResult(
            False, "No held-out entity has a confident label.", one, None, majority
        )
    why = without
    if champion is not None:
        try:
            other = _measure_model(held, champion, "The champion")
        except BadInput as error:
            why = f"The champion can no longer be used: {error.message}"
        else:
            wins, reason = _compare(one, other, "the champion", metric, margin)
            return PromotionResult(wins, reason, one, other, majority)
    wins, reason = _compare(one, majority, "the majority class", metric, 0.0)
    return PromotionResult(wins, f"{why} {reason}", one, None, majority)


def gain(metric: str, new: float, old: float) -> float:
    """How much better ``new`` is than ``old``; negative if worse."""
    return old - new if metric in LOWER_IS_BETTER else new - old


def _compare(
    one: ModelMeasures, other: ModelMeasures, against: str, metric: str, margin: float
) -> tuple[bool, str]:
    new, old = getattr(one.label, metric), getattr(other.label, metric)
    better = gain(metric, new, old)
    what = metric.replace("_", " ")
    comparison = f"{what} {new:.4f}, {against} {old:.4f}, on {one.label.entities:,} entities"
    if not better > max(_ROUNDING, margin - _ROUNDING):
        needed = f"by at least {margin:g}" if margin else ""
        return False, f"Not better{needed}: {comparison}."
    if one.gold.entities >= MIN_GOLD_LABELS:
        new, old = getattr(one.gold, metric), getattr(other.gold, metric)
        gold = f"{what} {new:.4f}, {against} {old:.4f}, on {one.gold.entities:,} gold labels"
        if gain(metric, new, old) < -_ROUNDING:
            return (
                False,
                f"Better by the label model's labels ({comparison}), but worse by gold labels: "
                f"{gold}.",
            )
        return True, f"Better: {comparison}; {gold}."
    return True, f"Better: {comparison}."


def _measure_model(held: HeldOut, model: Any, what: str) -> ModelMeasures:
    given = apply_model(model, held.frame, what)
    return _measured(held, in_order(given, [str(c) for c in model.classes_], held.labels))


def in_order(given: np.ndarray, classes: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Probabilities float64 [n, labels] in the order of the labels.

    A class that is no longer a label gets its own last column, so that it counts as wrong; a label
    that the model does not know has probability 0.
    """
    place = {name: column for column, name in enumerate(labels)}
    gone = any(name not in place for name in classes)
    found = np.zeros((len(given), len(labels) + gone))
    for column, name in enumerate(classes):
        found[:, place.get(name, len(labels))] += given[:, column]
    return found


def _majority(held: HeldOut) -> ModelMeasures:
    known = held.label[held.label >= 0]
    counts = np.bincount(known, minlength=len(held.labels))
    shares = counts / max(1, len(known))
    return _measured(held, np.tile(shares, (len(held.label), 1)))


def _measured(held: HeldOut, given: np.ndarray) -> ModelMeasures:
    return ModelMeasures(measure(held.label, given), measure(held.gold, given))
