"""Occupancy split by the labels of devices, as a page shows it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from streamlit_app.services.occupancy import SCREEN_POINTS, Window, local_seconds, local_time
from tippers_dagster.labelled.reading import DeviceLabels, device_labels
from tippers_dagster.occupancy.reading import GroupCounts, read_groups
from tippers_dagster.settings import Settings

MOST_POINTS = SCREEN_POINTS // 4
"""Of each label: areas are drawn slower than lines."""


@dataclass(frozen=True)
class Part:
    """One label's part of a space, over the computed bins of a window.

    Attributes
    ----------
    peak, peak_at
        Most devices in a bin, and the local time at which it begins; None without any.
    mean
        Devices per bin.
    share
        Of the mean of all devices; 0 when nobody was there.
    """

    label: str
    peak: int
    peak_at: dt.datetime | None
    mean: float
    share: float


@dataclass(frozen=True, eq=False)
class Split:
    """A space's devices by label. ``names``: the labels, and those without one at last."""

    settings: Settings
    names: tuple[str, ...]
    found: GroupCounts

    @property
    def computed(self) -> bool:
        """Whether any bin is."""
        return bool(self.found.computed.any())

    @property
    def together(self) -> int:
        """How many bins a point of the chart stands for."""
        return -(-self.found.computed.size // MOST_POINTS)

    @cached_property
    def parts(self) -> list[Part]:
        """In the order of ``names``."""
        counts = self.found.counts[:, self.found.computed]
        begins = self.found.edges[:-1][self.found.computed]
        if not begins.size:
            return []
        means = counts.mean(axis=1)
        whole = max(float(means.sum()), 1e-9)
        return [
            Part(
                name,
                int(row.max()),
                local_time(self.settings, int(begins[row.argmax()])) if row.any() else None,
                float(mean),
                float(mean) / whole,
            )
            for name, row, mean in zip(self.names, counts, means, strict=True)
        ]

    @cached_property
    def points(self) -> pa.Table:
        """``time`` (local ms), ``part``, ``count``: means over ``together`` bins, null in gaps."""
        size = self.together
        counts = np.where(self.found.computed, self.found.counts, np.nan)
        more = -counts.shape[1] % size
        padded = np.pad(counts, ((0, 0), (0, more)), constant_values=np.nan)
        blocks = padded.reshape(len(self.names), -1, size)
        known = ~np.isnan(blocks)
        means = np.nansum(blocks, axis=2) / np.maximum(known.sum(axis=2), 1)
        time = local_seconds(self.settings, self.found.edges[:-1][::size]) * 1000
        lacking = ~known.any(axis=2)
        return pa.table(
            {
                "time": pa.array(np.tile(time, len(self.names))),
                "part": pa.array(np.repeat(self.names, len(time))),
                "count": pa.array(means.ravel(), mask=lacking.ravel()),
            }
        )


def split(settings: Settings, space: str, window: Window, width: int, label_model: str) -> Split:
    """Read it; from presence, whatever the width.

    Raises
    ------
    TippersError
        A label model without labels, or not of devices.
    """
    labels: DeviceLabels = device_labels(settings, label_model)
    found = read_groups(space, window.start, window.end, width, labels.groups, settings=settings)
    return Split(settings, labels.names, found)


def in_words(parts: list[Part]) -> str:
    """The mean of the parts as shares, the largest first: ``PHONE 61 %, LAPTOP 30 %``."""
    ranked = sorted((p for p in parts if p.share > 0), key=lambda p: -p.share)
    return ", ".join(f"{p.label} {p.share:.0%}".replace("%", " %") for p in ranked)
