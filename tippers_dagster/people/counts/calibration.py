"""How many people stand behind so many devices: a ratio from head counts, with an interval.

``people = ratio x hour factor x level factor x devices``. The factors are those of a log-linear
model (the method of minimum bias of Bailey and Simon, "Two studies in automobile insurance
ratemaking", 1960), each drawn towards 1 by global empirical Bayes (Marshall, "Mapping disease and
mortality rates using empirical Bayes estimators", 1991), with the variance of a cell's ratio taken
from the spread between days and spaces: people who stay are in many bins, and bins are no
independent observations. Spaces weigh as in a random-effects model (DerSimonian and Laird,
"Meta-analysis in clinical trials", 1986): the ratio is that of a space like them, and not that of
the largest.

The interval is split-conformal on normalised residuals (Lei, G'Sell, Rinaldo, Tibshirani and
Wasserman, "Distribution-free predictive inference for regression", 2018), apart for bins without
devices and for each level (Mondrian conformal prediction: Vovk, Gammerman and Shafer, "Algorithmic
learning in a random world", 2005), and split by day.

Spaces with others below them have a calibration of their own where they were counted in enough: a
phone that the network sees in the next room is lost to the room, and not to the floor.

Pure functions on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Ratio = Literal["constant", "hour", "level", "hour_and_level"]

HOUR_GROUP = 4 * 3600
"""Seconds of the wall clock that share a factor; bins that are wider have none."""

LEVELS = 6
"""Levels of occupancy, at quantiles of the devices."""

FEWEST = 30
"""Head counts with a computed count of devices, below which nothing is fitted."""

FEWEST_DAYS = 3
"""Days with head counts: one to fit, one for the interval, one to judge."""

_ROUNDS = 12
_SMALLEST_VARIANCE = 0.05
"""Of a bin's number of people: an estimate is never sure to a fifth of a person."""


class TooFew(Exception):
    """A sentence that says why head counts do not suffice."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Head counts with the devices that were counted at the same place and time.

    Attributes
    ----------
    people, devices
        float64 [n].
    second
        int64 [n], of the day by the wall clock, at which the bin begins.
    width
        int64 [n], seconds of the bin.
    day
        int64 [n], local days since 1970-01-01.
    space
        int64 [n], a number for each space.
    above
        bool [n], whether the space has others below it.
    """

    people: Floats
    devices: Floats
    second: Ints
    width: Ints
    day: Ints
    space: Ints
    above: Mask

    def __len__(self) -> int:
        return len(self.people)

    def of(self, rows: Mask) -> Observations:
        """Some of them."""
        return Observations(
            self.people[rows],
            self.devices[rows],
            self.second[rows],
            self.width[rows],
            self.day[rows],
            self.space[rows],
            self.above[rows],
        )


@dataclass(frozen=True)
class Calibration:
    """What turns devices into people.

    Attributes
    ----------
    ratio
        People per device over all head counts.
    hours
        A factor for each ``HOUR_GROUP`` of the day.
    edges
        Devices from which on the next level holds, one less than there are levels.
    levels
        A factor for each level.
    variance
        Of people around their estimate m: ``a + b m + c m^2``.
    empty, spread
        Half the interval in standard deviations, for bins without devices, and for each level.
    confidence
        Of the interval.
    above
        That of spaces with others below them; None: they are like the others.
    """

    ratio: float
    hours: tuple[float, ...]
    edges: tuple[float, ...]
    levels: tuple[float, ...]
    variance: tuple[float, float, float]
    empty: float
    spread: tuple[float, ...]
    confidence: float
    above: Calibration | None = None

    def of(self, above: bool) -> Calibration:
        """That of a space with others below it, or of one without."""
        return self.above if above and self.above is not None else self

    def estimates(self, observed: Observations) -> tuple[Floats, Floats, Floats]:
        """Estimate, lowest and highest of each head count, float64 [n] each."""
        found = np.zeros((3, len(observed)))
        for above in (False, True):
            rows, part = observed.above == above, self.of(above)
            some = observed.of(rows)
            people = part.people(some.devices, some.second, some.width)
            found[:, rows] = people, *part.interval(some.devices, people)
        return found[0], found[1], found[2]

    def people(self, devices: Floats, second: Ints, width: Ints | int) -> Floats:
        """Estimated people, float64 [n]; arguments as in ``Observations``."""
        hour = np.asarray(self.hours)[_hour_group(second)]
        hour = np.where(np.asarray(width) > HOUR_GROUP, 1.0, hour)
        level = np.asarray(self.levels)[_level(devices, self.edges)]
        return np.asarray(devices * self.ratio * hour * level, np.float64)

    def interval(self, devices: Floats, people: Floats) -> tuple[Floats, Floats]:
        """Lowest and highest whole number of people around the estimate, float64 [n] each.

        Rounded outwards: the interval is never narrower than what was calibrated.
        """
        spread = np.asarray(self.spread)[_level(devices, self.edges)]
        half = np.where(devices > 0, spread, self.empty)
        half = half * np.sqrt(_variance(self.variance, people))
        low = np.floor(np.maximum(people - half, 0.0) + 1e-9)
        return low, np.ceil(people + half - 1e-9)

    def to_json(self) -> dict[str, Any]:
        """As ``from_json`` takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """What ``to_json`` gave."""
        listed: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in data.items()
        }
        above = data.get("above")
        listed["above"] = None if above is None else cls.from_json(above)
        return cls(**listed)


@dataclass(frozen=True)
class Errors:
    """How far estimates are from the people counted; ``relative``: mean of error over people, of
    bins with people; None where there are none.
    """

    mae: float
    rmse: float
    relative: float | None
    bias: float


@dataclass(frozen=True)
class Evaluation:
    """What a calibration does on days that it has not seen.

    Attributes
    ----------
    rows, days
        Head counts held out, and their days.
    calibrated, uncalibrated
        Errors of the estimate, and of the number of devices itself.
    coverage
        Share of the head counts within the interval.
    width
        Mean width of the interval, people.
    fitted, fitted_days, spaces
        Head counts in all, their days and spaces.
    """

    rows: int
    days: int
    calibrated: Errors
    uncalibrated: Errors
    coverage: float
    width: float
    fitted: int
    fitted_days: int
    spaces: int

    def to_json(self) -> dict[str, Any]:
        """As ``from_json`` takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """What ``to_json`` gave."""
        errors = {name: Errors(**data[name]) for name in ("calibrated", "uncalibrated")}
        return cls(**{**data, **errors})


def calibrate(
    observed: Observations, ratio: Ratio, confidence: float
) -> tuple[Calibration, Evaluation]:
    """Fit the ratio and the interval, and judge them on days held out.

    Every fourth day is held out and every fourth is for the interval. What is judged is fitted
    without the days held out; what is returned is fitted anew with them.

    Raises
    ------
    TooFew
        When the head counts are too few for that.
    """
    _require(observed)
    roles = _roles(observed.day)
    fit, interval, held_out = (observed.of(roles == role) for role in range(3))
    judged = _calibration(fit, interval, ratio, confidence)
    evaluation = _evaluate(judged, held_out, observed)
    return _calibration(observed.of(roles != 1), interval, ratio, confidence), evaluation


def errors(estimate: Floats, people: Floats) -> Errors:
    """Of estimates, against the people that were counted; both float64 [n], n > 0."""
    off = estimate - people
    some = people > 0
    relative = float((np.abs(off[some]) / people[some]).mean()) if some.any() else None
    return Errors(
        mae=float(np.abs(off).mean()),
        rmse=float(np.sqrt((off**2).mean())),
        relative=relative,
        bias=float(off.mean()),
    )


def covered(low: Floats, high: Floats, people: Floats) -> float:
    """The share of head counts within their intervals."""
    return float(((low <= people) & (people <= high)).mean())


# --- steps --------------------------------------------------------------------------------------
def _require(observed: Observations) -> None:
    days = len(np.unique(observed.day))
    if len(observed) < FEWEST or days < FEWEST_DAYS:
        raise TooFew(
            f"{len(observed):,} head counts of {days:,} days are too few: "
            f"{FEWEST} of {FEWEST_DAYS} days are needed."
        )
    if not observed.devices.sum() or not observed.people.sum():
        raise TooFew("No head count has both people and devices.")


def _roles(day: Ints) -> Ints:
    """0 to fit, 1 for the interval, 2 held out: by turns of days, so that weekdays take turns."""
    days, at = np.unique(day, return_inverse=True)
    turns = np.array([0, 1, 2] if len(days) == FEWEST_DAYS else [0, 1, 0, 2])
    return np.asarray(turns[at % len(turns)], np.int64)


def _calibration(
    fit: Observations, interval: Observations, ratio: Ratio, confidence: float
) -> Calibration:
    """Of spaces with and without others below them apart, where there are head counts for it."""
    parts = [
        (fit.of(fit.above == above), interval.of(interval.above == above))
        for above in (False, True)
    ]
    if not all(_suffice(f, i, confidence) for f, i in parts):
        return _of_spaces_alike(fit, interval, ratio, confidence)
    rooms, above = (_of_spaces_alike(f, i, ratio, confidence) for f, i in parts)
    return replace(rooms, above=above)


def _suffice(fit: Observations, interval: Observations, confidence: float) -> bool:
    """Whether some head counts are enough for a calibration of their own."""
    seen = fit.devices.sum() > 0 and fit.people.sum() > 0
    enough = min(len(fit), len(interval)) >= FEWEST
    return bool(seen and enough and _conformal(interval.devices, confidence) is not None)


def _of_spaces_alike(
    fit: Observations, interval: Observations, ratio: Ratio, confidence: float
) -> Calibration:
    edges = _edges(fit.devices)
    mean, hours, levels = _factors(fit, edges, ratio)
    made = Calibration(
        mean, hours, edges, levels, (1.0, 0.0, 0.0), 0.0, (0.0,) * len(levels), confidence
    )
    variance = _fit_variance(made.people(fit.devices, fit.second, fit.width), fit.people)
    estimate = made.people(interval.devices, interval.second, interval.width)
    score = np.abs(interval.people - estimate) / np.sqrt(_variance(variance, estimate))
    empty, spread = _spreads(score, interval.devices, edges, confidence)
    return replace(made, variance=variance, empty=empty, spread=spread)


def _spreads(
    score: Floats, devices: Floats, edges: tuple[float, ...], confidence: float
) -> tuple[float, tuple[float, ...]]:
    """The scores of bins without devices, and of each level, that new ones stay below.

    Where they are too few, that of all bins with devices, or of all.
    """
    of_all = _conformal(score, confidence)
    if of_all is None:
        raise TooFew(
            f"{len(score):,} head counts are left for the interval, too few for one of "
            f"{confidence:.1%}."
        )
    some = devices > 0
    empty = _conformal(score[~some], confidence)
    occupied = _conformal(score[some], confidence)
    level = _level(devices, edges)
    of_levels = (
        _conformal(score[some & (level == at)], confidence) for at in range(len(edges) + 1)
    )
    fallback = of_all if occupied is None else occupied
    return (
        of_all if empty is None else empty,
        tuple(fallback if found is None else found for found in of_levels),
    )


def _edges(devices: Floats) -> tuple[float, ...]:
    """Devices at which the levels change, each once: all levels have as many devices in all.

    So quantiles are of devices and not of bins: most bins are of small rooms, and would leave all
    that is larger one level.
    """
    some = np.sort(devices[devices > 0])
    if not some.size:
        return ()
    reached = np.cumsum(some) / some.sum()
    at = np.searchsorted(reached, np.arange(1, LEVELS) / LEVELS)
    return tuple(float(c) for c in np.unique(some[at]) if c > some[0])


def _factors(
    fit: Observations, edges: tuple[float, ...], ratio: Ratio
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """The ratio, and the factors of hours and levels.

    First plain, for the spread by chance and between spaces; then weighted and shrunk.
    """
    groups = 86400 // HOUR_GROUP
    hour = np.where(fit.width > HOUR_GROUP, groups, _hour_group(fit.second))
    level = _level(fit.devices, edges)
    shape = (groups + 1, len(edges) + 1)
    cells = _Cells(fit, hour, level, shape)
    hours, levels = _fit_factors(cells, 0.0, ratio)
    spread = cells.dispersion(hours, levels)
    weight = _space_weights(fit, fit.devices * hours[hour] * levels[level], spread)
    fit = replace(fit, people=fit.people * weight, devices=fit.devices * weight)
    hours, levels = _fit_factors(_Cells(fit, hour, level, shape), spread, ratio)
    mean = float(fit.people.sum() / (fit.devices * hours[hour] * levels[level]).sum())
    return mean, tuple(map(float, hours[:groups])), tuple(map(float, levels))


def _space_weights(fit: Observations, exposure: Floats, dispersion: float) -> Floats:
    """A weight for each head count, so that no space decides for all others.

    Ratios of spaces differ by more than chance, and those asked for are mostly of spaces that
    nobody counted in. So what is wanted is the mean of the spaces' ratios, and not the ratio of all
    people to all devices: spaces weigh as in a random-effects model (DerSimonian and Laird 1986),
    one over the variance of their ratio, that between spaces included.
    """
    people, expected = (np.bincount(fit.space, v) for v in (fit.people, exposure))
    some = expected > 0
    expected = np.where(some, expected * people[some].sum() / expected.sum(), 1.0)
    chance = max(dispersion, 1e-9) / expected
    total = expected[some].sum()
    between = (expected * (people / expected - 1) ** 2)[some].sum() / total
    between = max(0.0, float(between) - dispersion * some.sum() / total)
    weight = np.where(some, 1 / (between + chance) / expected, 0.0)
    weight = weight[fit.space] + (weight[fit.space] == 0)
    return np.asarray(weight * exposure.sum() / (weight * exposure).sum(), np.float64)


class _Cells:
    """Head counts by group of hours and level."""

    def __init__(self, fit: Observations, hour: Ints, level: Ints, shape: tuple[int, int]) -> None:
        self._fit, self._hour, self._level = fit, hour, level
        self.shape = shape
        cell, size = hour * shape[1] + level, shape[0] * shape[1]
        self.people = np.bincount(cell, fit.people, size).reshape(self.shape)
        self.devices = np.bincount(cell, fit.devices, size).reshape(self.shape)

    def dispersion(self, hours: Floats, levels: Floats) -> float:
        """Variance of the people of a space on a day in a cell, for each person expected.

        Pearson's statistic of the sums over such clusters, by their number less that of factors.
        """
        fit = self._fit
        expected = fit.devices * hours[self._hour] * levels[self._level]
        expected = expected * fit.people.sum() / expected.sum()
        rows = np.stack([fit.space, fit.day, self._hour, self._level])
        _, cluster = np.unique(rows, axis=1, return_inverse=True)
        counted, wanted = (np.bincount(cluster, v) for v in (fit.people, expected))
        some = wanted > 0
        free = max(1, int(some.sum()) - int((self.devices > 0).any(axis=1).sum()) - len(levels))
        return float(((counted - wanted)[some] ** 2 / wanted[some]).sum() / free)


def _fit_factors(cells: _Cells, dispersion: float, ratio: Ratio) -> tuple[Floats, Floats]:
    """Factors of hours and levels by turns, until they agree."""
    hours, levels = np.ones(cells.shape[0]), np.ones(cells.shape[1])
    for _ in range(_ROUNDS):
        if ratio in ("hour", "hour_and_level"):
            hours = _shrunk(cells, (cells.devices * levels).sum(axis=1), 1, dispersion)
            hours[-1] = 1.0  # bins wider than a group
        if ratio in ("level", "hour_and_level"):
            expected = (cells.devices * hours[:, None]).sum(axis=0)
            levels = _shrunk(cells, expected, 0, dispersion)
    return hours, levels


def _shrunk(cells: _Cells, exposure: Floats, axis: int, dispersion: float) -> Floats:
    """Ratios of people to exposure, in units of that of all, drawn towards 1.

    ``dispersion`` over the people expected is the variance of a ratio by chance; what they vary
    beyond it is real (Marshall 1991). 0 leaves the ratios as they are.
    """
    people = cells.people.sum(axis=axis)
    expected = exposure * people.sum() / exposure.sum()
    some = expected > 0
    ratio = np.where(some, people / np.where(some, expected, 1.0), 1.0)
    total = expected.sum()
    variance = (expected * (ratio - 1) ** 2).sum() / total - dispersion * some.sum() / total
    real = max(0.0, float(variance))
    chance = dispersion / np.where(some, expected, 1.0)
    weight = real / np.maximum(real + chance, 1e-12)
    return np.asarray(1 + np.where(some, weight, 0.0) * (ratio - 1), np.float64)


def _fit_variance(estimate: Floats, people: Floats) -> tuple[float, float, float]:
    """Least squares without negative terms, of squared residuals on 1, m and m^2.

    Weighted, so that the largest spaces do not decide alone.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # has no types

    terms = np.stack([np.ones_like(estimate), estimate, estimate**2], axis=1)
    weight = 1 / (1 + estimate)
    found, _ = nnls(terms * weight[:, None], (people - estimate) ** 2 * weight)
    return (float(found[0]), float(found[1]), float(found[2]))


def _variance(terms: tuple[float, float, float], people: Floats) -> Floats:
    a, b, c = terms
    return np.maximum(a + b * people + c * people**2, _SMALLEST_VARIANCE)


def _conformal(score: Floats, confidence: float) -> float | None:
    """The score that a new one stays below with this confidence; None: too few to tell."""
    rank = math.ceil((len(score) + 1) * confidence)
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else None


def _evaluate(made: Calibration, held_out: Observations, every: Observations) -> Evaluation:
    estimate, low, high = made.estimates(held_out)
    return Evaluation(
        rows=len(held_out),
        days=len(np.unique(held_out.day)),
        calibrated=errors(estimate, held_out.people),
        uncalibrated=errors(held_out.devices, held_out.people),
        coverage=covered(low, high, held_out.people),
        width=float((high - low).mean()),
        fitted=len(every),
        fitted_days=len(np.unique(every.day)),
        spaces=len(np.unique(every.space)),
    )


def _hour_group(second: Ints) -> Ints:
    return np.asarray(second // HOUR_GROUP, np.int64)


def _level(devices: Floats, edges: tuple[float, ...]) -> Ints:
    return np.searchsorted(np.asarray(edges), devices, side="right").astype(np.int64)
