"""Accuracy of labels where the truth is known, compared with majority vote and majority class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tippers_dagster.labelling.analysis import ABSTAIN

BINS = 10
"""Confidence bins of equal width between 0 and 1."""


@dataclass(frozen=True)
class Scores:
    """The scores of one set of predictions.

    ``accuracy``: over all entities with a known truth; an entity without a label counts as wrong.
    ``accuracy_labelled``: over those with a label. ``macro_f1``: mean over the labels that occur in
    the truth or the predictions. ``confusion`` int64 [labels, labels + 1]: true by predicted label,
    the last column for entities without a label. All shares are NaN if no truth is known.
    """

    accuracy: float
    accuracy_labelled: float
    coverage: float
    macro_f1: float
    confusion: np.ndarray


@dataclass(frozen=True)
class CalibrationBin:
    """Entities whose label has a confidence in the interval (low, high]."""

    low: float
    high: float
    entities: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of one set of labels.

    ``calibration_error`` is the expected calibration error: the mean distance between confidence
    and accuracy.
    """

    labels: tuple[str, ...]
    entities: int
    model: Scores
    majority_vote: Scores
    majority_class: Scores
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]

    def to_json(self) -> dict[str, Any]:
        """The evaluation for metadata and artifacts; NaN becomes None."""
        return {
            "entities": self.entities,
            "accuracy": _plain(self.model.accuracy),
            "accuracy_of_labelled": _plain(self.model.accuracy_labelled),
            "coverage": _plain(self.model.coverage),
            "macro_f1": _plain(self.model.macro_f1),
            "majority_vote_accuracy": _plain(self.majority_vote.accuracy),
            "majority_vote_macro_f1": _plain(self.majority_vote.macro_f1),
            "majority_class_accuracy": _plain(self.majority_class.accuracy),
            "majority_class_macro_f1": _plain(self.majority_class.macro_f1),
            "calibration_error": _plain(self.calibration_error),
            "calibration": [vars(b) for b in self.calibration],
            "labels": list(self.labels),
            "confusion": self.model.confusion.tolist(),
        }


def evaluate(
    labels: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    majority: np.ndarray,
    confidence: np.ndarray,
) -> Evaluation:
    """Compare labels with the truth where it is known.

    Parameters
    ----------
    labels
        Names of the class numbers.
    truth, predicted, majority
        int [n]: class numbers, -1 if unknown or without a label. The majority class is the most
        frequent true label.
    confidence
        float [n]: of the predicted label; ignored where there is none.
    """
    known = truth != ABSTAIN
    truth, predicted = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    majority_class = np.bincount(truth, minlength=len(labels)).argmax() if len(truth) else ABSTAIN
    error, bins = calibrate(predicted == truth, np.where(predicted < 0, np.nan, confidence[known]))
    return Evaluation(
        labels=tuple(labels),
        entities=len(truth),
        model=score(truth, predicted, len(labels)),
        majority_vote=score(truth, majority[known].astype(np.int64), len(labels)),
        majority_class=score(truth, np.full(len(truth), majority_class), len(labels)),
        calibration_error=error,
        calibration=bins,
    )


def score(truth: np.ndarray, predicted: np.ndarray, labels: int) -> Scores:
    """Score ``predicted`` (-1: no label) against ``truth``, both int64 [n] class numbers."""
    from sklearn.metrics import (  # type: ignore[import-untyped]  # has no types
        confusion_matrix,
        f1_score,
    )

    if not len(truth):  # scikit-learn needs one
        nothing = np.zeros((labels, labels + 1), np.int64)
        return Scores(math.nan, math.nan, math.nan, math.nan, nothing)
    columns = np.where(predicted < 0, labels, predicted)
    confusion = confusion_matrix(truth, columns, labels=range(labels + 1))[:labels]
    right, labelled = np.trace(confusion), int((predicted >= 0).sum())
    occurring = np.setdiff1d(np.union1d(truth, columns), [labels])
    f1 = f1_score(truth, columns, labels=occurring, average="macro")
    return Scores(
        accuracy=_ratio(right, len(truth)),
        accuracy_labelled=_ratio(right, labelled),
        coverage=_ratio(labelled, len(truth)),
        macro_f1=float(f1),
        confusion=confusion,
    )


def calibrate(
    right: np.ndarray, confidence: np.ndarray
) -> tuple[float, tuple[CalibrationBin, ...]]:
    """Expected calibration error, and the bins behind it.

    ``right`` bool [n]; ``confidence`` float [n], NaN for entities without a label, which are not
    counted in any bin.
    """
    labelled = ~np.isnan(confidence)
    right, confidence = right[labelled], confidence[labelled]
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    entities = np.bincount(place, minlength=BINS)
    rights = np.bincount(place, weights=right, minlength=BINS)
    sums = np.bincount(place, weights=confidence, minlength=BINS)
    bins = tuple(
        CalibrationBin(
            low=b / BINS,
            high=(b + 1) / BINS,
            entities=int(entities[b]),
            confidence=float(sums[b] / entities[b]),
            accuracy=float(rights[b] / entities[b]),
        )
        for b in np.flatnonzero(entities).tolist()
    )
    return _ratio(np.abs(rights - sums).sum(), len(right)), bins


def numbers(labels: Sequence[str], given: Sequence[str | None]) -> np.ndarray:
    """int8 [n]: the class numbers of labels; -1 for None and for labels not in ``labels``."""
    number: Mapping[str | None, int] = {label: i for i, label in enumerate(labels)}
    return np.fromiter((number.get(label, ABSTAIN) for label in given), np.int8, len(given))


def _ratio(part: Any, whole: int) -> float:
    return float(part / whole) if whole else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
