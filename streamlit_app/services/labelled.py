"""Occupancy split by the labels of devices, as a page shows it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from streamlit_app.services.occupancy import Log, Series, Window, local_seconds
from streamlit_app.services.words import percent
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.people.by_label.reading import label_models_of_devices, read_label_counts
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Source:
    """What gives devices labels, and the labelled occupancies that are published by it.

    Attributes
    ----------
    by
        As ``device.device_type``.
    kind
        ``label model`` or ``classifier``; ``labels`` when its definition is gone.
    published
        Names of labelled occupancies.
    """

    by: str
    kind: str
    published: tuple[str, ...]

    @property
    def title(self) -> str:
        """As a list of choices shows it."""
        kept = f", published as {', '.join(self.published)}" if self.published else ""
        return f"{self.by} ({self.kind}{kept})"

    @property
    def asset(self) -> str:
        """The name of the asset behind it."""
        if self.published:
            return f"{Kind.LABELLED_OCCUPANCY.value}/{self.published[0]}"
        return self.by.replace(".", "/")


def sources(settings: Settings) -> list[Source]:
    """Label models and classifiers that have labelled devices, those that are published first."""
    catalog = load_catalog(settings)
    published: dict[str, list[str]] = {}
    for definition in catalog.of_kind(Kind.LABELLED_OCCUPANCY):
        if isinstance(definition.body, LabelledOccupancy):
            published.setdefault(definition.body.by, []).append(definition.ref.name)
    kinds = {str(ref): ref.kind.value.replace("_", " ") for ref in catalog.definitions}
    found = [
        Source(by, kinds.get(by, "labels"), tuple(published.get(by, ())))
        for by in label_models_of_devices(settings)
    ]
    return sorted(found, key=lambda source: not source.published)


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
    """A space's devices by label, those without one at last, whatever the width.

    Parameters
    ----------
    label_model
        Or a classifier. What a labelled occupancy has published by it is read, and the rest counted
        from presence.
    log
        What the log spans; of bins outside of it nothing is known.

    Raises
    ------
    TippersError
        One without labels, or not of devices.
    """
    names, found = read_label_counts(
        space, window.start, window.end, width, label_model, settings=settings
    )
    local = local_seconds(settings, found.edges)
    known = found.computed if log is None else found.computed & log.covers(local)
    return {
        name: Series(space, width, local, counts, known, tuple(found.missing))
        for name, counts in zip(names, found.counts, strict=True)
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
