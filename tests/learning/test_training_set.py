"""The entities in the training set."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.learning.errors import EmptyFeature, OneClassOnly, TooFewLabels
from tippers_dagster.learning.training_set import (
    STEP,
    check_not_empty,
    choose_threshold,
    confidence,
    held_out,
    make_training_set,
)

LABELS = ("A", "B", "C")
TEN = settings(max_examples=30, deadline=None)


def ids(n: int, seed: int = 0) -> pa.Array:
    return pa.array(np.random.default_rng(seed).integers(0, 2**63, n).astype(np.uint64))


def made(label: np.ndarray, probabilities: np.ndarray, keys: pa.Array | None = None, **changes):
    given = {
        "method": "probability",
        "threshold": 0.7,
        "minimum_per_class": 5,
        "imbalance_cap": 3.0,
        "test_share": 0.25,
        "seed": 1,
    }
    keys = ids(len(label)) if keys is None else keys
    return make_training_set(keys, label, probabilities, LABELS, **(given | changes))


def probabilities_of(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    most = rng.uniform(0.4, 1, len(label))
    rest = ((1 - most) / 2)[:, None]
    return np.where(np.arange(3) == label[:, None], most[:, None], rest)


@TEN
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9), st.integers(0, 1000))
def test_an_entity_is_always_on_the_same_side(seed: int, share: float, some: int) -> None:
    keys = ids(2000, 5)
    whole = held_out(keys, seed, share)
    order = np.random.default_rng(some).permutation(2000)[: some + 1]
    assert (held_out(keys.take(pa.array(order)), seed, share) == whole[order]).all()
    assert (held_out(keys, seed, share / 2) <= whole).all()
    assert abs(whole.mean() - share) < 0.06


def test_keys_may_be_texts_and_numbers_and_the_seed_matters() -> None:
    for keys in (ids(4000), pa.array(range(4000)), pa.array([f"p{i}" for i in range(4000)])):
        one, other = held_out(keys, 1, 0.25), held_out(keys, 2, 0.25)
        assert 0.2 < one.mean() < 0.3
        assert 0.04 < (one & other).mean() < 0.09  # as expected by chance


@TEN
@given(st.integers(0, 10_000), st.sampled_from(["probability", "entropy"]))
def test_the_training_set_meets_its_settings(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(150, 400))
    label = rng.choice(4, n, p=[0.5, 0.2, 0.15, 0.15]).astype(np.int8) - 1
    probabilities = probabilities_of(np.maximum(label, 0), rng)
    probabilities[label < 0] = np.nan
    minimum, cap = int(rng.integers(1, 12)), float(rng.uniform(1, 4))
    chosen = made(label, probabilities, method=method, minimum_per_class=minimum, imbalance_cap=cap)
    sure = confidence(probabilities, method)
    assert not (chosen.trained & chosen.held_out).any()
    confident = chosen.label >= 0
    assert (chosen.label[confident] == label[confident]).all()
    assert (confident == ((label >= 0) & (sure >= chosen.threshold))).all()
    counts = np.bincount(label[confident], minlength=3)
    assert counts.min() >= minimum
    assert chosen.steps[-1].counts == tuple(counts.tolist())
    before = [(label >= 0) & (sure >= s.threshold) for s in chosen.steps[:-1]]
    fewest = [(np.bincount(label[b], minlength=3).min() < minimum) for b in before]
    side = [(np.bincount(label[b & ~chosen.held_out], minlength=3).min() < 3) for b in before]
    assert np.logical_or(fewest, side).all()
    free = np.bincount(label[confident & ~chosen.held_out], minlength=3)
    kept = np.bincount(label[chosen.trained], minlength=3)
    assert (kept == np.minimum(free, int(cap * free.min()))).all()


def test_the_same_entities_are_kept_under_the_cap() -> None:
    rng = np.random.default_rng(3)
    label = rng.choice(3, 600, p=[0.8, 0.1, 0.1]).astype(np.int8)
    keys, probabilities = ids(600), probabilities_of(label, rng)
    one = made(label, probabilities, keys)
    order = rng.permutation(600)
    other = made(label[order], probabilities[order], keys.take(pa.array(order)))
    assert (other.trained == one.trained[order]).all()
    assert one.counts(one.trained)["A"] == 3 * min(one.counts(one.trained).values())


def test_entropy_is_one_minus_its_share_of_the_most() -> None:
    given = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0], [np.nan] * 3])
    expected = [1, 0, 1 - math.log(2) / math.log(3), np.nan]
    assert np.allclose(confidence(given, "entropy"), expected, equal_nan=True)
    assert np.allclose(confidence(given, "probability"), [1, 1 / 3, 0.5, np.nan], equal_nan=True)


def test_the_threshold_goes_down_step_by_step() -> None:
    label = np.repeat([0, 1, 2], 10)
    sure = np.where(label == 2, 0.58, 0.9)
    everyone = np.ones(30, bool)
    steps = choose_threshold(label, sure, everyone, LABELS, 0.7, 10)
    assert [s.threshold for s in steps] == pytest.approx([0.7, 0.7 - STEP, 0.6, 0.55])
    assert [s.counts for s in steps] == [(10, 10, 0)] * 3 + [(10, 10, 10)]
    of_a_few = np.where(np.arange(30) % 10 < 2, 0.9, np.where(label == 2, 0.52, 0.9))
    steps = choose_threshold(label, of_a_few, everyone, LABELS, 0.7, 1)
    assert [s.counts for s in steps] == [(10, 10, 2)] * 4 + [(10, 10, 10)]  # 2 are not enough


def test_unusable_labels() -> None:
    label = np.repeat([0, 1, 2], [30, 30, 4]).astype(np.int8)
    sure = probabilities_of(label, np.random.default_rng(1))
    with pytest.raises(TooFewLabels, match="there are 30 A, 30 B, 4 C; 5 of each are needed"):
        made(label, sure)
    with pytest.raises(OneClassOnly, match=r"All labelled entities \(64\) have the label B"):
        made(np.ones(64, np.int8), sure)
    with pytest.raises(TooFewLabels, match="In the training set"):
        made(label, sure, minimum_per_class=4, test_share=0.95)
    with pytest.raises(TooFewLabels, match="there are 0 A, 0 B, 0 C"):
        made(np.full(64, -1, np.int8), sure)


def test_an_empty_column() -> None:
    columns = pa.table({"full": [1.0, 2.0, 3.0], "half": [None, None, 3.0]})
    check_not_empty(columns, np.array([True, True, True]))
    with pytest.raises(EmptyFeature, match="half: null for every entity"):
        check_not_empty(columns, np.array([True, True, False]))
