"""The ratio and the interval in cases with known results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tippers_dagster.people.counts.calibration import (
    HOUR_GROUP,
    Calibration,
    Evaluation,
    Observations,
    TooFewHeadCounts,
    calibrate,
)


def observed(
    n: int = 3000, *, seed: int = 0, morning: float = 1.2, evening: float = 2.0, spread: float = 1.0
) -> Observations:
    """People in ten spaces over twenty days, with a ratio of devices per half of the day."""
    rng = np.random.default_rng(seed)
    space = rng.integers(0, 10, n)
    second = rng.integers(0, 96, n) * 900
    people = rng.poisson(6 * np.sin(second / 86400 * np.pi) * (1 + space)).astype(float)
    devices = rng.poisson(people * np.where(second < 43200, morning, evening)) * spread
    day = 20_000 + rng.integers(0, 20, n)
    return Observations(
        people, devices, second, np.full(n, 900), day, space, space >= 10, np.zeros(n)
    )


def test_the_ratio_follows_the_hour() -> None:
    made, found = calibrate(observed(), "hour", 0.9)
    per_device = made.ratio * np.array(made.hours)
    assert np.allclose(per_device[1:3], 1 / 1.2, rtol=0.05)
    assert np.allclose(per_device[3:5], 1 / 2.0, rtol=0.05)
    assert found.calibrated.mae < 0.4 * found.uncalibrated.mae
    assert found.calibrated.relative is not None


def test_the_ratio_follows_the_level() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    devices = rng.integers(1, 200, n).astype(float)
    people = rng.poisson(devices * np.where(devices < 100, 1.0, 0.5)).astype(float)
    rows = Observations(
        people,
        devices,
        np.full(n, 36_000),
        np.full(n, 900),
        20_000 + rng.integers(0, 16, n),
        np.arange(n) % 7,
        np.zeros(n, bool),
        np.zeros(n),
    )
    made, _ = calibrate(rows, "level", 0.9)
    per_device = made.ratio * np.array(made.levels)
    assert per_device[0] == pytest.approx(1.0, abs=0.05)
    assert per_device[-1] == pytest.approx(0.5, abs=0.05)
    constant, _ = calibrate(rows, "constant", 0.9)
    assert set(constant.levels) == {1.0}
    assert set(constant.hours) == {1.0}


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_interval_covers_new_days(confidence: float, seed: int) -> None:
    made, found = calibrate(observed(seed=seed), "hour_and_level", confidence)
    new = observed(seed=seed + 100)
    people = made.people(new.devices, new.second, new.width)
    low, high = made.interval(new.devices, people)
    inside = ((low <= new.people) & (new.people <= high)).mean()
    assert inside > confidence - 0.03
    assert found.coverage > confidence - 0.05
    assert (low <= people).all()
    assert (people <= high).all()
    assert (low >= 0).all()
    assert (low == np.rint(low)).all()


def test_small_groups_shrink_towards_the_overall_ratio() -> None:
    """One hour with a handful of wild counts does not get a wild factor."""
    rows = observed(1500)
    night = rows.second < HOUR_GROUP
    thin = rows.of(~night | (np.cumsum(night) <= 4))
    at_night = thin.second < HOUR_GROUP
    people = np.where(at_night, 12.0, thin.people)
    devices = np.where(at_night, 1.0, thin.devices)
    wild = replace(thin, people=people, devices=devices)
    made, _ = calibrate(wild, "hour", 0.9)
    assert made.ratio * made.hours[0] < 0.75 * 12


def test_bins_wider_than_an_hour_group_have_no_hour_factor() -> None:
    made, _ = calibrate(observed(), "hour", 0.9)
    devices, second = np.array([100.0]), np.array([0])
    whole_day = made.people(devices, second, 86_400)
    assert whole_day == pytest.approx(100 * made.ratio)
    assert made.people(devices, second, 900) != pytest.approx(whole_day[0])


def test_too_few_head_counts_are_refused() -> None:
    rows = observed(600)
    with pytest.raises(TooFewHeadCounts, match="head counts: 29 on"):
        calibrate(rows.of(np.arange(600) < 29), "constant", 0.9)
    with pytest.raises(TooFewHeadCounts, match="on 2 days"):
        calibrate(rows.of(rows.day < 20_002), "constant", 0.9)
    with pytest.raises(TooFewHeadCounts, match="are left for the interval"):
        calibrate(rows.of(np.arange(600) < 60), "constant", 0.999)
    nobody = replace(rows, devices=rows.devices * 0)
    with pytest.raises(TooFewHeadCounts, match="both people and devices"):
        calibrate(nobody, "constant", 0.9)


def test_without_devices_there_may_be_people() -> None:
    """People without a phone are seen only by head counts, and the interval covers them."""
    rng = np.random.default_rng(5)
    rows = observed(2000)
    people = rows.people + rng.poisson(0.5, len(rows))
    made, _ = calibrate(replace(rows, people=people), "constant", 0.9)
    nobody = np.zeros(1)
    low, high = made.interval(nobody, made.people(nobody, np.zeros(1, np.int64), 900))
    assert low == 0
    assert high >= 1


def test_a_calibration_survives_json() -> None:
    made, found = calibrate(observed(), "hour_and_level", 0.9)
    assert Calibration.from_json(made.to_json()) == made
    assert Evaluation.from_json(found.to_json()) == found


def test_spaces_with_children_have_a_separate_calibration() -> None:
    """A room loses phones to the next room, so it has more people per device that it sees."""
    rows = observed(4000, morning=1.0, evening=1.0)
    above = rows.space < 3
    lost = np.random.default_rng(9).binomial(rows.devices.astype(int), 0.7).astype(float)
    devices = np.where(above, rows.devices, lost)
    both = replace(rows, devices=devices, above=above)
    made, found = calibrate(both, "constant", 0.9)
    assert made.above is not None
    assert made.ratio == pytest.approx(1 / 0.7, rel=0.03)
    assert made.above.ratio == pytest.approx(1.0, rel=0.03)
    assert made.of(True) is made.above
    assert made.of(False) is made
    _, alike = calibrate(replace(both, above=np.zeros(len(both), bool)), "constant", 0.9)
    assert found.calibrated.mae < alike.calibrated.mae
    assert found.coverage > 0.85
    assert Calibration.from_json(made.to_json()) == made


def test_few_head_counts_of_parents_share_the_calibration() -> None:
    rows = observed(3000)
    few = replace(rows, above=np.arange(len(rows)) < 20)
    made, _ = calibrate(few, "hour", 0.9)
    assert made.above is None
    people, low, high = made.estimates(few)
    assert np.array_equal(people, made.people(few.devices, few.second, few.width))
    assert (low <= people).all()
    assert (people <= high).all()
