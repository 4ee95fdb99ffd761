"""Origins, the champion, intervals and metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.forecasting.signals import weekly
from tippers_dagster.forecasting.backtest import TooShort, origins, rank, truth
from tippers_dagster.forecasting.intervals import around
from tippers_dagster.forecasting.metrics import Metrics, measure
from tippers_dagster.forecasting.models.features import NAMES, Inputs
from tippers_dagster.forecasting.names import SEASONAL_NAIVE, ZERO
from tippers_dagster.forecasting.panel import LEVELS, limits, within


# --- origins -------------------------------------------------------------------------------------
def test_origins_lie_a_horizon_apart_and_end_with_the_history() -> None:
    assert origins(56, 7, 3) == [35, 42, 49]
    assert origins(30, 7, 3) == [16, 23]  # two weeks must be known before the first
    with pytest.raises(TooShort, match="20 days"):
        origins(20, 7, 3)


def test_actual_counts_are_cut_at_the_origins() -> None:
    panel = weekly(weeks=5)
    came = truth(panel, 7, [21, 28])
    assert came.shape == (3, 2, 7, 24)
    np.testing.assert_array_equal(came[:, 1], panel.values[:, 28:35])


def test_a_panel_until_a_day_has_nothing_after_it() -> None:
    panel = weekly(weeks=5).until(21, 7)
    assert panel.values.shape[1] == 21
    assert panel.flags.shape[1] == 28
    assert str(panel.origin) == "2025-01-27"


# --- metrics -------------------------------------------------------------------------------------
@given(seed=st.integers(0, 999), n=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_metrics_are_the_plain_formulas(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    q = np.sort(rng.integers(0, 9, (1, n, 5)).astype(np.float32), axis=-1)
    y = rng.integers(0, 4, (1, n)).astype(np.float32)
    y[0, rng.random(n) < 0.2] = np.nan
    found = measure(q, y)
    bins = [i for i in range(n) if not np.isnan(y[0, i])]
    assert found.bins[0] == len(bins)
    if not bins:
        assert np.isnan(found.mae[0])
        return
    errors = [abs(float(y[0, i] - q[0, i, 2])) for i in bins]
    assert found.mae[0] == pytest.approx(sum(errors) / len(bins))
    assert found.rmse[0] == pytest.approx((sum(e * e for e in errors) / len(bins)) ** 0.5)
    there = [abs(float(y[0, i] - q[0, i, 2])) for i in bins if y[0, i] > 0]
    assert found.occupied[0] == len(there)
    if there:
        assert found.mae_occupied[0] == pytest.approx(sum(there) / len(there))
    losses = []
    for i in bins:
        for level, value in zip(LEVELS, q[0, i].tolist(), strict=True):
            under = float(y[0, i]) - value
            losses.append(level * under if under >= 0 else (level - 1) * under)
    assert found.pinball[0] == pytest.approx(sum(losses) / len(losses))
    for name, low, high in (("coverage_80", 1, 3), ("coverage_95", 0, 4)):
        inside = [q[0, i, low] <= y[0, i] <= q[0, i, high] for i in bins]
        assert getattr(found, name)[0] == pytest.approx(np.mean(inside))


def test_metrics_over_all_spaces_weigh_bins_equally() -> None:
    rng = np.random.default_rng(3)
    q = np.sort(rng.random((4, 30, 5)).astype(np.float32) * 3, axis=-1)
    y = rng.integers(0, 3, (4, 30)).astype(np.float32)
    y[2, :25] = np.nan
    apart, one = measure(q, y).together(), measure(q.reshape(1, -1, 5), y.reshape(1, -1))
    for name, value in apart.items():
        assert value == pytest.approx(float(getattr(one, name)[0])), name


# --- the winner ----------------------------------------------------------------------------------
def metrics(pinball: list[float], mae_occupied: list[float]) -> Metrics:
    n = len(pinball)
    loss, error = np.array(pinball), np.array(mae_occupied)
    bins, same = np.full(n, 10), np.full(n, 0.9)
    return Metrics(bins, bins, loss, loss, error, loss, same, same)


def test_the_lowest_score_wins_but_all_zero_only_in_always_empty_spaces() -> None:
    nan = float("nan")
    found = rank(
        {
            SEASONAL_NAIVE: metrics([1.0, 1.0, 0.0, 1.0, nan], [2.0, 2.0, nan, 2.0, nan]),
            ZERO: metrics([0.1, 1.5, 0.0, 1.2, nan], [0.1, 3.0, nan, 3.0, nan]),
            "good": metrics([0.8, 0.5, 0.1, 1.1, nan], [1.8, 1.0, nan, 0.1, nan]),
        },
        np.array([True, True, False, True, False]),
    )
    assert found.models == (SEASONAL_NAIVE, ZERO, "good")
    # Never all zero, even if best; ties go to the simpler; never a worse pinball loss than naive.
    assert found.champion.tolist() == [2, 2, 0, 0, -1]
    assert found.score[0, :4].tolist() == [1, 1, 1, 1]
    assert found.score[2, 0] == pytest.approx((0.8 + 0.9) / 2)
    assert not found.eligible[1, 0]
    assert found.eligible[1, 2]


# --- intervals -----------------------------------------------------------------------------------
def test_intervals_from_errors_have_nominal_coverage() -> None:
    rng = np.random.default_rng(2)
    errors = rng.normal(size=(2, 7 * 60, 24)).astype(np.float32)
    errors[:, :, 12:] *= 5  # afternoons are noisy
    came = rng.normal(size=(2, 7 * 40, 24)).astype(np.float32)
    came[:, :, 12:] *= 5
    point = np.zeros_like(came)
    found = around(point, errors, np.arange(7 * 60) % 7, np.arange(7 * 40) % 7)
    assert (found[..., 2] == 0).all()
    assert (np.diff(found, axis=-1) >= 0).all()
    for half in (slice(0, 12), slice(12, 24)):
        here = measure(found[:, :, half].reshape(2, -1, 5), came[:, :, half].reshape(2, -1))
        assert here.coverage_80 == pytest.approx([0.8, 0.8], abs=0.04)
        assert here.coverage_95 == pytest.approx([0.95, 0.95], abs=0.03)


def test_few_errors_are_grouped_coarsely_and_none_give_no_width() -> None:
    weekdays = np.arange(14) % 7
    errors = np.full((1, 14, 4), np.nan, np.float32)
    point = np.ones((1, 7, 4), np.float32)
    assert (around(point, errors, weekdays, weekdays[:7]) == 1).all()
    errors[:] = np.arange(14)[None, :, None] - 6.5
    found = around(point, errors, weekdays, weekdays[:7])
    assert (found[..., 0] < 1).all()
    assert (found[..., -1] > 1).all()


def test_limits_are_the_capacity_or_the_largest_count_plus_a_margin() -> None:
    panel = weekly()
    most = limits(panel, np.array([np.nan, 1000.0, 1.0]))
    largest = panel.values.max(axis=(1, 2))
    assert most.tolist() == pytest.approx([1.2 * largest[0], 1000, largest[2]])
    held = within(np.full((3, 1, 1, 5), 1e6, np.float32), most)
    assert held[:, 0, 0, 0].tolist() == np.floor(most).tolist()
    parts = np.array([-3, 0.2, 1.4, 1.6, 7], np.float32)[None, None, None]
    assert within(parts, most[1:2])[0, 0, 0].tolist() == [0, 0, 1, 2, 7]


# --- inputs --------------------------------------------------------------------------------------
@given(seed=st.integers(0, 99), ahead=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_inputs_come_only_from_known_weeks(seed: int, ahead: int) -> None:
    panel = weekly(weeks=6)
    rng = np.random.default_rng(seed)
    day = int(rng.integers(7 * ahead, panel.days + 7 * ahead))
    slot, space = int(rng.integers(24)), int(rng.integers(3))
    inputs = Inputs(panel)
    at = (np.array([space]), np.array([day]), np.array([slot]), np.array([ahead]))
    row = dict(zip(NAMES, inputs.at(*at)[0].tolist(), strict=True))
    known = panel.values / inputs.scale[:, None, None]
    for k in range(4):
        then = day - 7 * (ahead + k)
        if then < 0:
            assert np.isnan(row[f"lag_{k + 1}"])
        else:
            assert row[f"lag_{k + 1}"] == pytest.approx(float(known[space, then, slot]))
    last = day - 7 * ahead
    week = known[space, max(0, last - 6) : last + 1]
    assert row["level_of_week"] == pytest.approx(float(week.mean()), rel=1e-4)
    assert row["same_time_of_week"] == pytest.approx(float(week[:, slot].mean()), rel=1e-4)
    assert row["weekend"] == float(day % 7 >= 5)
