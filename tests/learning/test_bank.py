"""Every model of the bank accepts typical features, and gives probabilities."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest

from tippers_dagster.catalog.kinds import CLASSIFIER_MODELS
from tippers_dagster.learning import bank
from tippers_dagster.learning.bank import left_out
from tippers_dagster.learning.saved import parse_model
from tippers_dagster.learning.train import Sides, Task, fit, probabilities, train_model

LABELS = ("STATIC", "LAPTOP", "PHONE")
N = 120


def sides(n: int = N, labels: tuple[str, ...] = LABELS) -> Sides:
    """Numbers with gaps, a column missing in the training set, and unknown rooms."""
    rng = np.random.default_rng(0)
    label = (np.arange(n) % len(labels)).astype(np.int8)
    frame = pd.DataFrame(
        {
            "hours": np.where(rng.random(n) < 0.2, np.nan, label + rng.normal(0, 0.3, n)),
            "since": 1.7e9 + rng.normal(0, 1e6, n),
            "rare": np.where(np.arange(n) == n - 1, 1.0, np.nan),
            "constant": 1.0,
            "room": np.array([None, "office", "lab", "hall"], object)[
                np.where(rng.random(n) < 0.7, label, rng.integers(0, 4, n))
            ],
        }
    )
    out = np.arange(n) >= n - n // 4
    frame.loc[out & (np.arange(n) % 7 == 0), "room"] = "a new building"
    numeric = ("hours", "since", "rare", "constant")
    return Sides(labels, frame[~out], label[~out], frame[out], numeric, ("room",))


def test_the_bank_is_what_definitions_may_name() -> None:
    assert tuple(bank._BANK) == CLASSIFIER_MODELS


@pytest.mark.parametrize("model", CLASSIFIER_MODELS)
def test_it_learns_and_gives_probabilities(model: str) -> None:
    import skops.io

    task = Task(model, sides(), 3, 7)
    found = train_model(task)
    assert found.error is None
    assert found.cross_validated.shape == (90, 3)
    assert found.held_out.shape == (30, 3)
    for given in (found.cross_validated, found.held_out):
        assert np.allclose(given.sum(axis=1), 1)
        assert given.min() >= 0
    assert (found.cross_validated.argmax(axis=1) == task.sides.label).mean() > 0.6
    trained = fit(task)
    assert list(trained.classes_) == sorted(LABELS)
    # The kept model is the evaluated one, and survives a round trip through a file.
    assert np.allclose(probabilities(trained, task.sides.held_out, LABELS), found.held_out)
    loaded = parse_model(skops.io.dumps(trained))
    assert np.allclose(probabilities(loaded, task.sides.held_out, LABELS), found.held_out)


@pytest.mark.parametrize("model", ["linear_svm", "random_forest", "lightgbm"])
def test_equal_tasks_give_equal_probabilities(model: str) -> None:
    one, other = (train_model(Task(model, sides(), 3, 7)) for _ in range(2))
    assert (one.cross_validated == other.cross_validated).all()
    assert (one.held_out == other.held_out).all()


@pytest.mark.parametrize("model", ["ridge", "nearest_neighbours", "naive_bayes"])
def test_three_entities_of_a_label_are_enough(model: str) -> None:
    few = sides(12)
    assert np.bincount(few.label).tolist() == [3, 3, 3]
    assert train_model(Task(model, few, 5, 1)).error is None


@pytest.mark.parametrize("model", ["logistic_regression", "linear_svm", "lightgbm"])
def test_two_labels_are_enough(model: str) -> None:
    found = train_model(Task(model, sides(labels=("Z", "A")), 3, 1))
    assert found.error is None
    assert found.held_out.shape == (30, 2)


def test_a_library_without_its_dependency_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_out(CLASSIFIER_MODELS) == {}
    really = importlib.import_module

    def without(name: str) -> object:
        if name == "lightgbm":
            raise OSError("libgomp.so.1: cannot open shared object file")
        return really(name)

    monkeypatch.setattr(bank.importlib, "import_module", without)
    reason = "OSError: libgomp.so.1: cannot open shared object file"
    assert left_out(CLASSIFIER_MODELS) == {"lightgbm": reason}
