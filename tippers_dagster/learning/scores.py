"""Measures the quality of predicted probabilities, where the labels are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tippers_dagster.labelling.evaluate import CalibrationBin, calibrate, score

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")
"""In the order in which they decide between models."""

LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error"})

_MIN_PROBABILITY = 1e-15
"""Lower limit of probabilities, so that the log loss stays finite, as in scikit-learn."""


@dataclass(frozen=True, eq=False)
class Measures:
    """The measures of one set of predictions; shares are NaN if there are no entities.

    ``balanced_accuracy``: mean recall of the labels that occur. ``macro_f1``: mean over the labels
    that occur in the truth or the predictions. ``log_loss`` in nats. ``calibration_error``:
    expected calibration error. ``confusion`` int64 [labels, labels + 1]: true by predicted label,
    the last column for entities without a label, which count as wrong.
    """

    entities: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    confusion: np.ndarray
    calibration: tuple[CalibrationBin, ...]

    def values(self) -> dict[str, float | None]:
        """The metrics by name; None if unknown."""
        found = {name: float(getattr(self, name)) for name in METRICS}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        """All measures as JSON."""
        return {
            "entities": self.entities,
            **self.values(),
            "confusion": self.confusion.tolist(),
            "calibration": [vars(one) for one in self.calibration],
        }


def measure(
    truth: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray | None = None
) -> Measures:
    """Measure probabilities against the truth.

    Parameters
    ----------
    truth
        int [n]: class numbers, -1 if the truth is unknown; these do not count.
    probabilities
        float64 [n, labels]; NaN if nothing is known: all labels are equally likely.
    predicted
        int [n]: the predicted label, -1 for none; by default the most likely one, and none if
        nothing is known.
    """
    known = truth >= 0
    truth, given = truth[known].astype(np.int64), probabilities[known]
    labels = given.shape[1]
    silent = np.isnan(given).any(axis=1)
    if predicted is None:
        chosen = np.where(silent, -1, np.where(silent[:, None], 0.0, given).argmax(axis=1))
    else:
        chosen = predicted[known].astype(np.int64)
    filled = np.where(silent[:, None], 1 / labels, given)
    error, bins = calibrate(chosen == truth, np.where(chosen < 0, np.nan, filled.max(axis=1)))
    found = score(truth, chosen, labels)
    return Measures(
        entities=len(truth),
        accuracy=found.accuracy,
        balanced_accuracy=_balanced(found.confusion),
        macro_f1=found.macro_f1,
        log_loss=log_loss(truth, filled),
        calibration_error=error,
        confusion=found.confusion,
        calibration=bins,
    )


def better_first(values: Sequence[dict[str, float | None]], metric: str) -> list[int]:
    """Positions, best first: by ``metric``, then by the others; missing values come last."""
    order = (metric, *(name for name in METRICS if name != metric))

    def rank(position: int) -> tuple[float, ...]:
        found = [values[position].get(name) for name in order]
        return tuple(
            math.inf if value is None else value if name in LOWER_IS_BETTER else -value
            for name, value in zip(order, found, strict=True)
        )

    return sorted(range(len(values)), key=rank)


def _balanced(confusion: np.ndarray) -> float:
    true = confusion.sum(axis=1)
    occurring = true > 0
    if not occurring.any():
        return math.nan
    return float((np.diagonal(confusion)[occurring] / true[occurring]).mean())


def log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean log loss in nats; NaN if there are no entities.

    Parameters
    ----------
    truth
        int [n]: class numbers, all known.
    probabilities
        float64 [n, labels], without NaN.
    """
    if not len(truth):
        return math.nan
    right = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(right, _MIN_PROBABILITY, 1.0)).mean())
