"""Seasonal exponential smoothing of statsforecast: each bin of the week smoothed over the weeks.

Chosen by measuring, beside the other models of statsforecast that know a season: docs/forecasts.md.
Its intervals come from how far off its forecasts of one week ahead were.
"""

from __future__ import annotations

import numpy as np

from tippers_dagster.forecasting.intervals import around
from tippers_dagster.forecasting.models.weeks import error_weekdays, repeated, target_weekdays
from tippers_dagster.forecasting.panel import WEEK_DAYS, Floats, Panel

HISTORY_WEEKS = 26
"""Older weeks weigh next to nothing."""

WARM_UP = 2
"""Weeks without which smoothing is only the week before."""


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """Nothing is kept: smoothing anew is as cheap as reading what was smoothed."""
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
    """Unknown bins from the week before, else the week after, else 0."""
    found = values.copy()
    days = found.shape[1]
    for day in range(WEEK_DAYS, days):
        found[:, day] = np.where(np.isnan(found[:, day]), found[:, day - WEEK_DAYS], found[:, day])
    for day in range(days - WEEK_DAYS - 1, -1, -1):
        found[:, day] = np.where(np.isnan(found[:, day]), found[:, day + WEEK_DAYS], found[:, day])
    return np.nan_to_num(found, nan=0.0)


def smoothed(history: Floats) -> tuple[Floats, Floats]:
    """The week to come [7, slots] of one space's whole weeks [days, slots]; and the history as it
    was foreseen a week before, NaN for the first week.
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
