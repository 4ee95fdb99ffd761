"""Synthetic weeks of synthetic rooms."""

from __future__ import annotations

import datetime as dt

import numpy as np

from tippers_dagster.forecasting.panel import FLAGS, IN_SESSION, Panel

MONDAY = dt.date(2025, 1, 6)


def weekly(
    spaces: int = 3, weeks: int = 8, slots: int = 24, noise: float = 1.0, seed: int = 1
) -> Panel:
    """Rooms that are busy on weekdays around noon, each at its own level."""
    rng = np.random.default_rng(seed)
    days = 7 * weeks
    hour = np.arange(slots) * 24 / slots
    shape = np.exp(-(((hour - 13) / 3.5) ** 2))
    weekday = np.arange(days) % 7
    busy = np.where(weekday < 5, 1.0, 0.2) * (1 + 0.3 * (weekday == 2))
    size = 6.0 * (1 + np.arange(spaces))
    mean = size[:, None, None] * busy[:, None] * shape
    values = np.round(np.maximum(mean + noise * rng.normal(size=mean.shape), 0))
    values[mean < 0.3] = 0
    return panel_of(values.astype(np.float32))


def panel_of(values: np.ndarray, horizon: int = 31) -> Panel:
    """A panel of these values [spaces, days, slots], always in session."""
    flags = np.zeros((values.shape[0], values.shape[1] + horizon, FLAGS), np.float32)
    flags[..., IN_SESSION] = 1
    names = tuple(f"room {i}" for i in range(values.shape[0]))
    return Panel(names, MONDAY, values.astype(np.float32), flags)
