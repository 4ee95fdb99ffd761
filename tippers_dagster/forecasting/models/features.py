"""Inputs of boosting and the transformer: only data known at the origin of a forecast.

The target is a bin of a day that lies ``ahead`` weeks after the last known day of that weekday: a
day h days after the origin (0 for the first) is ``h // 7 + 1`` weeks ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.forecasting.models.past_weeks import median
from tippers_dagster.forecasting.panel import (
    BREAK,
    FLAGS,
    HOLIDAY,
    IN_SESSION,
    WEEK_DAYS,
    WEEK_OF_QUARTER,
    Floats,
    Panel,
)

Ints = NDArray[np.int64]

LAGS = 4
MEDIAN_OF_LAGS = LAGS
"""Number of past weeks whose same bin is an input, and the position of their median in the inputs.
"""

WEEKS_OF_A_QUARTER = 10.0
_LAG_FLAGS = (IN_SESSION, BREAK, HOLIDAY)

NAMES = (
    *(f"lag_{k + 1}" for k in range(LAGS)),
    "lag_median",
    *("lag_before", "lag_after", "same_time_of_week", "level_of_week", "level_of_4_weeks", "size"),
    *("time_sine", "time_cosine", "weekday_sine", "weekday_cosine", "weekend", "ahead"),
    *("in_session", "week_of_quarter", "finals", "break", "holiday", "event"),
    *("lag_in_session", "lag_break", "lag_holiday"),
)
"""Names of the inputs, in the order of the last axis of ``Inputs.at``."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Computes the inputs of any bin of a panel.

    Values are multiples of ``scale``: per space, the mean over the occupied bins of its history,
    but at least 1.
    """

    panel: Panel

    @cached_property
    def scale(self) -> Floats:
        """float32 [spaces]."""
        occupied = self.panel.values > 0
        total = np.where(occupied, self.panel.values, 0).sum(axis=(1, 2), dtype=np.float64)
        return np.maximum(total / np.maximum(occupied.sum(axis=(1, 2)), 1), 1).astype(np.float32)

    @cached_property
    def scaled(self) -> Floats:
        """The history in multiples of the scale."""
        return self.panel.values / self.scale[:, None, None]

    def at(self, space: Ints, day: Ints, slot: Ints, ahead: Ints) -> Floats:
        """The inputs of some bins.

        Parameters
        ----------
        space, day, slot, ahead
            Arrays that broadcast together; days are counted from the panel's first.

        Returns
        -------
        float32 [*shape, len(NAMES)]; NaN where the history does not go back far enough.
        """
        p = self.panel
        last = day - WEEK_DAYS * ahead
        lags = [self._value(space, last - WEEK_DAYS * k, slot) for k in range(LAGS)]
        beside = [
            self._value(space, last, np.clip(slot + step, 0, p.slots - 1)) for step in (-1, 1)
        ]
        time = 2 * np.pi * slot / p.slots
        weekday = p.weekdays[day]
        weekday_angle = 2 * np.pi * weekday / WEEK_DAYS
        flags = p.flags[space, day]
        then = p.flags[space, np.maximum(last, 0)]
        columns = [
            *lags,
            median(np.stack(np.broadcast_arrays(*lags))),
            *beside,
            self._mean(self._of_time, last, WEEK_DAYS, space, slot),
            self._mean(self._of_day, last, WEEK_DAYS, space),
            self._mean(self._of_day, last, LAGS * WEEK_DAYS, space),
            np.log1p(self.scale[space]),
            *(np.sin(time), np.cos(time), np.sin(weekday_angle), np.cos(weekday_angle)),
            *(weekday >= WEEK_DAYS - 2, ahead),
            *(
                flags[..., k] / (WEEKS_OF_A_QUARTER if k == WEEK_OF_QUARTER else 1)
                for k in range(FLAGS)
            ),
            *(then[..., k] for k in _LAG_FLAGS),
        ]
        return np.stack(np.broadcast_arrays(*columns), axis=-1).astype(np.float32)

    def target(self, space: Ints, day: Ints, slot: Ints) -> Floats:
        """Actual values of past bins, in multiples of the scale."""
        return self.scaled[space, day, slot]

    def ahead_of(self, horizon: int) -> Ints:
        """How many weeks ahead each day of the horizon lies."""
        return np.arange(horizon) // WEEK_DAYS + 1

    def _value(self, space: Ints, day: Ints, slot: Ints) -> Floats:
        found = self.scaled[space, np.maximum(day, 0), slot]
        return np.where(day >= 0, found, np.nan)

    @cached_property
    def _of_time(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _running(self.scaled)

    @cached_property
    def _of_day(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums, counts = _running(self.scaled)
        return sums.sum(axis=2), counts.sum(axis=2)

    def _mean(
        self,
        running: tuple[NDArray[np.float64], NDArray[np.float64]],
        last: Ints,
        days: int,
        *where: Ints,
    ) -> NDArray[np.float64]:
        """Mean over ``days`` days up to and including ``last``; NaN if all are unknown."""
        sums, counts = running
        space, *slot = where
        high, low = np.maximum(last + 1, 0), np.maximum(last + 1 - days, 0)
        total = sums[(space, high, *slot)] - sums[(space, low, *slot)]
        known = counts[(space, high, *slot)] - counts[(space, low, *slot)]
        return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def _running(values: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts of the known values before each day, [spaces, days + 1, slots]."""
    shape = (values.shape[0], values.shape[1] + 1, values.shape[2])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.cumsum(np.nan_to_num(values), axis=1, out=sums[:, 1:])
    np.cumsum(np.isfinite(values), axis=1, out=counts[:, 1:])
    return sums, counts
