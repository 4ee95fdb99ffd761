"""The forecasts of the demonstration's campus, judged by its own last weeks."""

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
"""The one that comes with the project."""


@dataclass(frozen=True)
class ForecastResult:
    """How the coming week was, and is, forecast.

    Attributes
    ----------
    first_day, last_day
        The history, local dates [first, last).
    windows, horizon_days
        The backtest: so many times so many days, forecast from what was known before.
    models
        One record for each model, the best first, over all spaces: ``model``, ``champion of``,
        ``mae``, ``rmse``, ``mae_occupied``, ``pinball``, ``coverage_80``, ``coverage_95``,
        ``seconds``.
    champions
        The winner of each space, in order of their ids.
    busiest, peak
        Of the space with the highest forecast: when it is highest, and how high: the 10, 50 and
        90 % quantiles.
    busiest_space
        Its id.
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


def judge_forecasts(settings: Settings, name: str = FORECASTER) -> ForecastResult:
    """The backtest table of a forecaster, and the peak of the coming days.

    Raises
    ------
    NotForecast
        When it was not computed.
    """
    training = last_training(settings, name)
    told = training.details
    made = [read_forecast(settings, name, space) for space in forecast_spaces(settings, name)]
    highest = max(made, key=lambda forecast: max(forecast.rows["q50"].to_pylist()))
    row = max(highest.rows.to_pylist(), key=lambda row: row["q50"])
    low, middle, high = (row[QUANTILE_COLUMNS[k]] for k in (1, 2, 3))
    return ForecastResult(
        first_day=training.first_day,
        last_day=training.last_day,
        windows=told["windows"],
        horizon_days=told["horizon_days"],
        models=told["figures"],
        champions=[champion.score for champion in champions(settings, name)],
        busiest_space=highest.space,
        busiest=row["interval_begin_time"],
        peak=(low, middle, high),
    )
