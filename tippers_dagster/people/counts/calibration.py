"""Estimates people from devices: a ratio learned from head counts, with an interval.

``people = ratio x hour factor x level factor x devices``. The factors are those of a log-linear
model (the minimum bias method of Bailey and Simon, "Two studies in automobile insurance
ratemaking", 1960), each shrunk towards 1 by global empirical Bayes (Marshall, "Mapping disease and
mortality rates using empirical Bayes estimators", 1991). The variance of a cell's ratio is
estimated from the spread between days and spaces: people who stay are in many bins, so bins are not
independent observations. Spaces are weighted as in a random-effects model (DerSimonian and Laird,
"Meta-analysis in clinical trials", 1986): the ratio is that of a typical space, not of the largest.

The interval is split-conformal on normalised residuals (Lei, G'Sell, Rinaldo, Tibshirani and
Wasserman, "Distribution-free predictive inference for regression", 2018), split by day, and
separate for bins without devices and for each level (Mondrian conformal prediction: Vovk, Gammerman
and Shafer, "Algorithmic learning in a random world", 2005).

Spaces with children get a separate calibration if they have enough head counts: a phone that the
network sees in the next room is missing from the room, but not from the floor.

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
"""Length in seconds of the wall-clock periods that share a factor; wider bins have none."""

LEVELS = 6
"""Number of occupancy levels, divided at quantiles of devices."""

MIN_HEAD_COUNTS = 30
"""Minimum number of head counts with a computed device count; with fewer, nothing is fitted."""

MIN_HEAD_COUNT_DAYS = 3
"""Minimum number of days with head counts: one to fit, one for the interval, one to evaluate."""

_ROUNDS = 12
_MIN_VARIANCE = 0.05
"""Minimum variance of people in a bin: no estimate is precise to a fifth of a person."""


class TooFewHeadCounts(Exception):
    """There are too few head counts; the message says why."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Head counts with the device counts of the same place and time.

    Attributes
    ----------
    people, devices
        float64 [n].
    second
        int64 [n], wall-clock second of the day at which the bin begins.
    width
        int64 [n], width of the bin in seconds.
    day
        int64 [n], local days since 1970-01-01.
    space
        int64 [n], a number per space.
    above
        bool [n], the space has children.
    known
        float64 [n], people who are known by their user names, whom ``people`` leaves out, as
        ``devices`` does theirs.
    """

    people: Floats
    devices: Floats
    second: Ints
    width: Ints
    day: Ints
    space: Ints
    above: Mask
    known: Floats

    def __len__(self) -> int:
        return len(self.people)

    def of(self, rows: Mask) -> Observations:
        """The selected rows."""
        return Observations(
            self.people[rows],
            self.devices[rows],
            self.second[rows],
            self.width[rows],
            self.day[rows],
            self.space[rows],
            self.above[rows],
            self.known[rows],
        )


@dataclass(frozen=True)
class Calibration:
    """Converts devices into people.

    Attributes
    ----------
    ratio
        People per device over all head counts.
    hours
        A factor per ``HOUR_GROUP`` of the day.
    edges
        Device counts at which the next level begins, one fewer than levels.
    levels
        A factor per level.
    variance
        Coefficients of the variance of people around their estimate m, which includes the known
        ones: ``a + b m + c m^2``.
    empty, spread
        Half-width of the interval in standard deviations, for bins without devices and known
        people, and per level of both together.
    confidence
        Nominal confidence of the interval.
    above
        Calibration of spaces with children; None: the same as for others.
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
        """The calibration of spaces with children, or of those without."""
        return self.above if above and self.above is not None else self

    def estimates(self, observed: Observations) -> tuple[Floats, Floats, Floats]:
        """Estimate and interval bounds for each head count, float64 [n] each."""
        found = np.zeros((3, len(observed)))
        for above in (False, True):
            rows, part = observed.above == above, self.of(above)
            some = observed.of(rows)
            people = part.people(some.devices, some.second, some.width)
            low, high = part.interval(some.devices, people, some.known)
            found[:, rows] = people, low - some.known, high - some.known
        return found[0], found[1], found[2]

    def people(self, devices: Floats, second: Ints, width: Ints | int) -> Floats:
        """Estimated people, float64 [n]; arguments as in ``Observations``."""
        hour = np.asarray(self.hours)[_hour_group(second)]
        hour = np.where(np.asarray(width) > HOUR_GROUP, 1.0, hour)
        level = np.asarray(self.levels)[_level(devices, self.edges)]
        return np.asarray(devices * self.ratio * hour * level, np.float64)

    def interval(
        self, devices: Floats, people: Floats, known: Floats | float = 0.0
    ) -> tuple[Floats, Floats]:
        """Interval bounds of all people as whole numbers, float64 [n] each.

        Around the estimate and the people who are known besides: of these, too, some are counted
        in the next room. Rounded outwards, so the interval is never narrower than calibrated.
        """
        everyone = people + known
        seen = devices + known
        spread = np.asarray(self.spread)[_level(seen, self.edges)]
        half = np.where(seen > 0, spread, self.empty)
        half = half * np.sqrt(_variance(self.variance, everyone))
        low = np.floor(np.maximum(everyone - half, 0.0) + 1e-9)
        return low, np.ceil(everyone + half - 1e-9)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``from_json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Create it from the result of ``to_json``."""
        listed: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in data.items()
        }
        above = data.get("above")
        listed["above"] = None if above is None else cls.from_json(above)
        return cls(**listed)


@dataclass(frozen=True)
class Errors:
    """Errors of estimates against the people counted. ``relative`` is the mean relative error over
    bins with people; None if there are none.
    """

    mae: float
    rmse: float
    relative: float | None
    bias: float


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a calibration on held-out days.

    Attributes
    ----------
    rows, days
        Numbers of held-out head counts and of their days.
    calibrated, uncalibrated
        Errors of the estimate, and of the device count itself.
    coverage
        Share of held-out head counts within the interval.
    width
        Mean width of the interval in people.
    fitted, fitted_days, spaces
        Numbers of all head counts, and of their days and spaces.
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
        """A dictionary for ``from_json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """Create it from the result of ``to_json``."""
        errors = {name: Errors(**data[name]) for name in ("calibrated", "uncalibrated")}
        return cls(**{**data, **errors})


def calibrate(
    observed: Observations, ratio: Ratio, confidence: float
) -> tuple[Calibration, Evaluation]:
    """Fit the ratio and the interval, and evaluate them on held-out days.

    Every fourth day is held out, and every fourth is used for the interval. The evaluated
    calibration is fitted without the held-out days; the returned one is fitted again with them.

    Raises
    ------
    TooFew
        When there are too few head counts.
    """
    _require(observed)
    roles = _roles(observed.day)
    fit, interval, held_out = (observed.of(roles == role) for role in range(3))
    evaluated = _calibration(fit, interval, ratio, confidence)
    evaluation = _evaluate(evaluated, held_out, observed)
    return _calibration(observed.of(roles != 1), interval, ratio, confidence), evaluation


def errors(estimate: Floats, people: Floats) -> Errors:
    """Errors of estimates against the people counted; both float64 [n], n > 0."""
    difference = estimate - people
    some = people > 0
    relative = float((np.abs(difference[some]) / people[some]).mean()) if some.any() else None
    return Errors(
        mae=float(np.abs(difference).mean()),
        rmse=float(np.sqrt((difference**2).mean())),
        relative=relative,
        bias=float(difference.mean()),
    )


def covered(low: Floats, high: Floats, people: Floats) -> float:
    """The share of head counts within their intervals."""
    return float(((low <= people) & (people <= high)).mean())


# --- steps --------------------------------------------------------------------------------------
def _require(observed: Observations) -> None:
    days = len(np.unique(observed.day))
    if len(observed) < MIN_HEAD_COUNTS or days < MIN_HEAD_COUNT_DAYS:
        raise TooFewHeadCounts(
            f"There are too few head counts: {len(observed):,} on {days:,} days; at least "
            f"{MIN_HEAD_COUNTS} on {MIN_HEAD_COUNT_DAYS} days are needed."
        )
    if not observed.devices.sum() or not observed.people.sum():
        raise TooFewHeadCounts("No head count has both people and devices.")


def _roles(day: Ints) -> Ints:
    """0 to fit, 1 for the interval, 2 held out; days alternate, so weekdays do too."""
    days, at = np.unique(day, return_inverse=True)
    turns = np.array([0, 1, 2] if len(days) == MIN_HEAD_COUNT_DAYS else [0, 1, 0, 2])
    return np.asarray(turns[at % len(turns)], np.int64)


def _calibration(
    fit: Observations, interval: Observations, ratio: Ratio, confidence: float
) -> Calibration:
    """Calibrate spaces with and without children separately, if head counts suffice for that."""
    parts = [
        (fit.of(fit.above == above), interval.of(interval.above == above))
        for above in (False, True)
    ]
    if not all(_suffice(f, i, confidence) for f, i in parts):
        return _of_spaces_alike(fit, interval, ratio, confidence)
    rooms, above = (_of_spaces_alike(f, i, ratio, confidence) for f, i in parts)
    return replace(rooms, above=above)


def _suffice(fit: Observations, interval: Observations, confidence: float) -> bool:
    """Whether these head counts are enough for a separate calibration."""
    seen = fit.devices.sum() > 0 and fit.people.sum() > 0
    enough = min(len(fit), len(interval)) >= MIN_HEAD_COUNTS
    return bool(seen and enough and _conformal(interval.devices, confidence) is not None)


def _of_spaces_alike(
    fit: Observations, interval: Observations, ratio: Ratio, confidence: float
) -> Calibration:
    edges = _edges(fit.devices)
    mean, hours, levels = _factors(fit, edges, ratio)
    calibration = Calibration(
        mean, hours, edges, levels, (1.0, 0.0, 0.0), 0.0, (0.0,) * len(levels), confidence
    )
    fitted = calibration.people(fit.devices, fit.second, fit.width)
    variance = _fit_variance(fitted + fit.known, fit.people + fit.known)
    estimate = calibration.people(interval.devices, interval.second, interval.width)
    scale = np.sqrt(_variance(variance, estimate + interval.known))
    score = np.abs(interval.people - estimate) / scale
    empty, spread = _spreads(score, interval.devices + interval.known, edges, confidence)
    return replace(calibration, variance=variance, empty=empty, spread=spread)


def _spreads(
    score: Floats, devices: Floats, edges: tuple[float, ...], confidence: float
) -> tuple[float, tuple[float, ...]]:
    """The scores that new ones stay below, for bins without devices and per level.

    Groups with too few head counts use the score of all bins with devices, or of all bins.
    """
    of_all = _conformal(score, confidence)
    if of_all is None:
        raise TooFewHeadCounts(
            f"Only {len(score):,} head counts are left for the interval, too few for a confidence "
            f"of {confidence:.1%}."
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
    """Device counts at which levels change: all levels contain equally many devices in total.

    Quantiles are therefore of devices, not of bins: most bins are of small rooms, and would leave
    a single level for everything larger.
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

    They are first fitted plainly, to estimate the variance by chance and between spaces, then
    weighted and shrunk.
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
    """A weight per head count, so that no single space dominates.

    The ratios of spaces differ by more than chance, and estimates are mostly for spaces without
    head counts. So the mean of the spaces' ratios is needed, not the ratio of all people to all
    devices. Spaces are weighted as in a random-effects model (DerSimonian and Laird 1986), by the
    inverse variance of their ratio, including that between spaces.
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
        """Variance of people per space, day and cell, per expected person.

        Pearson's statistic of the sums over these clusters, divided by their number minus that of
        the factors.
        """
        fit = self._fit
        expected = fit.devices * hours[self._hour] * levels[self._level]
        expected = expected * fit.people.sum() / expected.sum()
        rows = np.stack([fit.space, fit.day, self._hour, self._level])
        _, cluster = np.unique(rows, axis=1, return_inverse=True)
        counted, predicted = (np.bincount(cluster, v) for v in (fit.people, expected))
        some = predicted > 0
        free = max(1, int(some.sum()) - int((self.devices > 0).any(axis=1).sum()) - len(levels))
        return float(((counted - predicted)[some] ** 2 / predicted[some]).sum() / free)


def _fit_factors(cells: _Cells, dispersion: float, ratio: Ratio) -> tuple[Floats, Floats]:
    """Fit the factors of hours and levels alternately until they converge."""
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
    """Ratios of people to exposure, relative to the overall ratio, shrunk towards 1.

    ``dispersion`` divided by the expected people is the variance of a ratio by chance; variation
    beyond it is real (Marshall 1991). With 0 the ratios are not shrunk.
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
    """Non-negative least squares of squared residuals on 1, m and m^2.

    Weighted, so that the largest spaces do not dominate.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # has no types

    terms = np.stack([np.ones_like(estimate), estimate, estimate**2], axis=1)
    weight = 1 / (1 + estimate)
    found, _ = nnls(terms * weight[:, None], (people - estimate) ** 2 * weight)
    return (float(found[0]), float(found[1]), float(found[2]))


def _variance(terms: tuple[float, float, float], people: Floats) -> Floats:
    a, b, c = terms
    return np.maximum(a + b * people + c * people**2, _MIN_VARIANCE)


def _conformal(score: Floats, confidence: float) -> float | None:
    """The score that a new one stays below with this confidence; None if there are too few."""
    rank = math.ceil((len(score) + 1) * confidence)
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else None


def _evaluate(calibration: Calibration, held_out: Observations, every: Observations) -> Evaluation:
    estimate, low, high = calibration.estimates(held_out)
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
