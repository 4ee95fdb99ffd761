"""All zero: the baseline that every other model should beat."""

from __future__ import annotations

import numpy as np

from tippers_dagster.forecasting.panel import LEVELS, Floats, Panel


def train(panel: Panel, horizon: int, seed: int) -> bytes:
    """Nothing is learned."""
    return b""


def predict(state: bytes, panel: Panel, horizon: int) -> Floats:
    """Zeros for all quantiles."""
    shape = (len(panel.spaces), horizon, panel.slots, len(LEVELS))
    return np.zeros(shape, np.float32)
