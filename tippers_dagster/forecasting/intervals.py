"""Intervals for models that give only a point forecast, from their past errors.

Conformal prediction on the past errors at the same kind of time (Vovk, Gammerman and Shafer,
"Algorithmic Learning in a Random World", 2005; by group as in Mondrian predictors): of n errors,
the quantile q is the one at rank ceil(q (n + 1)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.forecasting.panel import LEVELS, MEDIAN, WEEK_DAYS, Floats

MIN_ERRORS = 39
"""Errors that a group needs so that a 95 % interval differs from the extremes."""

HOURS = 24

Grouping = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Maps weekdays to the groups of their slots, [days, slots]."""


def around(
    point: Floats,
    errors: Floats,
    error_weekdays: NDArray[np.int64],
    weekdays: NDArray[np.int64],
) -> Floats:
    """Quantiles around a forecast, from past errors.

    Errors are grouped by hour of the week if groups then have enough errors, else by hour of
    weekdays and weekends, else not at all. The forecast itself stays the median.

    Parameters
    ----------
    point
        float32 [spaces, days, slots]: the forecast.
    errors
        float32 [spaces, past days, slots]: actual minus forecast; NaN where unknown.
    error_weekdays, weekdays
        Weekdays of the past days and of the forecast days; 0 is Monday.

    Returns
    -------
    float32 [spaces, days, slots, levels], in order along the last axis.
    """
    slots = point.shape[2]
    grouping = _grouping(errors, error_weekdays, slots)
    past_groups = grouping(error_weekdays)
    target_groups = grouping(weekdays)
    found = np.repeat(point[..., None], len(LEVELS), axis=-1)
    for group in np.unique(target_groups):
        day, slot = np.nonzero(past_groups == group)
        offsets = _ranked(errors[:, day, slot])
        day, slot = np.nonzero(target_groups == group)
        found[:, day, slot] += offsets[:, None, :]
    below, above = slice(None, MEDIAN), slice(MEDIAN + 1, None)
    found[..., below] = np.minimum(found[..., below], point[..., None])
    found[..., above] = np.maximum(found[..., above], point[..., None])
    return found


def _grouping(errors: Floats, weekdays: NDArray[np.int64], slots: int) -> Grouping:
    """The finest grouping in which a typical group has enough errors."""
    hour = np.arange(slots) * HOURS // slots

    def of_week(days: NDArray[np.int64]) -> NDArray[np.int64]:
        return days[:, None] * HOURS + hour

    def of_day(days: NDArray[np.int64]) -> NDArray[np.int64]:
        return (days[:, None] >= WEEK_DAYS - 2) * HOURS + hour

    def together(days: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.zeros((len(days), slots), np.int64)

    for grouping in (of_week, of_day):
        groups, sizes = np.unique(grouping(weekdays), return_counts=True)
        every = len(groups) == len(np.unique(grouping(np.arange(WEEK_DAYS))))
        if every and np.median(sizes) >= MIN_ERRORS:
            return grouping
    return together


def _ranked(errors: Floats) -> Floats:
    """Quantiles [spaces, levels] of errors [spaces, n] by rank; 0 if there are no errors."""
    if errors.shape[1] == 0:
        return np.zeros((len(errors), len(LEVELS)), np.float32)
    ordered = np.sort(errors, axis=1)  # NaN last
    known = np.isfinite(ordered).sum(axis=1)
    levels = np.array(LEVELS)
    upper = np.ceil((known[:, None] + 1) * levels) - 1
    lower = np.floor((known[:, None] + 1) * levels) - 1
    rank = np.where(levels > 0.5, upper, lower)
    rank = np.clip(rank, 0, np.maximum(known[:, None] - 1, 0)).astype(np.int64)
    found = np.take_along_axis(ordered, rank, axis=1)
    found[:, MEDIAN] = 0
    return np.where(known[:, None] > 0, found, 0).astype(np.float32)
