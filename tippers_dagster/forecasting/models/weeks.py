"""Weeks of a panel, for models that repeat them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.forecasting.panel import WEEK_DAYS, Floats, Panel


def before(values: Floats, weeks: int) -> Floats:
    """Values ``weeks`` weeks earlier; NaN where the history does not go back that far."""
    found = np.full_like(values, np.nan)
    days = WEEK_DAYS * weeks
    found[:, days:] = values[:, :-days] if days < values.shape[1] else values[:, :0]
    return found


def repeated(week: Floats, horizon: int) -> Floats:
    """A week [spaces, 7, slots], repeated over the days of the horizon."""
    return week[:, np.arange(horizon) % WEEK_DAYS]


def error_weekdays(panel: Panel) -> NDArray[np.int64]:
    """Weekdays of the history."""
    return panel.weekdays[: panel.days]


def target_weekdays(panel: Panel, horizon: int) -> NDArray[np.int64]:
    """Weekdays of the horizon."""
    return panel.weekdays[panel.days : panel.days + horizon]
