"""Occupancy split by the labels of devices, as a page shows it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from streamlit_app.services.occupancy import Log, Series, Window, local_seconds
from streamlit_app.services.words import percent
from tippers_dagster.labelled.reading import device_labels
from tippers_dagster.occupancy.reading import read_groups
from tippers_dagster.settings import Settings


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


def split(
    settings: Settings,
    space: str,
    window: Window,
    width: int,
    label_model: str,
    log: Log | None = None,
) -> dict[str, Series]:
    """A space's devices by label, those without one at last; from presence, whatever the width.

    Parameters
    ----------
    log
        What the log spans; of bins outside of it nothing is known.

    Raises
    ------
    TippersError
        A label model without labels, or not of devices.
    """
    labels = device_labels(settings, label_model)
    found = read_groups(space, window.start, window.end, width, labels.groups, settings=settings)
    local = local_seconds(settings, found.edges)
    known = found.computed if log is None else found.computed & log.covers(local)
    return {
        name: Series(space, width, local, counts, known, tuple(found.missing))
        for name, counts in zip(labels.names, found.counts, strict=True)
    }


def parts(of_labels: Mapping[str, Series]) -> list[Part]:
    """The main numbers of each; none when nothing is computed."""
    figures = {name: series.figures for name, series in of_labels.items()}
    whole = sum(f.mean or 0 for f in figures.values())
    return [
        Part(name, f.peak, f.peak_at if f.peak else None, f.mean, f.mean / whole if whole else 0)
        for name, f in figures.items()
        if f.peak is not None and f.mean is not None
    ]


def in_words(of_labels: list[Part]) -> str:
    """The mean of the parts as shares, the largest first: ``PHONE 61 %, LAPTOP 30 %``."""
    ranked = sorted((p for p in of_labels if p.share > 0), key=lambda p: -p.share)
    return ", ".join(f"{p.label} {percent(p.share)}" for p in ranked)
