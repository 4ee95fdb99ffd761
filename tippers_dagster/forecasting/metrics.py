"""Error metrics of forecasts, for many spaces at once. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.forecasting.panel import LEVELS, MEDIAN, Floats

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Metrics:
    """Metrics of one model, one value per space; NaN where nothing could be compared.

    Attributes
    ----------
    bins, occupied
        Numbers of bins compared, and of occupied ones among them.
    mae, rmse
        Mean absolute and root mean squared error of the median, in devices.
    mae_occupied
        Mean absolute error over occupied bins.
    pinball
        Pinball loss, averaged over the bins and the five quantiles (Koenker and Bassett,
        "Regression Quantiles", Econometrica 46, 1978).
    coverage_80, coverage_95
        Share of bins within the intervals, ends included.
    """

    bins: Ints
    occupied: Ints
    mae: Doubles
    rmse: Doubles
    mae_occupied: Doubles
    pinball: Doubles
    coverage_80: Doubles
    coverage_95: Doubles

    def together(self) -> dict[str, float]:
        """Metrics over all spaces, with equal weight per bin; NaN if there are no bins."""
        weighted = {"mae_occupied": self.occupied}
        found: dict[str, float] = {
            "bins": float(self.bins.sum()),
            "occupied": float(self.occupied.sum()),
        }
        for field in fields(self)[2:]:
            values, weights = getattr(self, field.name), weighted.get(field.name, self.bins)
            if field.name == "rmse":
                found["rmse"] = float(np.sqrt(_mean(values**2, weights)))
            else:
                found[field.name] = _mean(values, weights)
        return found


def measure(quantiles: Floats, truth: Floats) -> Metrics:
    """Compare forecasts with actual counts.

    Parameters
    ----------
    quantiles
        [spaces, ..., levels], in order along the last axis.
    truth
        [spaces, ...]; bins where this or the forecast is NaN are left out.
    """
    n = len(truth)
    q = quantiles.reshape(n, -1, len(LEVELS)).astype(np.float64)
    actual = truth.reshape(n, -1).astype(np.float64)
    known = np.isfinite(actual) & np.isfinite(q).all(axis=-1)
    occupied = known & (actual > 0)
    error = np.abs(actual - q[..., MEDIAN])
    over = actual[..., None] - q
    levels = np.array(LEVELS)
    pinball = np.maximum(levels * over, (levels - 1) * over).mean(axis=-1)
    return Metrics(
        bins=known.sum(axis=1),
        occupied=occupied.sum(axis=1),
        mae=_means(error, known),
        rmse=np.sqrt(_means(error**2, known)),
        mae_occupied=_means(error, occupied),
        pinball=_means(pinball, known),
        coverage_80=_means((q[..., 1] <= actual) & (actual <= q[..., 3]), known),
        coverage_95=_means((q[..., 0] <= actual) & (actual <= q[..., 4]), known),
    )


def _means(values: NDArray, where: NDArray[np.bool_]) -> Doubles:
    """Means of the selected values along the last axis; NaN where none is selected."""
    count = where.sum(axis=1)
    total = np.where(where, values, 0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(values: Doubles, weights: Ints) -> float:
    known = np.isfinite(values) & (weights > 0)
    if not known.any():
        return float("nan")
    return float(np.average(values[known], weights=weights[known]))
