"""Names of models, and keys of the lake."""

from __future__ import annotations

from tippers_dagster.platform.lake.keys import encode

SEASONAL_NAIVE = "seasonal_naive"
ZERO = "zero"
PAST_WEEKS = "past_weeks"
SMOOTHING = "seasonal_smoothing"
MSTL = "mstl"
LIGHTGBM = "lightgbm"
PROPHET = "prophet"
TRANSFORMER = "transformer"

ALWAYS = (SEASONAL_NAIVE, PAST_WEEKS, ZERO)
"""What every backtest has beside the models that are chosen."""

FORECAST_SUFFIX = "__forecast"
"""The asset of the forecasts is called as the forecaster, with this after it."""


def forecasts_prefix(forecaster: str) -> str:
    """The folder of a forecaster in the lake, with a trailing slash."""
    return f"forecasts/{encode(forecaster)}/"


def forecast_key(forecaster: str) -> str:
    """The forecasts of all spaces of a forecaster."""
    return f"{forecasts_prefix(forecaster)}data.parquet"


def backtest_key(forecaster: str, space: str) -> str:
    """What the models would have forecast for a space."""
    return f"{forecasts_prefix(forecaster)}backtest/space={encode(space)}.parquet"


def work_prefix(forecaster: str, work: str = "") -> str:
    """The folder of trained models and of what was computed on the way."""
    inner = f"{encode(work)}/" if work else ""
    return f"{forecasts_prefix(forecaster)}work/{inner}"
