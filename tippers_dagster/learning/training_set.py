"""Selects a classifier's training set: entities with confident labels, and a held-out set.

Pure: arrays and tables in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from tippers_dagster.learning.errors import EmptyFeature, OneClassOnly, TooFewLabels
from tippers_dagster.platform.fingerprint import mix, of_text, of_texts

Method = Literal["probability", "entropy"]

STEP = 0.05
"""The step by which the threshold is lowered."""

MIN_TRAINED_PER_LABEL = 3
"""Minimum entities of a label in the training set, for cross-validation and calibration."""

_SPLIT, _CAP = 1, 2
"""Purposes of hashes of keys: the two must be independent."""


@dataclass(frozen=True)
class Step:
    """One threshold, and the number of confident entities per label."""

    threshold: float
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The entities that are trained on, and those that are held out.

    Attributes
    ----------
    labels
        Names of the labels in the order of the class numbers.
    label
        int8 [n]: the class number of the entity's label if it is confident, else -1.
    held_out
        bool [n]: the entities that no version of the classifier is trained on.
    trained
        bool [n]: the entities trained on: confident, not held out, within the cap.
    steps
        The thresholds that were tried; the last one is used.
    """

    labels: tuple[str, ...]
    label: np.ndarray
    held_out: np.ndarray
    trained: np.ndarray
    steps: tuple[Step, ...]

    @property
    def threshold(self) -> float:
        """The threshold in use."""
        return self.steps[-1].threshold

    @property
    def judged(self) -> np.ndarray:
        """bool [n]: held out, with a confident label."""
        return self.held_out & (self.label >= 0)

    def counts(self, rows: np.ndarray) -> dict[str, int]:
        """Entities per label among the given rows (bool [n]) with a confident label."""
        found = np.bincount(self.label[rows & (self.label >= 0)], minlength=len(self.labels))
        return dict(zip(self.labels, found.tolist(), strict=True))


def held_out(keys: pa.Array, seed: int, share: float) -> np.ndarray:
    """The held-out entities: bool [n].

    Depends only on a hash of key and seed: in every version of a classifier an entity is on the
    same side, whatever its label and whatever other entities exist.

    Parameters
    ----------
    keys
        The keys in the lake, [n].
    seed
        The classifier's seed.
    share
        The expected share of held-out entities; a greater share holds out the same and more.
    """
    return _uniform(keys, seed, _SPLIT) < share


def confidence(probabilities: np.ndarray, method: Method) -> np.ndarray:
    """The confidence of a label model: float64 [n], NaN if it knows nothing.

    Parameters
    ----------
    probabilities
        float64 [n, labels]; NaN if no labelling function voted.
    method
        ``probability``: the largest; ``entropy``: one minus the entropy, divided by that of
        equally likely labels (Shannon).
    """
    if method == "probability":
        return probabilities.max(axis=1)
    inside = np.where(probabilities > 0, probabilities, 1.0)  # 0 log 0 is 0
    entropy = -(probabilities * np.log(inside)).sum(axis=1)
    return 1.0 - entropy / np.log(probabilities.shape[1])


def choose_threshold(
    label: np.ndarray,
    confidences: np.ndarray,
    training: np.ndarray,
    labels: Sequence[str],
    threshold: float,
    minimum: int,
) -> tuple[Step, ...]:
    """Lower the threshold until every label has enough entities.

    Parameters
    ----------
    label, confidences
        int [n]: class numbers, -1 for none; float64 [n]: their confidence.
    training
        bool [n]: not held out; must contain ``MIN_TRAINED_PER_LABEL`` entities of each label.
    threshold
        The first threshold; lowered by ``STEP`` each time, down to 0.
    minimum
        Required entities of each label with at least that confidence.

    Returns
    -------
    tuple of Step
        All thresholds that were tried; the last one has enough entities.

    Raises
    ------
    OneClassOnly, TooFewLabels
        When there are not enough even at threshold 0.
    """
    given = label >= 0
    steps: list[Step] = []
    while True:
        chosen = given & (confidences >= threshold)
        counts = np.bincount(label[chosen], minlength=len(labels))
        left = np.bincount(label[chosen & training], minlength=len(labels))
        steps.append(Step(round(threshold, 6), tuple(counts.tolist())))
        if counts.min() >= minimum and left.min() >= MIN_TRAINED_PER_LABEL:
            return tuple(steps)
        if threshold <= 0:
            raise _too_few(labels, counts, left, minimum)
        threshold = max(0.0, round(threshold - STEP, 6))


def make_training_set(
    keys: pa.Array,
    label: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    *,
    method: Method,
    threshold: float,
    minimum_per_class: int,
    imbalance_cap: float,
    test_share: float,
    seed: int,
) -> TrainingSet:
    """Choose the entities to train on.

    The cap applies only to the training set: the held-out entities stay as they are.

    Parameters
    ----------
    keys
        The entities' keys in the lake, [n].
    label, probabilities
        From the label model: int8 [n] class numbers, -1 if it abstains or ties; float64
        [n, labels], NaN if no labelling function voted.
    method, threshold, minimum_per_class, imbalance_cap, test_share, seed
        As in the definition of a classifier.

    Raises
    ------
    OneClassOnly, TooFewLabels
        When the labels do not allow it.
    """
    confidences = confidence(probabilities, method)
    out = held_out(keys, seed, test_share)
    steps = choose_threshold(label, confidences, ~out, labels, threshold, minimum_per_class)
    confident = np.where(confidences >= steps[-1].threshold, label, -1).astype(np.int8)
    training = (confident >= 0) & ~out
    counts = np.bincount(confident[training], minlength=len(labels))
    kept = _capped(keys, confident, training, int(imbalance_cap * counts.min()), seed)
    return TrainingSet(tuple(labels), confident, out, kept, steps)


def check_not_empty(columns: pa.Table, trained: np.ndarray) -> None:
    """Refuse columns that are null for every entity in the training set.

    Raises
    ------
    EmptyFeature
        Names the columns.
    """
    mask = pa.array(trained)
    empty = [
        name
        for name, column in zip(columns.column_names, columns.columns, strict=True)
        if column.null_count and column.filter(mask).null_count == int(trained.sum())
    ]
    if empty:
        raise EmptyFeature(
            f"{', '.join(empty)}: null for every entity in the training set "
            f"({int(trained.sum()):,}).",
            "Fix the feature's query, or remove the feature from the classifier.",
        )


def _capped(
    keys: pa.Array, label: np.ndarray, training: np.ndarray, most: int, seed: int
) -> np.ndarray:
    """``training`` with at most ``most`` entities of each label: those with the lowest hashes."""
    order = np.argsort(_uniform(keys, seed, _CAP), kind="stable")
    order = order[training[order]]
    kept = np.zeros(len(label), bool)
    for number in np.unique(label[training]).tolist():
        kept[order[label[order] == number][:most]] = True
    return kept


def _uniform(keys: pa.Array, seed: int, purpose: int) -> np.ndarray:
    """float64 [n] in [0, 1): pseudo-random, but always the same for a key."""
    if pa.types.is_integer(keys.type):
        hashed = keys.to_numpy(zero_copy_only=False)
    else:
        hashed = of_texts(keys.cast(pa.string()).to_pylist())
    return mix(hashed, of_text("held out", seed, purpose)) / 2.0**64


def _too_few(
    labels: Sequence[str], counts: np.ndarray, left: np.ndarray, minimum: int
) -> OneClassOnly | TooFewLabels:
    if (counts > 0).sum() == 1:
        return OneClassOnly(
            f"All labelled entities ({counts.sum():,}) have the label "
            f"{labels[int(counts.argmax())]}; a classifier needs two labels or more.",
            "Check the label model: perhaps its functions vote for only one label on this data.",
        )
    if counts.min() < minimum:
        return TooFewLabels(
            f"Even with every label that the label model gives, {_label_counts(labels, counts)}; "
            f"{minimum:,} of each are needed.",
            "Lower minimum_per_class, or write labelling functions that vote for these labels.",
        )
    return TooFewLabels(
        f"In the training set, {_label_counts(labels, left)}; {MIN_TRAINED_PER_LABEL} of each are "
        "needed.",
        "Lower test_share, or write labelling functions that vote for these labels.",
    )


def _label_counts(labels: Sequence[str], counts: np.ndarray) -> str:
    pairs = [f"{count:,} {label}" for label, count in zip(labels, counts.tolist(), strict=True)]
    return f"there are {', '.join(pairs)}"
