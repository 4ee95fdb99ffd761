"""Real votes (WRENCH's Youtube comments) in our label model and in Snorkel's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_model import read_wrench, wrench
from tippers_dagster.labelling.analysis import ABSTAIN, analyse, find_patterns
from tippers_dagster.labelling.label_model import Training, fit_label_model, majority_vote


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "wrench_youtube"


def test_accuracies_are_those_of_snorkel(folder: Path) -> None:
    found = wrench(folder, Training(epochs=500, seed=123))
    for ours, theirs in zip(found.ours, found.snorkel, strict=True):
        assert ours == pytest.approx(theirs)
    assert found.entities == 250
    assert min(figures.accuracy for figures in found.ours) > 0.7


def test_probabilities_and_analysis_are_those_of_snorkel(folder: Path) -> None:
    from snorkel.labeling import LFAnalysis
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    train, _ = read_wrench(folder / "train.json")
    test, truth = read_wrench(folder / "test.json")
    names = [f"f{j}" for j in range(train.shape[1])]
    training = Training(epochs=200, seed=1)
    ours = fit_label_model(train, ("HAM", "SPAM"), names, training)
    theirs = LabelModel(cardinality=2, verbose=False)
    theirs.fit(train, n_epochs=200, seed=1, progress_bar=False)
    predicted = ours.predict(find_patterns(test))
    assert np.allclose(predicted.probabilities, theirs.predict_proba(test), atol=1e-12)
    voted = (test != ABSTAIN).any(axis=1)
    assert np.array_equal(predicted.label[voted], theirs.predict(test)[voted])
    assert np.array_equal(
        majority_vote(test, 2), MajorityLabelVoter(cardinality=2).predict_proba(test)
    )
    summary = analyse(find_patterns(test), names, ("HAM", "SPAM"), gold=truth).summary()
    expected = LFAnalysis(test.astype(int)).lf_summary(truth)
    assert np.allclose(summary["Emp. Acc."].fillna(0.0), expected["Emp. Acc."])
    assert np.allclose(summary["Conflicts"], expected["Conflicts"])
