"""What each day of the academic calendar is: the inputs of forecasts. Pure."""

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
        In order of their first days.
    near
        For each space where an event takes place: the spaces that it concerns, which are the
        space itself, all below it and all above it. A space that is not among the keys concerns
        itself only.
    """

    periods: tuple[Period, ...] = ()
    near: Mapping[str, frozenset[str]] | None = None

    def flags(self, days: ArrayLike, space: str | None = None) -> pa.Table:
        """What each day is, for one space.

        Parameters
        ----------
        days
            Local dates, shape (n,), as ``datetime64[D]`` or dates; in any order.
        space
            Events in, below and above this space count, beside those of the whole campus; None:
            only those of the whole campus.

        Returns
        -------
        pa.Table
            n rows in the order of ``days``: ``day`` (date32); ``in_session`` (bool: within a
            quarter and on no break or holiday; finals are in session); ``week_of_quarter`` (int16:
            1 for the week, from Monday, that holds the quarter's first day, 0 outside quarters);
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
        """The days that are out of the ordinary, as Prophet takes them (``holidays=``).

        One row per day and period: ``holiday`` (str: ``kind: name``, so that a break of every
        year is one effect), ``ds`` (datetime64[ns]), ``lower_window`` and ``upper_window`` (0).
        Quarters are not among them: see :meth:`flags`. No row when there is none.

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
        # Of two periods of one name on one day (of two places, say) Prophet would count both.
        return frame.drop_duplicates(["holiday", "ds"], ignore_index=True)

    def _of(self, space: str | None) -> Iterable[Period]:
        near = self.near or {}
        for period in self.periods:
            if not period.space or space in near.get(period.space, {period.space}):
                yield period

    def _on(self, days: Days, kind: PeriodKind, space: str | None) -> Bools:
        """Which days are in a period of a kind: as many periods begin before as have ended."""
        found = [p for p in self._of(space) if p.kind == kind]
        starts = np.sort(np.array([p.start for p in found], dtype="datetime64[D]"))
        ends = np.sort(np.array([p.end for p in found], dtype="datetime64[D]"))
        begun = np.searchsorted(starts, days, side="right")
        return np.asarray(begun > np.searchsorted(ends, days, side="right"))

    def _week(self, days: Days) -> NDArray[np.int16]:
        """Weeks are counted from the Monday of the quarter's first week."""
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
    """Weeks from Monday, counted from that of 1969-12-29."""
    return (days.astype(np.int64) + 3) // 7
