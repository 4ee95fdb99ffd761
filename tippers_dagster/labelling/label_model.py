"""From votes to labels: Snorkel's LabelModel, compared with the majority vote.

Pure: arrays in, arrays out. What Snorkel learns depends only on how often each pair of votes occurs
together, so the distinct patterns of votes and their counts suffice and give exactly the same
parameters.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.errors import TippersError
from tippers_dagster.labelling.analysis import ABSTAIN, Patterns, find_patterns, votes_by_label

if TYPE_CHECKING:
    from snorkel.labeling.model import LabelModel

MIN_FUNCTIONS = 3
"""If only two functions disagree, nothing shows which of them is right."""

TIE = 1e-5
"""Probabilities that differ by less than this are tied, as in Snorkel."""

OUTCOMES = ("label", "abstain", "tie")
"""A label; no function voted; two labels are equally likely."""
LABEL, NO_VOTE, TIED = range(3)


class NoLabels(TippersError):
    """A label model cannot be computed from these votes."""


@dataclass(frozen=True)
class Training:
    """Training settings of a label model. ``class_balance``: a share per label; None: equal."""

    epochs: int = 500
    learning_rate: float = 0.01
    l2: float = 0.0
    seed: int = 123
    class_balance: tuple[float, ...] | None = None
    threads: int = 1


@dataclass(frozen=True)
class Prediction:
    """One entry per entity.

    ``probabilities`` float64 [n, labels]: the posterior; the class balance if no function voted.
    ``label``, ``majority`` int8: class numbers, -1 if there is none. ``outcome`` int8: an index of
    ``OUTCOMES``. ``confidence``: of the most likely label, NaN if no function voted.
    """

    probabilities: np.ndarray
    label: np.ndarray
    outcome: np.ndarray
    confidence: np.ndarray
    majority: np.ndarray

    def take(self, rows: np.ndarray) -> Prediction:
        """The entries of these rows."""
        return Prediction(
            self.probabilities[rows],
            self.label[rows],
            self.outcome[rows],
            self.confidence[rows],
            self.majority[rows],
        )

    def shares(self) -> dict[str, float]:
        """The share of entities with each outcome."""
        counts = np.bincount(self.outcome, minlength=len(OUTCOMES))
        return dict(zip(OUTCOMES, (counts / max(1, len(self.outcome))).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained label model.

    Parameters
    ----------
    labels, functions
        Names of the class numbers, and of the matrix's columns.
    conditional
        float32 [functions, labels, labels]: the probability that function ``j`` votes for ``l``
        if ``y`` is true. 0 for a label that no function votes for.
    class_balance
        float64 [labels]; 0 for a label that no function votes for.
    weights
        float64 [functions]: the estimated accuracy of a function's votes. NaN: it never voted.
    """

    labels: tuple[str, ...]
    functions: tuple[str, ...]
    conditional: np.ndarray
    class_balance: np.ndarray
    weights: np.ndarray
    training: Training

    def predict(self, patterns: Patterns) -> Prediction:
        """Labels for every row of the matrix behind the patterns."""
        return self.predict_votes(patterns.votes).take(patterns.row)

    def predict_votes(self, votes: np.ndarray) -> Prediction:
        """Labels for the rows of ``votes``, int8 [n, functions]."""
        probabilities = self._posterior(votes)
        majority = majority_vote(votes, len(self.labels))
        silent = (votes == ABSTAIN).all(axis=1)
        label = hard_labels(probabilities)
        outcome = np.where(silent, NO_VOTE, np.where(label == ABSTAIN, TIED, LABEL))
        return Prediction(
            probabilities=probabilities,
            label=np.where(silent, np.int8(ABSTAIN), label),
            outcome=outcome.astype(np.int8),
            confidence=np.where(silent, np.nan, probabilities.max(axis=1, initial=0)),
            majority=hard_labels(majority),
        )

    def evidence(self, votes: np.ndarray) -> np.ndarray:
        """float64 [functions, labels]: the contribution of each vote to the log-probability.

        ``votes`` int8 [functions], of one entity. An abstention contributes nothing.
        """
        with np.errstate(divide="ignore"):
            logs = np.log(self.conditional)
        chosen = logs[np.arange(len(votes)), np.maximum(votes, 0)].astype(np.float64)
        return np.where(votes[:, None] == ABSTAIN, 0.0, chosen)

    def _posterior(self, votes: np.ndarray) -> np.ndarray:
        """The result of ``LabelModel.predict_proba``, without 0/0 if there are very many votes."""
        voted = self.class_balance > 0
        logs = np.zeros((len(self.functions), len(self.labels) + 1, int(voted.sum())))
        with np.errstate(divide="ignore"):
            logs[:, 1:] = np.log(self.conditional[:, :, voted])
        score = np.tile(np.log(self.class_balance[voted]), (len(votes), 1))
        for j in range(len(self.functions)):
            score += logs[j, votes[:, j].astype(np.intp) + 1]
        score = np.exp(score - score.max(axis=1, keepdims=True, initial=-np.inf))
        probabilities = np.zeros((len(votes), len(self.labels)))
        probabilities[:, voted] = score / score.sum(axis=1, keepdims=True)
        return probabilities

    def to_json(self) -> dict[str, Any]:
        """Everything needed for prediction; the inverse of ``from_json``."""
        return {
            "labels": list(self.labels),
            "functions": list(self.functions),
            "conditional": self.conditional.astype(float).tolist(),
            "class_balance": self.class_balance.tolist(),
            "weights": [None if np.isnan(w) else w for w in self.weights.tolist()],
            "training": vars(self.training),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fitted:
        """The inverse of ``to_json``."""
        balance = data["training"]["class_balance"]
        training = {**data["training"], "class_balance": balance and tuple(balance)}
        return cls(
            labels=tuple(data["labels"]),
            functions=tuple(data["functions"]),
            conditional=np.array(data["conditional"], np.float32),
            class_balance=np.array(data["class_balance"]),
            weights=np.array([np.nan if w is None else w for w in data["weights"]]),
            training=Training(**training),
        )


def fit_label_model(
    matrix: np.ndarray | Patterns,
    labels: Sequence[str],
    functions: Sequence[str],
    training: Training | None = None,
) -> Fitted:
    """Train Snorkel's LabelModel.

    Labels that no function votes for are left out of the training: Snorkel would give them the
    remaining probability, sometimes on most entities. Their probability is 0.

    Parameters
    ----------
    matrix
        int8 [n, functions] of -1 and class numbers, or its patterns.
    labels, functions
        Names of the class numbers, and of the columns.
    training
        Snorkel's LabelModel with the same settings gives the same parameters.

    Raises
    ------
    NoLabels
        There are too few functions, no entities, no votes or votes for one label only, the class
        balance does not fit, or the training diverges.
    """
    training = training or Training()
    patterns = matrix if isinstance(matrix, Patterns) else find_patterns(matrix)
    votes = votes_by_label(patterns, len(labels)).sum(axis=0)
    _check(patterns, labels, functions, votes)
    balance = _balance(training, labels, votes > 0)
    used = np.flatnonzero(votes)
    renumbered = np.full(len(labels) + 1, ABSTAIN, np.int8)
    renumbered[used + 1] = np.arange(len(used))
    reduced = Patterns(renumbered[patterns.votes + 1], patterns.counts, patterns.row)
    model = _train(reduced, balance[used], training)
    conditional = np.zeros((len(functions), len(labels), len(labels)), np.float32)
    learned = model.get_conditional_probs()[:, 1:, :]
    conditional[np.ix_(np.arange(len(functions)), used, used)] = learned
    if not np.isfinite(learned).all():
        raise _diverged(training)
    return Fitted(
        labels=tuple(labels),
        functions=tuple(functions),
        conditional=conditional,
        class_balance=balance,
        weights=_weights(model),
        training=training,
    )


def majority_vote(votes: np.ndarray, labels: int) -> np.ndarray:
    """float64 [n, labels]: shared by the labels with most votes; equal if no function voted.

    Same as ``snorkel.labeling.model.MajorityLabelVoter``.
    """
    counts = np.stack([(votes == number).sum(axis=1) for number in range(labels)], axis=1)
    most = counts == counts.max(axis=1, keepdims=True, initial=0)
    return most / most.sum(axis=1, keepdims=True)


def hard_labels(probabilities: np.ndarray) -> np.ndarray:
    """int8 [n]: the most likely class number, -1 if two are tied."""
    if not len(probabilities):
        return np.zeros(0, np.int8)
    highest = probabilities.max(axis=1, keepdims=True)
    alone = (highest - probabilities < TIE).sum(axis=1) == 1
    return np.where(alone, probabilities.argmax(axis=1), ABSTAIN).astype(np.int8)


# --- training -----------------------------------------------------------------------------------
def _train(patterns: Patterns, balance: np.ndarray, training: Training) -> LabelModel:
    model = _pattern_label_model()(patterns.counts, len(balance), verbose=False)
    with _isolated_random_state(training.threads):
        try:
            model.fit(
                patterns.votes,
                class_balance=balance.tolist(),
                n_epochs=training.epochs,
                lr=training.learning_rate,
                l2=training.l2,
                seed=training.seed,
                progress_bar=False,
            )
        except Exception as error:
            # Snorkel has no specific exception for this.
            if "Loss is NaN" in str(error):
                raise _diverged(training) from None
            raise
    return model


def _pattern_label_model() -> type[LabelModel]:
    import torch
    from snorkel.labeling.model import LabelModel

    class PatternLabelModel(LabelModel):
        """Snorkel's LabelModel, trained on distinct rows with their counts.

        ``fit`` uses the rows in one place only, to count them. With all rows, that takes 8 bytes
        per row, function and label: 5 GB for 10 M entities and 20 functions. The method is private
        to Snorkel, whose version is pinned; a test checks that the parameters are identical.
        """

        def __init__(self, counts: np.ndarray, cardinality: int, **settings: Any) -> None:
            super().__init__(cardinality, **settings)
            self._counts = counts

        def _generate_O(self, L: np.ndarray, higher_order: bool = False) -> None:  # noqa: N802,N803
            indicators = self._get_augmented_label_matrix(L, higher_order)
            self.n, self.d = int(self._counts.sum()), indicators.shape[1]
            together = (indicators * self._counts[:, None]).T @ indicators / self.n
            self.O = torch.from_numpy(together).float()
            self.coverage = self._counts @ (L != 0) / self.n

    return PatternLabelModel


@contextmanager
def _isolated_random_state(threads: int) -> Iterator[None]:
    """Restore the global random generators, which Snorkel seeds."""
    import torch

    states, numpy_state, torch_state = (
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002
        torch.get_rng_state(),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    try:
        yield
    finally:
        random.setstate(states)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        torch.set_num_threads(before)


def _weights(model: LabelModel) -> np.ndarray:
    """Snorkel's estimated accuracies; NaN for a function that never voted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(model.coverage > 0, model.get_weights(), np.nan)


def _check(
    patterns: Patterns, labels: Sequence[str], functions: Sequence[str], votes: np.ndarray
) -> None:
    if len(functions) < MIN_FUNCTIONS:
        raise NoLabels(
            f"A label model needs at least {MIN_FUNCTIONS} labelling functions; "
            f"this one has {len(functions)}.",
            "Add labelling functions to the label model.",
        )
    if not patterns.rows:
        raise NoLabels(
            "There is nothing to label: the index is empty.",
            "Check the index; for a derived index, check the labels that it is derived from.",
        )
    if patterns.votes.max(initial=ABSTAIN) >= len(labels):
        raise NoLabels("There are votes for a class number that is not a label.")
    if not votes.any():
        raise NoLabels(
            f"No labelling function voted for any of the {patterns.rows:,} entities.",
            "Check the rules' values, and relax the thresholds of the labelling functions.",
        )
    if np.count_nonzero(votes) < 2:
        raise NoLabels(
            f"All votes are for {labels[int(votes.argmax())]}; a label model needs votes for two "
            "labels or more.",
            f"No function votes for {', '.join(np.array(labels)[votes == 0])}: check the labelling "
            "functions that should.",
        )


def _balance(training: Training, labels: Sequence[str], used: np.ndarray) -> np.ndarray:
    """float64 [labels], over the labels that have votes."""
    given = training.class_balance
    if given is None:
        return used / used.sum()
    balance = np.array(given, float)
    if len(balance) != len(labels) or not np.isfinite(balance).all() or (balance <= 0).any():
        raise NoLabels(
            "The class balance needs a share above 0 for each label: " + ", ".join(labels) + ".",
            "Fix the label model's class balance, or remove it to weight all labels equally.",
        )
    if abs(balance.sum() - 1) > 1e-3:
        raise NoLabels(
            f"The shares of the class balance sum to {balance.sum():g}.", "They must sum to 1."
        )
    if used.all():
        return balance
    return np.where(used, balance, 0) / balance[used].sum()


def _diverged(training: Training) -> NoLabels:
    return NoLabels(
        f"The training diverged (loss is NaN) with a learning rate of {training.learning_rate:g}.",
        "Set a smaller learning rate in the label model, for example 0.01.",
    )
