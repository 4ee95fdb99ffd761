"""Label models, compared with Snorkel's classes on the same votes and seed."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.labelling.analysis import ABSTAIN, find_patterns
from tippers_dagster.labelling.label_model import (
    LABEL,
    NO_VOTE,
    TIED,
    Fitted,
    NoLabels,
    Training,
    fit_label_model,
    hard_labels,
    majority_vote,
)

LABELS = ("A", "B", "C")


def votes(n: int, m: int, k: int, seed: int, coverage: float = 0.4) -> np.ndarray:
    """Votes of functions that are right four times out of five."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    right = np.where(rng.random((n, m)) < 0.8, truth[:, None], rng.integers(0, k, (n, m)))
    return np.where(rng.random((n, m)) < coverage, right, ABSTAIN).astype(np.int8)


def names(m: int) -> list[str]:
    return [f"f{j}" for j in range(m)]


def snorkel(matrix: np.ndarray, k: int, training: Training):
    from snorkel.labeling.model import LabelModel

    model = LabelModel(cardinality=k, verbose=False)
    model.fit(
        matrix,
        class_balance=training.class_balance,
        n_epochs=training.epochs,
        lr=training.learning_rate,
        l2=training.l2,
        seed=training.seed,
        progress_bar=False,
    )
    return model


@pytest.mark.parametrize(
    "training",
    [
        Training(epochs=100),
        Training(epochs=30, l2=0.1, seed=7, class_balance=(0.5, 0.3, 0.2)),
        Training(epochs=200, learning_rate=0.05, threads=2),
    ],
)
def test_parameters_are_identical_to_snorkels(training: Training) -> None:
    matrix = votes(3_000, 8, 3, seed=1)
    ours = fit_label_model(matrix, LABELS, names(8), training)
    theirs = snorkel(matrix, 3, training)
    assert np.array_equal(ours.conditional, theirs.get_conditional_probs()[:, 1:].astype("f4"))
    assert np.array_equal(ours.weights, theirs.get_weights())
    predicted = ours.predict(find_patterns(matrix))
    assert np.allclose(predicted.probabilities, theirs.predict_proba(matrix), atol=1e-12)
    silent = (matrix == ABSTAIN).all(axis=1)
    assert np.array_equal(predicted.label[~silent], theirs.predict(matrix)[~silent])
    assert (predicted.outcome[silent] == NO_VOTE).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(3, 7))
def test_predictions_equal_snorkels(seed: int, k: int, m: int) -> None:
    training = Training(epochs=20, seed=seed)
    matrix = votes(60, m, k, seed, coverage=0.7)
    if len(np.unique(matrix[matrix >= 0])) < k:
        return
    theirs = snorkel(matrix, k, training)
    ours = fit_label_model(matrix, LABELS[:k], names(m), training).predict(find_patterns(matrix))
    assert np.allclose(ours.probabilities, theirs.predict_proba(matrix), atol=1e-12)
    assert np.isfinite(ours.probabilities).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(1, 6))
def test_majority_vote_as_snorkel(seed: int, k: int, m: int) -> None:
    from snorkel.labeling.model import MajorityLabelVoter

    matrix = votes(50, m, k, seed)
    theirs = MajorityLabelVoter(cardinality=k)
    assert np.array_equal(majority_vote(matrix, k), theirs.predict_proba(matrix))
    assert np.array_equal(hard_labels(majority_vote(matrix, k)), theirs.predict(matrix))


def test_abstentions_and_ties_are_distinguished() -> None:
    fitted = Fitted(
        labels=("A", "B"),
        functions=("f", "g", "h"),
        conditional=np.array([[[0.6, 0.2], [0.2, 0.6]]] * 3, np.float32),
        class_balance=np.array([0.5, 0.5]),
        weights=np.full(3, 0.75),
        training=Training(),
    )
    found = fitted.predict_votes(np.array([[0, 0, 1], [0, 1, -1], [-1, -1, -1]], np.int8))
    assert found.outcome.tolist() == [LABEL, TIED, NO_VOTE]
    assert found.label.tolist() == [0, -1, -1]
    assert found.majority.tolist() == [0, -1, -1]
    assert found.confidence[:2] == pytest.approx([0.75, 0.5])
    assert np.isnan(found.confidence[2])
    assert sum(found.shares().values()) == pytest.approx(1)
    # The contributions of the votes give the posterior.
    one = fitted.evidence(np.array([0, 0, 1], np.int8)).sum(axis=0)
    assert np.exp(one)[0] / np.exp(one).sum() == pytest.approx(0.75)


def test_very_many_votes_give_no_nan() -> None:
    matrix = votes(300, 200, 2, seed=3, coverage=0.95)
    fitted = fit_label_model(matrix, LABELS[:2], names(200), Training(epochs=5))
    found = fitted.predict(find_patterns(matrix))
    assert np.isfinite(found.probabilities).all()


def test_a_label_without_votes_is_never_assigned() -> None:
    matrix = votes(2_000, 6, 2, seed=4)  # no function votes for B
    matrix[matrix == 1] = 2
    fitted = fit_label_model(matrix, LABELS, names(6), Training(epochs=50))
    found = fitted.predict(find_patterns(matrix))
    assert (found.probabilities[:, 1] == 0).all()
    assert set(found.label.tolist()) <= {-1, 0, 2}
    alone = np.where(matrix == 2, 1, matrix)
    theirs = snorkel(alone, 2, Training(epochs=50)).predict_proba(alone)
    assert np.allclose(found.probabilities[:, [0, 2]], theirs, atol=1e-12)


def test_a_function_without_votes_has_no_estimated_accuracy() -> None:
    matrix = votes(500, 5, 2, seed=5)
    matrix[:, 3] = ABSTAIN
    fitted = fit_label_model(matrix, LABELS[:2], names(5), Training(epochs=20))
    assert np.isnan(fitted.weights).tolist() == [False, False, False, True, False]


def _silent(matrix: np.ndarray) -> np.ndarray:
    return np.full_like(matrix, ABSTAIN)


@pytest.mark.parametrize(
    ("change", "training", "message"),
    [
        (lambda m: m[:, :2], Training(), "at least 3 labelling functions; this one has 2"),
        (lambda m: m[:0], Training(), "nothing to label"),
        (_silent, Training(), "No labelling function voted"),
        (lambda m: np.where(m == 1, ABSTAIN, m), Training(), "All votes are for A"),
        (lambda m: m, Training(class_balance=(1.0, 0.0)), "a share above 0 for each label"),
        (lambda m: m, Training(class_balance=(0.5, 0.2)), "sum to 0.7"),
        (lambda m: m, Training(class_balance=(1.0,)), "a share above 0 for each label"),
        (lambda m: m, Training(learning_rate=1e30), "learning rate of 1e\\+30"),
        (lambda m: m + 1, Training(), "class number"),
    ],
)
def test_clear_errors(
    change: Callable[[np.ndarray], np.ndarray], training: Training, message: str
) -> None:
    matrix = change(votes(100, 4, 2, seed=6, coverage=0.8)).astype(np.int8)
    with pytest.raises(NoLabels, match=message):
        fit_label_model(matrix, LABELS[:2], names(matrix.shape[1]), training)


def test_global_random_generators_are_restored() -> None:
    import torch

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    fit_label_model(votes(50, 3, 2, 7, 0.9), LABELS[:2], names(3), Training(epochs=2))
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected  # noqa: NPY002


def test_it_can_be_stored_as_json() -> None:
    import json

    matrix = votes(200, 4, 2, seed=8)
    fitted = fit_label_model(
        matrix, LABELS[:2], names(4), Training(epochs=10, class_balance=(0.4, 0.6))
    )
    again = Fitted.from_json(json.loads(json.dumps(fitted.to_json())))
    patterns = find_patterns(matrix)
    expected = fitted.predict(patterns).probabilities
    assert np.array_equal(again.predict(patterns).probabilities, expected)
    assert again.training == fitted.training
