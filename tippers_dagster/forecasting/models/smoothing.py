"""Seasonal exponential smoothing from statsforecast: each bin of the week smoothed over the weeks.

It did best of statsforecast's seasonal models in our measurements: docs/forecasts.md. Intervals are
derived from the errors of its forecasts one week ahead.
"""

from __future__ import annotations

import numpy as np

from tippers_dagster.forecasting.intervals import around
from tippers_dagster.forecasting.models.weeks import error_weekdays, repeated, target_weekdays
from tippers_dagster.forecasting.panel import WEEK_DAYS, Floats, Panel

HISTORY_WEEKS = 26
"""Older weeks have almost no weight."""

WARM_UP = 2
"""Minimum number of weeks; with fewer, smoothing only repeats the last week."""


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """Nothing is stored: smoothing again is as cheap as reading a stored result."""
    return b""


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """Quantiles around the smoothed week."""
    recent = panel.last(WEEK_DAYS * min(HISTORY_WEEKS, max(panel.days // WEEK_DAYS, 1)))
    known = filled(recent.values)
    found = [smoothed(one) for one in known]
    point = np.stack([week for week, _ in found])
    errors = recent.values - np.stack([fitted for _, fitted in found])
    return around(
        repeated(point, horizon),
        errors,
        error_weekdays(recent),
        target_weekdays(recent, horizon),
    )


def filled(values: Floats) -> Floats:
    """Unknown bins filled from the week before, else from the week after, else with 0."""
    found = values.copy()
    days = found.shape[1]
    for day in range(WEEK_DAYS, days):
        found[:, day] = np.where(np.isnan(found[:, day]), found[:, day - WEEK_DAYS], found[:, day])
    for day in range(days - WEEK_DAYS - 1, -1, -1):
        found[:, day] = np.where(np.isnan(found[:, day]), found[:, day + WEEK_DAYS], found[:, day])
    return np.nan_to_num(found, nan=0.0)


def smoothed(history: Floats) -> tuple[Floats, Floats]:
    """The next week [7, slots] after one space's whole weeks [days, slots]; and the history as
    forecast one week earlier, NaN for the first week.
    """
    from statsforecast.models import SeasonalExponentialSmoothingOptimized

    days, slots = history.shape
    if days < WARM_UP * WEEK_DAYS or not history.any():
        return history[-WEEK_DAYS:], np.full_like(history, np.nan)
    season = WEEK_DAYS * slots
    model = SeasonalExponentialSmoothingOptimized(season_length=season)
    found = model.forecast(y=history.reshape(-1).astype(np.float64), h=season, fitted=True)
    week = found["mean"].reshape(WEEK_DAYS, slots)
    return week.astype(np.float32), found["fitted"].reshape(days, slots).astype(np.float32)
