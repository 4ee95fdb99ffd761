"""Daily and weekly seasons by repeated smoothing, exponential smoothing of what is left.

MSTL with AutoETS, of statsforecast (Bandara, Hyndman and Bergmeir, "MSTL: A Seasonal-Trend
Decomposition Algorithm for Time Series with Multiple Seasonal Patterns", 2021).
"""

from __future__ import annotations

import numpy as np

from tippers_dagster.forecasts.models.smoothing import WARM_UP, filled
from tippers_dagster.forecasts.models.weeks import repeated
from tippers_dagster.forecasts.panel import LEVELS, WEEK_DAYS, Floats, Panel

HISTORY_WEEKS = 12
"""The time that it takes grows with the history, and how good it is hardly does."""

INTERVALS = (80, 95)
_ENDS = ("lo-95", "lo-80", "mean", "hi-80", "hi-95")


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """Nothing is kept: the decomposition is of the history up to the origin."""
    return b""


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """The quantiles that the model gives."""
    recent = panel.last(WEEK_DAYS * min(HISTORY_WEEKS, max(panel.days // WEEK_DAYS, 1)))
    return np.stack([_of_one(one, horizon) for one in filled(recent.values)])


def _of_one(history: Floats, horizon: int) -> Floats:
    """Quantiles [horizon, slots, levels] of one space's whole weeks [days, slots]."""
    from statsforecast.models import MSTL, AutoETS

    days, slots = history.shape
    if days < WARM_UP * WEEK_DAYS or not history.any():
        week = repeated(history[None, -WEEK_DAYS:], horizon)[0]
        return np.repeat(week[..., None], len(LEVELS), axis=-1)
    seasons = [slots, WEEK_DAYS * slots] if slots > 1 else [WEEK_DAYS]
    model = MSTL(season_length=seasons, trend_forecaster=AutoETS(model="ZZN"))
    found = model.forecast(
        y=history.reshape(-1).astype(np.float64), h=horizon * slots, level=list(INTERVALS)
    )
    quantiles = np.stack([found[end] for end in _ENDS], axis=-1)
    return quantiles.reshape(horizon, slots, len(LEVELS)).astype(np.float32)
