"""Gradient boosting (LightGBM) on lagged inputs: one model for all spaces, five quantiles.

The models learn the difference from the median of the past weeks, so with little data the forecast
stays close to that median.
"""

from __future__ import annotations

import json

import numpy as np

from tippers_dagster.forecasting.models.features import MEDIAN_OF_LAGS, NAMES, Inputs
from tippers_dagster.forecasting.panel import LEVELS, WEEK_DAYS, Floats, Panel

MAX_ROWS = 200_000
"""Maximum number of bins to learn from; if there are more, a sample is drawn."""

ROUNDS = 100
PARAMETERS = {
    "objective": "quantile",
    "learning_rate": 0.08,
    "num_leaves": 31,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "max_bin": 127,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # models run in parallel
    "verbosity": -1,
}
_PIECE = 500_000


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """The five models as text in JSON; empty if there is nothing to learn from."""
    import lightgbm

    rows, target = _sample(panel, horizon, seed)
    if not len(target):
        return b""
    data = lightgbm.Dataset(rows, target, feature_name=list(NAMES), free_raw_data=False)
    models = []
    for level in LEVELS:
        parameters = {**PARAMETERS, "alpha": level, "seed": seed}
        model = lightgbm.train(parameters, data, num_boost_round=ROUNDS)
        models.append(model.model_to_string())
    return json.dumps(models).encode()


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """The quantiles of every bin of the horizon."""
    import lightgbm

    shape = (len(panel.spaces), horizon, panel.slots)
    found = np.zeros((*shape, len(LEVELS)), np.float32)
    if not state:
        return found
    models = [lightgbm.Booster(model_str=text) for text in json.loads(state)]
    inputs, ahead = Inputs(panel), Inputs(panel).ahead_of(horizon)
    some = max(1, _PIECE // (horizon * panel.slots))
    for low in range(0, len(panel.spaces), some):
        space = np.arange(low, min(low + some, len(panel.spaces)))
        rows = inputs.at(
            space[:, None, None],
            panel.days + np.arange(horizon)[None, :, None],
            np.arange(panel.slots)[None, None, :],
            ahead[None, :, None],
        )
        flat = rows.reshape(-1, len(NAMES))
        predicted = np.stack([model.predict(flat) for model in models], axis=-1)
        predicted += _median(flat)[:, None]
        predicted = predicted.reshape(*rows.shape[:-1], len(LEVELS))
        found[space] = predicted * inputs.scale[space, None, None, None]
    return np.sort(found, axis=-1)


def _sample(panel: Panel, horizon: int, seed: int) -> tuple[Floats, Floats]:
    """Inputs of bins drawn from the history, at the horizons to be forecast, and the differences of
    the actual values from the median of the past weeks.
    """
    inputs, rng = Inputs(panel), np.random.default_rng(seed)
    weeks = int(inputs.ahead_of(horizon)[-1])
    first = WEEK_DAYS * weeks
    if panel.days <= first:
        return np.zeros((0, len(NAMES)), np.float32), np.zeros(0, np.float32)
    shape = (len(panel.spaces), panel.days - first, panel.slots)
    bins = int(np.prod(shape))
    drawn = rng.choice(bins, MAX_ROWS, replace=False) if bins > MAX_ROWS else np.arange(bins)
    space, day, slot = np.unravel_index(drawn, shape)
    day = day + first
    target = inputs.target(space, day, slot)
    known = np.isfinite(target)
    space, day, slot = (a[known] for a in (space, day, slot))
    target = target[known]
    ahead = rng.integers(1, weeks + 1, len(target))
    rows = inputs.at(space, day, slot, ahead)
    return rows, target - _median(rows)


def _median(rows: Floats) -> Floats:
    """The median of the past weeks; 0 where unknown."""
    return np.nan_to_num(rows[:, MEDIAN_OF_LAGS])
