"""Quantiles of Poisson binomial sums, against a plain convolution."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.people.counts.sums import EXACT_UP_TO, quantiles

PROBABILITIES = np.array([0.0, 0.07, 0.5, 0.93, 1.0])


def plain(counts: np.ndarray, share: float) -> int:
    """Convolve one device after the other."""
    chances = np.ones(1)
    for probability, number in zip(PROBABILITIES, counts, strict=True):
        for _ in range(number):
            chances = np.convolve(chances, [1 - probability, probability])
    return int(np.argmax(np.cumsum(chances) >= share - 1e-9))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 8), min_size=5, max_size=5), min_size=1, max_size=6),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_quantiles_of_few_devices_are_exact(bins: list[list[int]], confidence: float) -> None:
    counts = np.array(bins).T
    tail = (1 - confidence) / 2
    low, high = quantiles(counts, PROBABILITIES, (tail, 1 - tail))
    assert low.tolist() == [plain(column, tail) for column in counts.T]
    assert high.tolist() == [plain(column, 1 - tail) for column in counts.T]


def test_quantiles_of_many_devices_are_nearly_exact() -> None:
    counts = np.array([[5, 40], [200, 0], [100, 300], [90, 10], [20, 3]])
    assert (counts.sum(axis=0) > EXACT_UP_TO).all()
    low, high = quantiles(counts, PROBABILITIES, (0.05, 0.95))
    assert np.abs(low - [plain(c, 0.05) for c in counts.T]).max() <= 1
    assert np.abs(high - [plain(c, 0.95) for c in counts.T]).max() <= 1


def test_certain_devices_and_empty_bins_have_exact_quantiles() -> None:
    counts = np.array([[7, 0, 400], [0, 0, 0], [0, 0, 0], [0, 0, 0], [3, 0, 500]])
    low, high = quantiles(counts, PROBABILITIES, (0.05, 0.95))
    assert low.tolist() == high.tolist() == [3, 0, 500]
