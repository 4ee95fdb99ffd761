"""Measures, compared with scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tippers_dagster.learning.scores import METRICS, better_first, measure


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_measures_equal_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, labels = int(rng.integers(5, 60)), int(rng.integers(2, 5))
    truth = rng.integers(-1, labels, n)
    truth[:2] = [0, 1]
    probabilities = rng.dirichlet(np.full(labels, 0.5), n)
    found, known = measure(truth, probabilities), truth >= 0
    true, given = truth[known], probabilities[known]
    guess = given.argmax(axis=1)
    assert found.entities == known.sum()
    assert found.accuracy == pytest.approx(metrics.accuracy_score(true, guess))
    recall = metrics.recall_score(true, guess, average=None, labels=np.unique(true))
    assert found.balanced_accuracy == pytest.approx(recall.mean())
    assert found.macro_f1 == pytest.approx(metrics.f1_score(true, guess, average="macro"))
    loss = metrics.log_loss(true, np.clip(given, 1e-15, 1), labels=range(labels))
    assert found.log_loss == pytest.approx(loss, rel=1e-6)
    cells = metrics.confusion_matrix(true, guess, labels=range(labels))
    assert (found.confusion[:, :-1] == cells).all()


def test_an_entity_without_a_label_is_wrong() -> None:
    probabilities = np.array([[0.9, 0.1], [np.nan, np.nan], [0.5, 0.5]])
    found = measure(np.array([0, 0, 1]), probabilities, np.array([0, -1, -1]))
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.balanced_accuracy == pytest.approx(0.25)
    assert found.confusion.tolist() == [[1, 0, 1], [0, 0, 1]]
    assert found.log_loss == pytest.approx(-(math.log(0.9) + 2 * math.log(0.5)) / 3)
    assert found.calibration_error == pytest.approx(0.1)
    assert measure(np.array([0, 0, 1]), probabilities).confusion.tolist() == [[1, 0, 1], [1, 0, 0]]


def test_no_entities_give_no_figures() -> None:
    found = measure(np.array([-1, -1]), np.ones((2, 2)) / 2)
    assert found.entities == 0
    assert found.values() == dict.fromkeys(METRICS)
    assert found.to_json()["calibration"] == []


def test_the_better_one_comes_first() -> None:
    one = {"accuracy": 0.9, "macro_f1": 0.8, "log_loss": 0.5}
    other = {"accuracy": 0.9, "macro_f1": 0.7, "log_loss": 0.1}
    assert better_first([{}, other, one], "macro_f1") == [2, 1, 0]
    assert better_first([{}, other, one], "log_loss") == [1, 2, 0]
    assert better_first([other, one], "accuracy") == [1, 0]  # by macro F1, then
