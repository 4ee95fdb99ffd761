"""The analysis of labelling functions, compared with Snorkel's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tippers_dagster.labelling.analysis import ABSTAIN, analyse, find_patterns, votes_by_label

LABELS = ("A", "B", "C", "D")


@st.composite
def matrices(draw: st.DrawFn, least_rows: int = 1) -> np.ndarray:
    rows = draw(st.integers(least_rows, 40))
    columns = draw(st.integers(1, 8))
    highest = draw(st.integers(0, len(LABELS) - 1))
    return draw(hnp.arrays(np.int8, (rows, columns), elements=st.integers(ABSTAIN, highest)))


@given(matrices(least_rows=0))
def test_patterns_reproduce_the_matrix(matrix: np.ndarray) -> None:
    patterns = find_patterns(matrix)
    assert np.array_equal(patterns.votes[patterns.row], matrix)
    assert len(np.unique(patterns.votes, axis=0)) == len(patterns.votes)
    assert np.array_equal(patterns.counts, np.bincount(patterns.row, minlength=len(patterns.votes)))


def test_patterns_of_many_functions_are_found_in_blocks() -> None:
    rng = np.random.default_rng(5)
    few = rng.integers(-1, 4, (30, 90), dtype=np.int8)
    few[1] = few[0]
    few[1, 89] = (few[0, 89] + 2) % 4  # differs in the last column only
    patterns = find_patterns(few[rng.integers(0, 30, 5_000)])
    assert len(patterns.votes) == 30
    assert patterns.counts.sum() == 5_000


@settings(max_examples=60, deadline=None)
@given(matrices(), st.data())
def test_as_snorkel(matrix: np.ndarray, data: st.DataObject) -> None:
    from snorkel.labeling import LFAnalysis

    gold = data.draw(hnp.arrays(np.int64, len(matrix), elements=st.integers(0, len(LABELS) - 1)))
    weights = np.linspace(0.1, 0.9, matrix.shape[1])
    functions = [f"f{j}" for j in range(matrix.shape[1])]
    ours = analyse(find_patterns(matrix), functions, LABELS, gold=gold, weights=weights)
    theirs = LFAnalysis(matrix.astype(int)).lf_summary(gold, weights)
    summary = ours.summary().drop(columns="j").reset_index(drop=True)
    # For Snorkel, a function without votes on gold entities is always wrong.
    assert np.isnan(summary["Emp. Acc."]).equals(summary["Coverage"] == 0)
    summary["Emp. Acc."] = summary["Emp. Acc."].fillna(0.0)
    pd.testing.assert_frame_equal(summary, theirs, check_dtype=False)
    assert ours.covered == pytest.approx(LFAnalysis(matrix).label_coverage())


@settings(max_examples=40, deadline=None)
@given(matrices(least_rows=4))
def test_only_entities_with_gold_labels_count(matrix: np.ndarray) -> None:
    from snorkel.labeling import LFAnalysis

    gold = np.where(np.arange(len(matrix)) % 2, np.arange(len(matrix)) % len(LABELS), ABSTAIN)
    functions = [f"f{j}" for j in range(matrix.shape[1])]
    ours = analyse(find_patterns(matrix), functions, LABELS, gold=gold)
    known = gold != ABSTAIN
    theirs = LFAnalysis(matrix[known].astype(int)).lf_summary(gold[known])
    assert ours.gold_entities == known.sum()
    assert ours.correct.tolist() == theirs["Correct"].tolist()
    assert ours.incorrect.tolist() == theirs["Incorrect"].tolist()


def test_no_rows_and_no_votes_are_fine() -> None:
    for matrix in (np.zeros((0, 3), np.int8), np.full((5, 3), ABSTAIN, np.int8)):
        patterns = find_patterns(matrix)
        found = analyse(patterns, ["a", "b", "c"], LABELS)
        assert found.coverage.tolist() == [0, 0, 0]
        assert found.covered == 0
        assert not votes_by_label(patterns, len(LABELS)).any()


def test_words() -> None:
    matrix = np.array([[0, -1], [2, 2]], np.int8)
    found = analyse(find_patterns(matrix), ["a", "b"], LABELS)
    assert found.polarity_labels(0) == ["A", "C"]
    assert "Emp. Acc." not in found.summary()
