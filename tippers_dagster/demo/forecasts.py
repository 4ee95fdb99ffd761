"""The forecasts of the demo's campus, compared with its last weeks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tippers_dagster.forecasting.reading import (
    QUANTILE_COLUMNS,
    Score,
    champions,
    forecast_spaces,
    last_training,
    read_forecast,
)
from tippers_dagster.settings import Settings

FORECASTER = "campus"
"""The forecaster that comes with the project."""


@dataclass(frozen=True)
class ForecastResult:
    """The backtest of a forecaster, and the peak of its forecast.

    Attributes
    ----------
    first_day, last_day
        The history, local dates [first, last).
    windows, horizon_days
        The number of backtest windows, and the days that each forecasts from the history before.
    models
        One record per model over all spaces, the best first: ``model``, ``champion of``, ``mae``,
        ``rmse``, ``mae_occupied``, ``pinball``, ``coverage_80``, ``coverage_95``, ``seconds``.
    champions
        The best model of each space, ordered by space id.
    busiest, peak
        Time of the highest forecast of all spaces, and its 10, 50 and 90 % quantiles.
    busiest_space
        The id of that space.
    """

    first_day: dt.date
    last_day: dt.date
    windows: int
    horizon_days: int
    models: list[Mapping[str, Any]]
    champions: list[Score]
    busiest_space: str
    busiest: dt.datetime
    peak: tuple[float, float, float]


def evaluate_forecasts(settings: Settings, name: str = FORECASTER) -> ForecastResult:
    """The backtest of a forecaster, and the peak of the coming days.

    Raises
    ------
    NotForecast
        When it is not computed yet.
    """
    training = last_training(settings, name)
    details = training.details
    forecasts = [read_forecast(settings, name, space) for space in forecast_spaces(settings, name)]
    highest = max(forecasts, key=lambda forecast: max(forecast.rows["q50"].to_pylist()))
    row = max(highest.rows.to_pylist(), key=lambda row: row["q50"])
    low, middle, high = (row[QUANTILE_COLUMNS[k]] for k in (1, 2, 3))
    return ForecastResult(
        first_day=training.first_day,
        last_day=training.last_day,
        windows=details["windows"],
        horizon_days=details["horizon_days"],
        models=details["figures"],
        champions=[champion.score for champion in champions(settings, name)],
        busiest_space=highest.space,
        busiest=row["interval_begin_time"],
        peak=(low, middle, high),
    )
