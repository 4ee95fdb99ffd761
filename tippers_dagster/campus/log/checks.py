"""The unusable rows of a batch, each with its reason."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

NO_SPACE = "no space id"
NO_ACCESS_POINT = "no access point"
END_BEFORE_START = "end before start"


class Checks:
    """The unusable rows of a batch, with reasons; the first reason of a row counts."""

    def __init__(self, rows: int) -> None:
        self._reasons: list[str] = []
        self._code = np.full(rows, -1, np.int32)

    @property
    def good(self) -> Mask:
        """The rows without a reason."""
        return self._code < 0

    def reject(self, rows: Mask, reason: str) -> None:
        """Reject ``rows`` (bool per row) with a reason, unless they already have one."""
        self.reject_each(rows, np.zeros(len(rows), np.int64), [reason])

    def reject_each(self, rows: Mask, which: NDArray[np.integer], reasons: list[str]) -> None:
        """Like ``reject``, with the reason ``reasons[which[i]]`` for row ``i``."""
        fresh = rows & self.good
        if fresh.any():
            self._code[fresh] = len(self._reasons) + which[fresh]
            self._reasons += reasons

    def reject_good(self, checks: Checks) -> None:
        """Reject what further checks of the good rows alone reject."""
        good = np.flatnonzero(self.good)
        bad = ~checks.good
        self._code[good[bad]] = len(self._reasons) + checks._code[bad]
        self._reasons += checks._reasons

    def reasons(self) -> pa.Array:
        """The reason of every rejected row, in order."""
        return pa.array(self._reasons, pa.string()).take(pa.array(self._code[~self.good]))

    def counts(self) -> dict[str, int]:
        """The number of rejected rows by reason."""
        numbers = np.bincount(self._code[~self.good], minlength=len(self._reasons))
        counts: dict[str, int] = {}
        for reason, number in zip(self._reasons, numbers.tolist(), strict=True):
            if number:
                counts[reason] = counts.get(reason, 0) + number
        return counts
