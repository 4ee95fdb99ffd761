"""The academic calendar per day, as an input of forecasts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from tippers_dagster.calendar.periods import Period, PeriodKind

if TYPE_CHECKING:
    import pandas as pd

Days = NDArray[np.datetime64]
Bools = NDArray[np.bool_]

FLAGS = ("in_session", "week_of_quarter", "finals", "break", "holiday", "event")
"""The columns of :meth:`AcademicCalendar.flags` after ``day``."""


@dataclass(frozen=True)
class AcademicCalendar:
    """The periods of the calendar.

    Parameters
    ----------
    periods
        Sorted by first day.
    near
        For each space with an event, the spaces that it affects: itself, and all below and above
        it. An event in any other space affects only that space.
    """

    periods: tuple[Period, ...] = ()
    near: Mapping[str, frozenset[str]] | None = None

    def flags(self, days: ArrayLike, space: str | None = None) -> pa.Table:
        """Flags of each day, for one space.

        Parameters
        ----------
        days
            Local dates, shape (n,), as ``datetime64[D]`` or dates; in any order.
        space
            Events in, below and above this space count, besides those of the whole campus; None:
            only those of the whole campus.

        Returns
        -------
        pa.Table
            n rows in the order of ``days``: ``day`` (date32); ``in_session`` (bool: within a
            quarter but not on a break or holiday; finals are in session); ``week_of_quarter``
            (int16: 1 for the week, from Monday, with the quarter's first day, 0 outside quarters);
            ``finals``, ``break``, ``holiday``, ``event`` (bool).
        """
        days = np.asarray(days, dtype="datetime64[D]").reshape(-1)
        on = {kind: self._on(days, kind, space) for kind in PeriodKind}
        free = on[PeriodKind.BREAK] | on[PeriodKind.HOLIDAY]
        columns: dict[str, Any] = {
            "day": pa.array(days),
            "in_session": on[PeriodKind.QUARTER] & ~free,
            "week_of_quarter": self._week(days),
            "finals": on[PeriodKind.FINALS],
            "break": on[PeriodKind.BREAK],
            "holiday": on[PeriodKind.HOLIDAY],
            "event": on[PeriodKind.EVENT],
        }
        return pa.table(columns)

    def holidays_frame(self, space: str | None = None) -> pd.DataFrame:
        """Special days in Prophet's form (``holidays=``).

        One row per day and period: ``holiday`` (str: ``kind: name``, so that a yearly break is one
        effect), ``ds`` (datetime64[ns]), ``lower_window`` and ``upper_window`` (0). Quarters are
        not included: see :meth:`flags`.

        Source of the format: Prophet's documentation, "Seasonality, Holiday Effects, And
        Regressors".
        """
        import pandas as pd

        found = [p for p in self._of(space) if p.kind != PeriodKind.QUARTER]
        lengths = np.array([p.days for p in found], dtype=np.int64)
        starts = np.array([p.start for p in found], dtype="datetime64[D]")
        names = np.array([f"{p.kind.value}: {p.name}" for p in found], dtype=object)
        ends = np.cumsum(lengths)
        within = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        frame = pd.DataFrame(
            {
                "holiday": np.repeat(names, lengths),
                "ds": (np.repeat(starts, lengths) + within).astype("datetime64[ns]"),
                "lower_window": 0,
                "upper_window": 0,
            }
        )
        # Prophet would count two periods with the same name on one day (in two places) twice.
        return frame.drop_duplicates(["holiday", "ds"], ignore_index=True)

    def _of(self, space: str | None) -> Iterable[Period]:
        near = self.near or {}
        for period in self.periods:
            if not period.space or space in near.get(period.space, {period.space}):
                yield period

    def _on(self, days: Days, kind: PeriodKind, space: str | None) -> Bools:
        """Which days are in a period of a kind: more such periods have begun than ended."""
        found = [p for p in self._of(space) if p.kind == kind]
        starts = np.sort(np.array([p.start for p in found], dtype="datetime64[D]"))
        ends = np.sort(np.array([p.end for p in found], dtype="datetime64[D]"))
        begun = np.searchsorted(starts, days, side="right")
        return np.asarray(begun > np.searchsorted(ends, days, side="right"))

    def _week(self, days: Days) -> NDArray[np.int16]:
        """Week of the quarter, counted from the Monday of its first week."""
        quarters = sorted(p for p in self.periods if p.kind == PeriodKind.QUARTER)
        if not quarters:
            return np.zeros(len(days), np.int16)
        starts = np.array([p.start for p in quarters], dtype="datetime64[D]")
        ends = np.array([p.end for p in quarters], dtype="datetime64[D]")
        at = np.searchsorted(starts, days, side="right") - 1
        inside = (at >= 0) & (days < ends[at])
        week = _week_number(days) - _week_number(starts[at]) + 1
        return np.where(inside, week, 0).astype(np.int16)


def _week_number(days: Days) -> NDArray[np.int64]:
    """Number of the week, from Monday; 1969-12-29 begins week 0."""
    return (days.astype(np.int64) + 3) // 7
