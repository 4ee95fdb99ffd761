"""Training and ranking a bank, and its baselines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.learning.test_bank import LABELS, sides
from tippers_dagster.learning.train import (
    Outcome,
    Task,
    compare,
    fit,
    importances,
    number_of_folds,
    rank,
    train_model,
)

LABEL = np.array([0, 1, 2, 0, 1, 2])


def outcome(model: str, right: float, error: str | None = None) -> Outcome:
    if error is not None:
        return Outcome(model, np.empty((0, 3)), np.empty((0, 3)), 1.0, (), error)
    given = np.where(np.arange(3) == LABEL[:, None], right, (1 - right) / 2)
    return Outcome(model, given, given[:4], 1.0)


def test_a_model_that_fails_comes_last_with_its_reason() -> None:
    outcomes = [outcome("b", 0, "no"), outcome("d", 0.6), outcome("a", 0, "no"), outcome("c", 0.9)]
    found = rank(outcomes, LABEL, LABEL[:4], np.full(4, -1), "macro_f1")
    assert [r.outcome.model for r in found] == ["c", "d", "a", "b"]  # c is more confident
    assert found[0].held_out is not None
    assert found[0].held_out.accuracy == 1
    assert found[0].gold is not None
    assert found[0].gold.entities == 0
    assert found[2].cross_validated is None


def test_an_error_is_the_outcome_of_its_model() -> None:
    broken = dataclasses.replace(sides(), categorical=("no such column",))
    found = train_model(Task("decision_tree", broken, 3, 1))
    assert found.error is not None
    assert "no such column" in found.error
    assert found.held_out.shape == (0, 3)


def test_the_label_model_and_the_majority_class_are_judged_on_the_same() -> None:
    label, gold = np.array([0, 1, -1, -1]), np.array([0, 0, 2, -1])
    given = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [np.nan] * 3, [0.4, 0.3, 0.3]])
    found = compare(label, gold, given, np.array([0, 1, -1, 0]), np.array([0.5, 0.3, 0.2]))
    assert found.label_model.accuracy == 1  # its own labels
    assert found.label_model.entities == 2
    assert found.majority_class.accuracy == 0.5
    assert found.label_model_gold.accuracy == pytest.approx(1 / 3)
    assert found.label_model_gold.confusion[2].tolist() == [0, 0, 0, 1]
    assert found.majority_class_gold.accuracy == pytest.approx(2 / 3)


def test_folds_are_no_more_than_the_rarest_label_has() -> None:
    assert number_of_folds(np.repeat([0, 1], [90, 4]), 5) == 4
    assert number_of_folds(np.repeat([0, 1], [90, 40]), 5) == 5


def test_the_deciding_column_is_most_important() -> None:
    given = sides()
    model = fit(Task("decision_tree", given, 3, 1))
    label = np.where(np.arange(90) < 60, given.label, -1)
    found = importances(model, given.training, label, LABELS, 1)
    assert [one.column for one in found][:2] == ["hours", "room"]
    assert found[0].mean > 0.1
    assert {one.column: one.mean for one in found}["constant"] == 0
    assert importances(model, given.training, np.full(90, -1), LABELS, 1) == []
