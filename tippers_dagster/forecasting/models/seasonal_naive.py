"""Seasonal naive: repeats the last known week."""

from __future__ import annotations

import numpy as np

from tippers_dagster.forecasting.intervals import around
from tippers_dagster.forecasting.models.weeks import (
    before,
    error_weekdays,
    repeated,
    target_weekdays,
)
from tippers_dagster.forecasting.panel import Floats, Panel

WEEKS = 1


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """Nothing is learned."""
    return b""


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """Quantiles around the last week, from past differences between weeks."""
    point = repeated(_last_known(panel), horizon)
    errors = panel.values - before(panel.values, 1)
    return around(point, errors, error_weekdays(panel), target_weekdays(panel, horizon))


def _last_known(panel: Panel) -> Floats:
    """The last week [spaces, 7, slots]; a bin unknown then is taken from the week before."""
    weeks = panel.days // 7
    found = panel.values[:, -7:].copy()
    for week in range(2, weeks + 1):
        unknown = np.isnan(found)
        if not unknown.any():
            break
        end = panel.days - 7 * (week - 1)
        found = np.where(unknown, panel.values[:, end - 7 : end], found)
    return np.nan_to_num(found, nan=0.0)
