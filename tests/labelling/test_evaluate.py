"""Measures of labels, compared with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.labelling.small import as_json
from tippers_dagster.labelling.evaluate import calibrate, evaluate, numbers, score

LABELS = ("A", "B", "C")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_as_scikit_learn(n: int, data: st.DataObject) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    truth = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2)))
    predicted = data.draw(hnp.arrays(np.int64, n, elements=st.integers(-1, 2)))
    found = score(truth, predicted, 3)
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    occurring = [c for c in range(3) if c in truth or c in predicted]
    expected = f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(expected)
    confusion = confusion_matrix(truth, predicted, labels=[0, 1, 2, -1])
    assert np.array_equal(found.confusion, confusion[:3])
    labelled = predicted >= 0
    if labelled.any():
        right = accuracy_score(truth[labelled], predicted[labelled])
        assert found.accuracy_labelled == pytest.approx(right)
        assert found.coverage == pytest.approx(labelled.mean())


def test_only_entities_with_a_known_truth_count() -> None:
    truth = np.array([0, 1, -1, 1, 1])
    predicted = np.array([0, 0, 2, -1, 1])
    majority = np.array([0, 1, 2, 1, -1])
    confidence = np.array([0.9, 0.6, 0.9, np.nan, 0.8])
    found = evaluate(LABELS, truth, predicted, majority, confidence)
    assert found.entities == 4
    assert found.model.accuracy == 0.5
    assert found.model.accuracy_labelled == pytest.approx(2 / 3)
    assert found.majority_vote.accuracy == 0.75
    assert found.majority_class.accuracy == 0.75  # B for all
    assert found.majority_class.macro_f1 == pytest.approx(3 / 7)
    assert [b.entities for b in found.calibration] == [1, 1, 1]
    assert found.calibration_error == pytest.approx((0.1 + 0.6 + 0.2) / 3)


def test_calibration_by_hand() -> None:
    error, bins = calibrate(
        np.array([True, False, True, True]), np.array([0.75, 0.75, 1.0, np.nan])
    )
    assert [(b.low, b.high, b.entities, b.accuracy) for b in bins] == [
        (0.7, 0.8, 2, 0.5),
        (0.9, 1.0, 1, 1.0),
    ]
    assert error == pytest.approx((2 * 0.25 + 0) / 3)


def test_nothing_known_is_none_in_json() -> None:
    nothing = np.full(3, -1)
    found = evaluate(LABELS, nothing, nothing, nothing, np.full(3, np.nan))
    assert found.entities == 0
    assert as_json(found.to_json())["accuracy"] is None


def test_numbers_of_labels() -> None:
    assert numbers(LABELS, ["C", None, "Z", "A"]).tolist() == [2, -1, -1, 0]
