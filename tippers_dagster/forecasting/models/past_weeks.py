"""The median of the same time in the last four weeks."""

from __future__ import annotations

import warnings

import numpy as np

from tippers_dagster.forecasting.intervals import around
from tippers_dagster.forecasting.models.weeks import (
    before,
    error_weekdays,
    repeated,
    target_weekdays,
)
from tippers_dagster.forecasting.panel import Floats, Panel

WEEKS = 4


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """Nothing is learned."""
    return b""


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """Quantiles around the median, from past errors of such medians."""
    lagged = [before(panel.values, week) for week in range(1, WEEKS + 1)]
    errors = panel.values - median(np.stack(lagged))
    # For the coming week, the first of these is the last week of the history.
    weeks = min(WEEKS, panel.days // 7)
    last = [panel.values[:, panel.days - 7 * w :][:, :7] for w in range(1, weeks + 1)]
    point = repeated(np.nan_to_num(median(np.stack(last)), nan=0.0), horizon)
    return around(point, errors, error_weekdays(panel), target_weekdays(panel, horizon))


def median(weeks: Floats) -> Floats:
    """Median of [weeks, ...] over the known weeks; NaN where none is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        ordered = np.sort(weeks, axis=0)  # NaN last
        known = np.isfinite(ordered).sum(axis=0, keepdims=True)
        low = np.maximum(known - 1, 0) // 2
        high = np.minimum(known // 2, len(weeks) - 1)
        pair = [np.take_along_axis(ordered, at, axis=0)[0] for at in (low, high)]
    return ((pair[0] + pair[1]) / 2).astype(np.float32)
