"""Occupancy split by the labels of devices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from streamlit_app.services.occupancy.computed import Log
from streamlit_app.services.occupancy.local_time import local_seconds
from streamlit_app.services.occupancy.series import Series
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import percent
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.people.by_label.reading import label_models_of_devices, read_label_counts
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Source:
    """A label model or classifier of devices, and the labelled occupancies that use its labels.

    Attributes
    ----------
    by
        Its name, for example ``device.device_type``.
    kind
        ``label model`` or ``classifier``; ``labels`` when its definition was deleted.
    published
        Names of the labelled occupancies.
    """

    by: str
    kind: str
    published: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its text in a list of choices."""
        kept = f", published as {', '.join(self.published)}" if self.published else ""
        return f"{self.by} ({self.kind}{kept})"

    @property
    def asset(self) -> str:
        """The asset to link to: the labelled occupancy, or else the label model or classifier."""
        if self.published:
            return f"{Kind.LABELLED_OCCUPANCY.value}/{self.published[0]}"
        return self.by.replace(".", "/")


def sources(settings: Settings) -> list[Source]:
    """Label models and classifiers that have labelled devices, published ones first."""
    catalog = load_catalog(settings)
    published: dict[str, list[str]] = {}
    for definition in catalog.of_kind(Kind.LABELLED_OCCUPANCY):
        if isinstance(definition.body, LabelledOccupancy):
            published.setdefault(definition.body.by, []).append(definition.ref.name)
    kinds = {str(ref): ref.kind.in_words for ref in catalog.definitions}
    found = [
        Source(by, kinds.get(by, "labels"), tuple(published.get(by, ())))
        for by in label_models_of_devices(settings)
    ]
    return sorted(found, key=lambda source: not source.published)


@dataclass(frozen=True)
class Part:
    """The devices of one label in a space, over the computed bins of a window.

    Attributes
    ----------
    peak, peak_at
        Most devices in a bin, and the local time at which the bin begins; ``peak_at`` is None
        when the peak is 0.
    mean
        Mean devices per bin.
    share
        Share of the mean of all devices; 0 when the space was empty.
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
    """A space's devices by label, unlabelled devices last; any bin width.

    Parameters
    ----------
    label_model
        A label model or classifier. Counts that a labelled occupancy has published are read, the
        rest is counted from presence.
    log
        The span of the log: bins outside count as not computed.

    Raises
    ------
    TippersError
        The label model has no labels, or does not label devices.
    """
    names, (found,) = read_label_counts(
        [space], window.start, window.end, width, label_model, settings=settings
    )
    local = local_seconds(settings, found.edges)
    known = found.computed if log is None else found.computed & log.covers(local)
    return {
        name: Series(space, width, local, counts, known, tuple(found.missing))
        for name, counts in zip(names, found.counts, strict=True)
    }


def parts(of_labels: Mapping[str, Series]) -> list[Part]:
    """The main numbers of each label; empty when nothing is computed."""
    figures = {name: series.figures for name, series in of_labels.items()}
    total = sum(f.mean or 0 for f in figures.values())
    return [
        Part(name, f.peak, f.peak_at if f.peak else None, f.mean, f.mean / total if total else 0)
        for name, f in figures.items()
        if f.peak is not None and f.mean is not None
    ]


def in_words(found: list[Part]) -> str:
    """The shares of the labels, the largest first: ``PHONE 61 %, LAPTOP 30 %``."""
    ranked = sorted((p for p in found if p.share > 0), key=lambda p: -p.share)
    return ", ".join(f"{p.label} {percent(p.share)}" for p in ranked)
