"""Every model beats all zero, gives ordered quantiles, and uses no later data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.forecasting.signals import MONDAY, panel_of, weekly
from tippers_dagster.catalog.kinds import ForecastModel
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting import names
from tippers_dagster.forecasting.backtest import Failed, Task, Trial, origins, truth, try_model
from tippers_dagster.forecasting.metrics import measure
from tippers_dagster.forecasting.models import MODELS, chosen_models
from tippers_dagster.forecasting.panel import LEVELS, MEDIAN, HolidayPeriods, Panel

HORIZON = 7


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps and rounds: the tests are about behaviour, not accuracy."""
    from tippers_dagster.forecasting.models import boosting, transformer

    monkeypatch.setattr(transformer, "STEPS", (25, 25))
    monkeypatch.setattr(boosting, "ROUNDS", 20)


def made_by(model: str, panel: Panel) -> Trial:
    starts = tuple(origins(panel.days, HORIZON, 1))
    capacity = np.full(len(panel.spaces), np.nan)
    made = try_model(Task(model, panel, capacity, HORIZON, starts, 1))
    assert isinstance(made, Trial), made
    return made


@pytest.mark.parametrize("model", MODELS)
def test_each_beats_all_zero_on_repeating_weeks(model: str) -> None:
    panel = weekly()
    made = made_by(model, panel)
    starts = origins(panel.days, HORIZON, 1)
    came = truth(panel, HORIZON, starts)
    assert made.quantiles.shape == (*came.shape, len(LEVELS))
    assert made.quantiles.dtype == np.float32
    assert (np.diff(made.quantiles, axis=-1) >= 0).all()
    assert (made.quantiles >= 0).all()
    found = measure(made.quantiles, came)
    nothing = measure(np.zeros_like(made.quantiles), came)
    if model == names.ZERO:
        assert (found.pinball == nothing.pinball).all()
        return
    assert (found.mae < 0.6 * nothing.mae).all()
    assert (found.mae_occupied < 0.6 * nothing.mae_occupied).all()
    assert (found.pinball < 0.6 * nothing.pinball).all()


@pytest.mark.parametrize("model", MODELS)
def test_none_sees_data_after_the_origin(model: str) -> None:
    panel = weekly(spaces=2, weeks=5)
    start = panel.days - HORIZON
    changed = panel.values.copy()
    changed[:, start:] = np.random.default_rng(5).integers(0, 500, changed[:, start:].shape)
    one = made_by(model, panel).quantiles
    other = made_by(model, replace(panel, values=changed)).quantiles
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("model", MODELS)
def test_gaps_and_empty_rooms_are_handled(model: str) -> None:
    panel = weekly(spaces=3, weeks=5)
    values = panel.values.copy()
    values[0] = 0  # always empty
    values[1, :20] = np.nan  # tracked later
    values[2, 30:31] = np.nan
    values[:, 33:, 3] = np.nan  # a skipped hour
    found = made_by(model, replace(panel, values=values)).quantiles
    assert np.isfinite(found).all()
    assert (found[0] == 0).all()
    assert found[2, ..., MEDIAN].max() > (3 if model != names.ZERO else -1)


@pytest.mark.parametrize("model", MODELS)
def test_bins_of_a_day_and_horizons_beyond_a_week_can_be_forecast(model: str) -> None:
    panel = weekly(spaces=2, weeks=8, slots=1, noise=0.2)
    panel = replace(panel, values=panel.values + 5)
    capacity = np.full(2, np.nan)
    made = try_model(Task(model, panel, capacity, 10, (40,), 1))
    assert isinstance(made, Trial), made
    assert made.quantiles.shape == (2, 1, 10, 1, len(LEVELS))
    assert np.isfinite(made.quantiles).all()


def test_prophet_learns_from_the_calendar() -> None:
    panel = weekly(spaces=1, weeks=6)
    values = panel.values.copy()
    holidays = (9, 23, 37)  # Wednesdays
    values[:, holidays] = 0
    days = [MONDAY.fromordinal(MONDAY.toordinal() + d) for d in holidays]
    periods = HolidayPeriods(("holiday: none here",) * 3, tuple(days))
    panel = replace(panel, values=values, holidays=(periods,))
    found = made_by(names.PROPHET, panel).quantiles[0, 0, ..., MEDIAN]
    assert found[2].sum() < 0.6 * found[1].sum()


def test_forecasts_stay_within_history_or_capacity() -> None:
    values = np.zeros((2, 28, 4), np.float32)
    values[:, -7:] = 10
    panel = panel_of(values)
    task = Task(names.SEASONAL_NAIVE, panel, np.array([np.nan, 40.0]), HORIZON, (21, 28), 1)
    made = try_model(replace(task, origins=(21,)))
    assert isinstance(made, Trial)
    assert made.quantiles[0].max() == 0  # it was always empty when the forecast was made
    made = try_model(replace(task, panel=panel_of(values[:, :28]), origins=(28,)))
    assert isinstance(made, Trial)
    assert made.quantiles[0].max() <= 12
    assert made.quantiles[1].max() <= 40


def test_errors_of_libraries_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from tippers_dagster.forecasting.models import past_weeks

    def broken(*_: object) -> None:
        raise ValueError("too wild")

    monkeypatch.setattr(past_weeks, "predict", broken)
    panel = weekly(weeks=4)
    made = try_model(Task("past_weeks", panel, np.full(3, np.nan), HORIZON, (21,), 1))
    assert made == Failed("ValueError: too wild")


def test_baselines_are_always_included() -> None:
    assert chosen_models(()) == tuple(MODELS)
    assert chosen_models(["lightgbm"]) == (*names.ALWAYS, "lightgbm")
    with pytest.raises(BadInput, match="crystal_ball"):
        chosen_models(["crystal_ball"])


def test_definitions_accept_exactly_the_existing_models() -> None:
    from typing import get_args

    assert get_args(ForecastModel) == tuple(MODELS)


def test_a_model_without_its_library_says_so() -> None:
    assert MODELS["zero"].missing() is None
    missing = replace(MODELS["lightgbm"], needs=("no_such_library",)).missing()
    assert missing is not None
    assert "no_such_library" in missing
