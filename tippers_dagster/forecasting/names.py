"""Names of models, and keys in the lake."""

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
"""Models that every backtest includes in addition to the chosen ones."""

FORECAST_SUFFIX = "__forecast"
"""The forecast asset is named after the forecaster, with this suffix."""


def forecasts_prefix(forecaster: str) -> str:
    """A forecaster's folder in the lake, with a trailing slash."""
    return f"forecasts/{encode(forecaster)}/"


def forecast_key(forecaster: str) -> str:
    """Key of a forecaster's forecasts of all spaces."""
    return f"{forecasts_prefix(forecaster)}data.parquet"


def backtest_key(forecaster: str, space: str) -> str:
    """Key of the models' backtest forecasts of a space."""
    return f"{forecasts_prefix(forecaster)}backtest/space={encode(space)}.parquet"


def work_prefix(forecaster: str, work: str = "") -> str:
    """The folder of trained models and intermediate results."""
    inner = f"{encode(work)}/" if work else ""
    return f"{forecasts_prefix(forecaster)}work/{inner}"
