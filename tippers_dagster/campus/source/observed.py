"""What is known of the rows of a chunk in the source."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

Span = tuple[dt.date, dt.date]
"""Local dates [first, second), covered by consecutive chunks."""


@dataclass(frozen=True)
class Observed:
    """The number of a chunk's rows in the source, and a fingerprint of their content."""

    rows: int
    fingerprint: int

    @classmethod
    def of(cls, rows: int, hashes: int) -> Observed:
        """Of the sum of the hashes of rows."""
        return cls(rows, (hashes * 31 + rows) % 2**64)
