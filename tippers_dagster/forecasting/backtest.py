"""Rolling-origin backtests: what models would have forecast at past dates. Pure functions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.catalog.checking import MIN_FORECAST_HISTORY_DAYS
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting.metrics import Doubles, Metrics
from tippers_dagster.forecasting.models import MODELS
from tippers_dagster.forecasting.names import SEASONAL_NAIVE, ZERO
from tippers_dagster.forecasting.panel import Floats, Panel, limits, within


class TooShort(BadInput):
    """There is not enough history for a backtest."""


def origins(days: int, horizon: int, windows: int) -> list[int]:
    """Days of history known at each origin, the earliest first.

    Origins are ``horizon`` days apart, so every day is forecast once; a history too short for all
    windows has fewer.

    Raises
    ------
    TooShort
        When the history is too short for a single window.
    """
    found = [days - horizon * k for k in range(windows, 0, -1)]
    found = [day for day in found if day >= MIN_FORECAST_HISTORY_DAYS]
    if not found:
        raise TooShort(
            f"The history has {days} days; a backtest of {horizon} days needs "
            f"{MIN_FORECAST_HISTORY_DAYS + horizon}.",
            "Track more of the past, or set a shorter horizon_days.",
        )
    return found


@dataclass(frozen=True, eq=False)
class Task:
    """One model on some spaces; ``capacity`` is that of each space, NaN where unknown."""

    model: str
    panel: Panel
    capacity: NDArray[np.float64]
    horizon: int
    origins: tuple[int, ...]
    seed: int


@dataclass(frozen=True, eq=False)
class Trial:
    """The result of a task.

    Attributes
    ----------
    quantiles
        float32 [spaces, windows, horizon, slots, levels].
    state
        The model trained on the whole history.
    seconds
        CPU time.
    """

    quantiles: Floats
    state: bytes
    seconds: float


def run_model(task: Task) -> Trial:
    """Forecast from every origin with the data known then, and train on the whole history."""
    began = time.process_time()
    model = MODELS[task.model]
    forecasts, state = [], None
    for origin in task.origins:
        known = task.panel.until(origin, task.horizon)
        if state is None or not model.shared:
            state = model.train(known, task.horizon, task.seed)
        quantiles = model.predict(state, known, task.horizon)
        forecasts.append(within(quantiles, limits(known, task.capacity)))
    final = model.train(task.panel, task.horizon, task.seed)
    return Trial(np.stack(forecasts, axis=1), final, time.process_time() - began)


@dataclass(frozen=True)
class Failed:
    """Why a model failed on a task."""

    reason: str


MODEL_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of libraries that cannot handle a series; others are not blamed on the model."""


def try_model(task: Task) -> Trial | Failed:
    """As :func:`run_model`, but a failure is returned, so that other tasks continue."""
    try:
        return run_model(task)
    except MODEL_ERRORS as error:
        return Failed(f"{type(error).__name__}: {error}"[:500])


@dataclass(frozen=True, eq=False)
class ForecastTask:
    """A trained model, and the history whose continuation it forecasts."""

    model: str
    state: bytes
    panel: Panel
    capacity: NDArray[np.float64]
    horizon: int


def forecast_ahead(task: ForecastTask) -> Floats:
    """Quantiles, float32 [spaces, horizon, slots, levels]: in order, and within the limits."""
    found = MODELS[task.model].predict(task.state, task.panel, task.horizon)
    return within(found, limits(task.panel, task.capacity))


def truth(panel: Panel, horizon: int, origins: Sequence[int]) -> Floats:
    """Actual counts after each origin, float32 [spaces, windows, horizon, slots]."""
    return np.stack([panel.values[:, day : day + horizon] for day in origins], axis=1)


# --- the winner ---------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of the models, and the champion of every space.

    Attributes
    ----------
    models
        Names, the simplest first.
    score
        float64 [models, spaces]; NaN where nothing could be compared.
    eligible
        bool [models, spaces]: may become champion.
    champion
        int [spaces]: position in ``models``, -1 where nothing could be compared.
    """

    models: tuple[str, ...]
    score: Doubles
    eligible: NDArray[np.bool_]
    champion: NDArray[np.int64]


def rank(metrics: Mapping[str, Metrics], ever_occupied: NDArray[np.bool_]) -> Ranking:
    """Choose the champion of each space.

    The score is relative to the seasonal naive forecast, which scores 1. It is the mean of the
    pinball loss and the error on occupied bins, as in rarely used rooms an all-zero forecast has a
    small loss but is useless. If a space was always empty in the backtest, it is the pinball loss
    alone. The champion has the lowest score among the models whose pinball loss is at most that of
    the seasonal naive forecast; the all-zero model is not eligible if the space was ever occupied.
    The simpler of equal models wins.

    Parameters
    ----------
    metrics
        Per model, the simplest first; must include the seasonal naive one.
    ever_occupied
        bool [spaces]: the space was occupied at any time in its history.
    """
    models, naive = tuple(metrics), metrics[SEASONAL_NAIVE]
    rows = []
    for found in metrics.values():
        loss = _relative(found.pinball, naive.pinball)
        error = _relative(found.mae_occupied, naive.mae_occupied)
        rows.append(np.where(np.isfinite(error), (loss + error) / 2, loss))
    score = np.stack(rows)
    pinball = np.stack([found.pinball for found in metrics.values()])
    eligible = np.isfinite(score) & (pinball <= naive.pinball)
    if ZERO in models:
        eligible[models.index(ZERO)] &= ~ever_occupied
    # Rounded, so that noise in the last digits does not beat the simpler model.
    compared = np.where(eligible, np.round(score, 9), np.inf)
    best = compared.argmin(axis=0)
    return Ranking(models, score, eligible, np.where(eligible.any(axis=0), best, -1))


def _relative(loss: Doubles, naive: Doubles) -> Doubles:
    """A loss relative to the naive one; where that is 0, one plus the loss."""
    return np.where(naive > 0, loss / np.where(naive > 0, naive, 1), 1 + loss)
