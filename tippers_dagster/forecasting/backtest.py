"""Rolling-origin backtests: what models would have forecast, from what was known then. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.catalog.checking import LEAST_FORECAST_HISTORY_DAYS
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting.metrics import Doubles, Metrics
from tippers_dagster.forecasting.models import MODELS
from tippers_dagster.forecasting.names import SEASONAL_NAIVE, ZERO
from tippers_dagster.forecasting.panel import Floats, Panel, limits, within


class TooShort(BadInput):
    """There is not enough history for a backtest."""


def origins(days: int, horizon: int, windows: int) -> list[int]:
    """Days of history known at each origin, the earliest first.

    They are ``horizon`` days apart, so that every day is forecast once; a history that is too
    short for all windows has fewer.

    Raises
    ------
    TooShort
        When there is not room for one.
    """
    found = [days - horizon * k for k in range(windows, 0, -1)]
    found = [day for day in found if day >= LEAST_FORECAST_HISTORY_DAYS]
    if not found:
        raise TooShort(
            f"The history has {days} days; a backtest of {horizon} days needs "
            f"{LEAST_FORECAST_HISTORY_DAYS + horizon}.",
            "Track more of the past, or give a shorter horizon_days.",
        )
    return found


@dataclass(frozen=True, eq=False)
class Task:
    """One model on some spaces. ``capacity``: of each, NaN where unknown."""

    model: str
    panel: Panel
    capacity: NDArray[np.float64]
    horizon: int
    origins: tuple[int, ...]
    seed: int


@dataclass(frozen=True, eq=False)
class Trial:
    """What a model made of a task.

    Attributes
    ----------
    quantiles
        float32 [spaces, windows, horizon, slots, levels].
    state
        The model trained on all of the history.
    seconds
        Of the process that did it.
    """

    quantiles: Floats
    state: bytes
    seconds: float


def run_model(task: Task) -> Trial:
    """Forecast from every origin with what was known then, and train on everything."""
    began = time.process_time()
    model = MODELS[task.model]
    made, state = [], None
    for origin in task.origins:
        known = task.panel.until(origin, task.horizon)
        if state is None or not model.shared:
            state = model.train(known, task.horizon, task.seed)
        quantiles = model.predict(state, known, task.horizon)
        made.append(within(quantiles, limits(known, task.capacity)))
    final = model.train(task.panel, task.horizon, task.seed)
    return Trial(np.stack(made, axis=1), final, time.process_time() - began)


@dataclass(frozen=True)
class Failed:
    """Why a model could not do a task."""

    reason: str


WRONG = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What libraries raise that cannot cope with a series; anything else is a fault of the machine."""


def try_model(task: Task) -> Trial | Failed:
    """As :func:`run_model`; a model that fails on some spaces does not take the others with it."""
    try:
        return run_model(task)
    except WRONG as error:
        return Failed(f"{type(error).__name__}: {error}"[:500])


@dataclass(frozen=True, eq=False)
class Ahead:
    """A trained model, and the history from whose end it is to forecast."""

    model: str
    state: bytes
    panel: Panel
    capacity: NDArray[np.float64]
    horizon: int


def look_ahead(task: Ahead) -> Floats:
    """float32 [spaces, horizon, slots, levels]: in order, and within what is possible."""
    found = MODELS[task.model].predict(task.state, task.panel, task.horizon)
    return within(found, limits(task.panel, task.capacity))


def truth(panel: Panel, horizon: int, origins: Sequence[int]) -> Floats:
    """What came after each origin, float32 [spaces, windows, horizon, slots]."""
    return np.stack([panel.values[:, day : day + horizon] for day in origins], axis=1)


# --- the winner ---------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Ranking:
    """Models of every space, beside each other.

    Attributes
    ----------
    models
        Names, the plainest first.
    score
        float64 [models, spaces]; NaN where nothing could be compared.
    eligible
        bool [models, spaces].
    champion
        int [spaces]: position in ``models``, -1 where nothing could be compared.
    """

    models: tuple[str, ...]
    score: Doubles
    eligible: NDArray[np.bool_]
    champion: NDArray[np.int64]


def rank(metrics: Mapping[str, Metrics], ever_occupied: NDArray[np.bool_]) -> Ranking:
    """Choose the champion of each space.

    The score is relative to the seasonal naive forecast, which has 1: half of it is the pinball
    loss, half the error on occupied bins, for on sparse rooms a forecast of nobody has a small
    loss and is of no use. Where nobody came in the backtest it is the pinball loss alone. A
    champion has the lowest score among the models whose pinball loss is not above the seasonal
    naive forecast's; zero is none of them where somebody was seen in the history. Of equal ones
    the plainer wins.

    Parameters
    ----------
    metrics
        By model, the plainest first; the seasonal naive one among them.
    ever_occupied
        Of each space, whether somebody was ever seen in its history.
    """
    models, naive = tuple(metrics), metrics[SEASONAL_NAIVE]
    rows = []
    for found in metrics.values():
        loss = _beside(found.pinball, naive.pinball)
        error = _beside(found.mae_occupied, naive.mae_occupied)
        rows.append(np.where(np.isfinite(error), (loss + error) / 2, loss))
    score = np.stack(rows)
    pinball = np.stack([found.pinball for found in metrics.values()])
    eligible = np.isfinite(score) & (pinball <= naive.pinball)
    if ZERO in models:
        eligible[models.index(ZERO)] &= ~ever_occupied
    # Rounded, so that noise of the last digits does not beat the plainer one.
    compared = np.where(eligible, np.round(score, 9), np.inf)
    best = compared.argmin(axis=0)
    return Ranking(models, score, eligible, np.where(eligible.any(axis=0), best, -1))


def _beside(loss: Doubles, naive: Doubles) -> Doubles:
    """A loss relative to the naive one; where that is 0, 1 and the loss."""
    return np.where(naive > 0, loss / np.where(naive > 0, naive, 1), 1 + loss)
