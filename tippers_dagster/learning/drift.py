"""Drift: how much the distribution of columns has changed. Pure.

A column's population stability index compares the current shares per bin with the earlier ones: the
sum of (now - before) * ln(now / before). By convention, up to 0.1 means no change, and above 0.25 a
different population (Siddiqi: Credit risk scorecards, 2006). With few rows the index is large by
chance: without any change, it is about (1/n + 1/m) times a chi-squared with one degree of freedom
less than there are bins (Yurdakul: Statistical properties of population stability index, 2018). So
the threshold is raised to the value that chance exceeds once in a thousand times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PSI_LIMIT = 0.25
MISSING_LIMIT = 0.1
"""A larger change of the share of missing values is drift, unless chance explains it."""

CHANCE = 0.001
"""The probability of a false alarm per column."""

BINS = 10
"""Bins for a number, each with an equal number of earlier rows."""

MAX_CATEGORIES = 20
"""Bins for a category: the most frequent values; all others, and new ones, share the last bin."""

_SMALL = 0.5
"""Added to every count, so that empty bins do not have infinite weight."""


@dataclass(frozen=True)
class ColumnProfile:
    """The distribution of a column's values.

    ``edges`` of a number: bin i holds the values in [edges[i - 1], edges[i]). ``categories`` of a
    category; one further bin holds all others. ``counts``: rows by bin; ``missing``: rows without a
    value.
    """

    counts: tuple[int, ...]
    missing: int
    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        """The number of rows, including those without a value."""
        return sum(self.counts) + self.missing

    @property
    def bins(self) -> list[str]:
        """The names of the bins."""
        if self.categories is not None:
            return [*self.categories, "others"]
        edges = [f"{edge:.6g}" for edge in self.edges or ()]
        if not edges:
            return ["all"]
        between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
        return [f"below {edges[0]}", *between, f"{edges[-1]} and more"]

    def to_json(self) -> dict[str, Any]:
        """The profile for a file; the inverse of ``from_json``."""
        return vars(self).copy()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnProfile:
        """The inverse of ``to_json``."""
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**lists)


@dataclass(frozen=True)
class Drift:
    """A column's current distribution compared with the earlier one.

    ``psi`` and ``threshold`` are None if either has no values.
    """

    name: str
    psi: float | None
    threshold: float | None
    missing_before: float
    missing_now: float
    missing_threshold: float
    bins: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def moved(self) -> bool:
        """Whether its values have drifted."""
        return self.psi is not None and self.threshold is not None and self.psi > self.threshold

    @property
    def missing_moved(self) -> bool:
        """Whether the share of missing values has drifted."""
        return abs(self.missing_now - self.missing_before) > self.missing_threshold

    @property
    def drifted(self) -> bool:
        """Whether the values or the share of missing ones have drifted."""
        return self.moved or self.missing_moved


def profile(columns: pa.Table) -> dict[str, ColumnProfile]:
    """Profiles of a table's columns; numbers are float64, all others are categories."""
    return {
        name: _profile(column.combine_chunks())
        for name, column in zip(columns.column_names, columns.columns, strict=True)
    }


def compare(before: Mapping[str, ColumnProfile], columns: pa.Table) -> list[Drift]:
    """Compare the columns that both have, most drifted first."""
    both = [name for name in columns.column_names if name in before]
    found = [_compare(name, before[name], columns[name].combine_chunks()) for name in both]
    return sorted(found, key=lambda d: (not d.drifted, -(d.psi or 0.0), d.name))


def psi(before: np.ndarray, now: np.ndarray) -> float:
    """Population stability index of two int [bins] counts by bin."""
    p, q = _shares(before), _shares(now)
    return float(((q - p) * np.log(q / p)).sum())


def psi_threshold(before: int, now: int, bins: int) -> float:
    """The index above which a column has drifted, for these numbers of rows and bins."""
    from scipy.stats import chi2  # type: ignore[import-untyped]  # has no types

    by_chance = chi2.ppf(1 - CHANCE, max(1, bins - 1)) * (1 / before + 1 / now)
    return max(PSI_LIMIT, float(by_chance))


def _profile(column: pa.Array) -> ColumnProfile:
    known = column.drop_null()
    if pa.types.is_float64(column.type):
        values = known.to_numpy()
        inner = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(values, inner)) if len(values) else np.empty(0)
        counts = _by_edges(values, edges)
        return ColumnProfile(tuple(counts.tolist()), column.null_count, tuple(edges.tolist()))
    texts = known.cast(pa.string())
    counted = pc.value_counts(texts)
    names = counted.field("values").to_pylist()
    by_count = sorted(zip(counted.field("counts").to_pylist(), names, strict=True), reverse=True)
    categories = tuple(sorted(name for _, name in by_count[:MAX_CATEGORIES]))
    counts = _by_category(texts, categories)
    return ColumnProfile(tuple(counts.tolist()), column.null_count, categories=categories)


def _compare(name: str, earlier: ColumnProfile, column: pa.Array) -> Drift:
    before, now = np.array(earlier.counts), _binned(earlier, column)
    rows, all_before, all_now = int(now.sum()), earlier.rows, len(column)
    comparable = rows > 0 and before.sum() > 0
    missing = (earlier.missing / max(1, all_before), column.null_count / max(1, all_now))
    return Drift(
        name=name,
        psi=psi(before, now) if comparable else None,
        threshold=psi_threshold(int(before.sum()), rows, len(before)) if comparable else None,
        missing_before=missing[0],
        missing_now=missing[1],
        missing_threshold=_missing_threshold(
            earlier.missing + column.null_count, all_before, all_now
        ),
        bins=tuple(earlier.bins),
        before=tuple((before / max(1, before.sum())).tolist()),
        now=tuple((now / max(1, rows)).tolist()),
    )


def _binned(earlier: ColumnProfile, column: pa.Array) -> np.ndarray:
    """Rows by the earlier bins; none if the column's type has changed."""
    known = column.drop_null()
    numeric = pa.types.is_float64(column.type)
    if earlier.categories is not None:
        return _by_category(known.cast(pa.string()), earlier.categories)
    if not numeric:
        return np.zeros(len(earlier.counts), np.int64)
    return _by_edges(known.to_numpy(), np.array(earlier.edges or ()))


def _by_edges(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def _by_category(texts: pa.Array, categories: tuple[str, ...]) -> np.ndarray:
    known = pa.array(categories, pa.string())
    place = pc.index_in(texts, value_set=known).fill_null(len(categories))
    return np.bincount(place.to_numpy(), minlength=len(categories) + 1)


def _shares(counts: np.ndarray) -> np.ndarray:
    filled = counts + _SMALL
    return filled / filled.sum()


def _missing_threshold(missing: int, before: int, now: int) -> float:
    """The limit, raised if a difference of two shares of so few rows can be chance (normal)."""
    if not before or not now:
        return 1.0
    share = missing / (before + now)
    deviation = math.sqrt(share * (1 - share) * (1 / before + 1 / now))
    return max(MISSING_LIMIT, 3.29 * deviation)  # two-sided, once in a thousand
