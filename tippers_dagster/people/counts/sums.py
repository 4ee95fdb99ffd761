"""Quantiles of how many devices are of a kind, given only each device's probability.

The number is a sum of independent yes-or-no variables: a Poisson binomial distribution. For few
devices its quantiles are exact, by Fourier transform of its characteristic function (Hong, "On
computing the distribution function for the Poisson binomial distribution", 2013); for many, those
of the normal approximation with continuity correction are used.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT_UP_TO = 40
"""Maximum number of devices in a bin for exact quantiles."""


def quantiles(
    counts: NDArray[np.integer], probability: Floats, shares: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Two quantiles of the number of devices of the kind, per bin.

    Parameters
    ----------
    counts
        [groups, bins]: number of devices per probability and bin.
    probability
        float64 [groups], 0 to 1.
    shares
        The two quantile levels, such as (0.05, 0.95).

    Returns
    -------
    (low, high)
        float64 [bins] of whole numbers: the smallest that is not exceeded with at least this
        probability.
    """
    total = counts.sum(axis=0)
    mean = probability @ counts
    deviation = np.sqrt((probability * (1 - probability)) @ counts)
    found = [_normal(mean, deviation, total, share) for share in shares]
    few = np.flatnonzero(total <= EXACT_UP_TO)
    if few.size:
        exact = _exact(counts[:, few], probability, shares)
        for values, replaced in zip(found, exact, strict=True):
            values[few] = replaced
    return found[0], found[1]


def _normal(mean: Floats, deviation: Floats, total: NDArray[np.integer], share: float) -> Floats:
    smallest = np.ceil(mean + NormalDist().inv_cdf(share) * deviation - 0.5 - 1e-9)
    return np.asarray(np.clip(smallest, 0, total), np.float64)


def _exact(
    counts: NDArray[np.integer], probability: Floats, shares: tuple[float, float]
) -> list[Floats]:
    """Computed once per distinct bin, as many bins of a space are equal."""
    used = counts.any(axis=1)
    if not used.any():
        return [np.zeros(counts.shape[1]) for _ in shares]
    distinct, which = _distinct(counts[used].T)
    # An odd number of points: at -1 the factor of a probability of one half would be zero.
    points = int(distinct.sum(axis=1).max()) + 1
    points += 1 - points % 2
    root = np.exp(2j * np.pi * np.arange(points) / points)
    factors = np.log(1 + probability[used, None] * (root[None, :] - 1))  # [groups, points]
    transform = np.exp(distinct @ factors)  # [distinct bins, points]
    chances = np.fft.fft(transform, axis=1).real / points
    reached = np.cumsum(chances, axis=1)
    return [
        np.argmax(reached >= share - 1e-9, axis=1).astype(np.float64)[which] for share in shares
    ]


def _distinct(rows: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """The distinct rows, and which of them each row is.

    As bytes, which the small counts fit in, whole rows are compared at once.
    """
    packed = np.ascontiguousarray(rows, np.uint8)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], which
