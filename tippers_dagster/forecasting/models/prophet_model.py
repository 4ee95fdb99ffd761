"""Prophet, with one model per space.

Daily seasonality separately for workdays and weekends; weekly seasonality separately for active and
quiet hours; yearly seasonality if the history covers two years; holidays, finals, breaks and events
of the academic calendar; a step between times in and out of session (Taylor and Letham,
"Forecasting at Scale", The American Statistician 72, 2018). Intervals are derived from its errors
within the history, as Prophet's own are as wide at night as at noon.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tippers_dagster.forecasting.intervals import around
from tippers_dagster.forecasting.models.weeks import error_weekdays, target_weekdays
from tippers_dagster.forecasting.panel import (
    DAY,
    IN_SESSION,
    NO_HOLIDAYS,
    WEEK_DAYS,
    Floats,
    Panel,
)

if TYPE_CHECKING:
    import pandas as pd

HISTORY_DAYS = 84
"""Older days are ignored: fitting is slow, and habits change every quarter."""

YEAR_DAYS = 730
"""With two years of history or more, all of it is used, to learn the yearly seasonality."""

ACTIVE = (8, 20)
"""The active hours of a campus's day, from and until."""


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """A fitted model per space in JSON; null for spaces that were always empty."""
    recent = _recent(panel)
    _silence_logs()
    return json.dumps([_fitted(recent, i, seed) for i in range(len(panel.spaces))]).encode()


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """Quantiles around the models' forecasts, from their errors in the history."""
    _silence_logs()
    from prophet.serialize import model_from_json

    recent = _recent(panel).last(HISTORY_DAYS)
    shape = (recent.days + horizon, recent.slots)
    expected = np.zeros((len(panel.spaces), *shape), np.float32)
    for i, text in enumerate(json.loads(state)):
        if text is not None:
            model = model_from_json(text)
            model.uncertainty_samples = 0
            frame = _frame(recent, i, recent.days + horizon)
            expected[i] = model.predict(frame)["yhat"].to_numpy().reshape(shape)
    errors = recent.values - expected[:, : recent.days]
    point = expected[:, recent.days :]
    return around(point, errors, error_weekdays(recent), target_weekdays(recent, horizon))


def _silence_logs() -> None:
    """Stop Stan from logging every fit, and Prophet from complaining about missing plotly."""
    for name in ("cmdstanpy", "prophet.plot"):
        logging.getLogger(name).disabled = True  # they set their levels when imported


def pick(state: bytes, positions: Sequence[int]) -> bytes:
    """The models of some of the spaces."""
    models = json.loads(state)
    return json.dumps([models[i] for i in positions]).encode()


def _recent(panel: Panel) -> Panel:
    return panel if panel.days >= YEAR_DAYS else panel.last(HISTORY_DAYS)


def _fitted(panel: Panel, space: int, seed: int) -> str | None:
    from prophet import Prophet
    from prophet.serialize import model_to_json

    values = panel.values[space].reshape(-1)
    known = np.isfinite(values)
    if known.sum() < 2 * panel.slots or not np.any(values[known] > 0):
        return None
    model = Prophet(
        growth="flat",
        daily_seasonality=False,
        weekly_seasonality=False,
        yearly_seasonality=10 if panel.days >= YEAR_DAYS else False,
        holidays=_holidays(panel, space),
        uncertainty_samples=0,
    )
    if panel.slots > 1:
        model.add_seasonality("daily_workday", 1, 8, condition_name="workday")
        model.add_seasonality("daily_weekend", 1, 4, condition_name="weekend")
    model.add_seasonality("weekly_active", WEEK_DAYS, 3, condition_name="active")
    if panel.slots > 1:
        model.add_seasonality("weekly_quiet", WEEK_DAYS, 2, condition_name="quiet")
    frame = _frame(panel, space, panel.days)
    frame["y"] = values.astype(np.float64)
    if frame["in_session"].nunique() > 1:
        model.add_regressor("in_session", standardize=False)
    model.fit(frame[known], seed=seed)
    return model_to_json(model)


def _frame(panel: Panel, space: int, days: int) -> pd.DataFrame:
    """One row per bin of the first ``days`` days: wall-clock time, conditions, in session."""
    import pandas as pd

    first = np.datetime64(panel.first, "s")
    at = first + (np.arange(days * panel.slots) * panel.width).astype("timedelta64[s]")
    weekday = np.repeat(panel.weekdays[:days], panel.slots)
    hour = np.tile(np.arange(panel.slots) * panel.width / (DAY / 24), days)
    active = (hour >= ACTIVE[0]) & (hour < ACTIVE[1]) if panel.slots > 1 else np.ones(len(at), bool)
    weekend = weekday >= WEEK_DAYS - 2
    return pd.DataFrame(
        {
            "ds": at,
            "workday": ~weekend,
            "weekend": weekend,
            "active": active,
            "quiet": ~active,
            "in_session": np.repeat(panel.flags[space, :days, IN_SESSION], panel.slots),
        }
    )


def _holidays(panel: Panel, space: int) -> pd.DataFrame | None:
    """Holidays and other special days in the history and after it; None if there are none."""
    import pandas as pd

    periods = panel.holidays[space] if panel.holidays else NO_HOLIDAYS
    if not periods.names:
        return None
    days = pd.to_datetime(list(periods.days))
    return pd.DataFrame({"holiday": list(periods.names), "ds": days})
