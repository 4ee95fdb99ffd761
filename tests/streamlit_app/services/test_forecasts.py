"""What the forecasts page reads from backtests and forecasts."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from streamlit_app.services import forecasts as service
from streamlit_app.services.app import App
from tests.forecasting.small import MONDAY, WEEKS, people_of
from tests.sql.definitions import use_bare_project
from tests.streamlit_app.forecast import compute, forecast_app
from tippers_dagster.forecasting.reading import QUANTILE_COLUMNS, NotForecast
from tippers_dagster.settings import Settings

__all__ = ["forecast_app"]

ORIGIN = MONDAY + dt.timedelta(weeks=WEEKS)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a project without the forecaster that the project's files define."""
    use_bare_project(monkeypatch, tmp_path / "project")


def test_an_empty_deployment_has_no_forecasts(empty_app: App) -> None:
    assert service.forecasters(empty_app) == []
    assert service.training(empty_app, "hall") is None
    assert service.changes(empty_app, "hall") is None
    assert service.comparison(empty_app, "hall", "r1") == []
    assert service.winners(empty_app, "hall") == []
    assert service.ahead(empty_app, "hall", "r1", 7, 3600) is None
    assert service.backtest(empty_app, "hall", "r1", "zero", ORIGIN, 3600) is None
    assert service.origins(empty_app, "hall", "r1") == []
    with pytest.raises(NotForecast):
        service.export(empty_app, "hall", ["r1"], "csv")


def test_forecast_scores_backtests_and_export(forecast_app: App) -> None:
    app = forecast_app
    [found] = service.forecasters(app)
    assert (found.name, found.problem, found.description) == ("hall", "", "The hall, a week ahead")
    assert found.spaces == ("hall", "r1", "r2", "r3")
    _ahead(app)
    _compared(app)
    _backtest(app)
    _exported(app)
    assert service.changes(app, "hall").before is None
    compute(app.settings, windows=2)
    changes = service.changes(app, "hall")
    assert changes is not None
    assert changes.before is not None
    assert (changes.before.details["windows"], changes.after.details["windows"]) == (3, 2)


def _ahead(app: App) -> None:
    found = service.ahead(app, "hall", "r2", 7, 3600)
    assert found is not None
    assert found.origin == dt.datetime.combine(ORIGIN, dt.time())
    assert found.history is not None
    # Seven days of actual counts, until the last session begins at nine; none after that.
    assert int(found.history.computed.sum()) == 6 * 24 + 10
    assert found.points.num_rows == 7 * 24
    # Every week is like the one before: last Friday's peak is forecast again.
    assert found.numbers.peak == pytest.approx(people_of(4, "r2"), abs=1)
    assert found.numbers.peak_at.date() == ORIGIN + dt.timedelta(4)
    assert found.numbers.low <= found.numbers.peak <= found.numbers.high
    first = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=found.points["time"][0].as_py())
    assert first == found.origin


def _compared(app: App) -> None:
    compared = service.comparison(app, "hall", "r2")
    assert {one.score.model for one in compared} == {"seasonal_naive", "past_weeks", "zero"}
    assert [one.role for one in compared].count("champion") == 1
    assert {one.role for one in compared} == {"champion", "baseline"}
    winners = {one.space: one for one in service.winners(app, "hall")}
    assert winners["r2"].naive_mae == 0
    assert set(winners) <= {"hall", "r1", "r2", "r3"}
    training = service.training(app, "hall")
    assert training is not None
    assert training.first_day == MONDAY


def _backtest(app: App) -> None:
    days = service.origins(app, "hall", "r2")
    assert days == [ORIGIN - dt.timedelta(weeks=n) for n in (1, 2, 3)]
    found = service.backtest(app, "hall", "r2", "seasonal_naive", days[0], 3600)
    assert found is not None
    assert (found.mae, found.points.num_rows) == (0, 7 * 24)
    assert found.covered == 1
    zero = service.backtest(app, "hall", "r2", "zero", days[0], 3600)
    assert zero is not None
    hours = 8 * sum(people_of(day, "r2") for day in range(7))
    assert zero.mae == pytest.approx(hours / (7 * 24))
    assert service.backtest(app, "hall", "r2", "prophet", days[0], 3600) is None


def _exported(app: App) -> None:
    one = pq.read_table(io.BytesIO(service.export(app, "hall", ["r1"], "parquet")))
    assert one.column_names == ["space", "interval_begin_time", *QUANTILE_COLUMNS, "model"]
    assert one.num_rows == 7 * 24
    assert str(one.schema.field("interval_begin_time").type.tz) == app.settings.timezone
    both = pa_csv.read_csv(io.BytesIO(service.export(app, "hall", ["r1", "r2"], "csv")))
    assert both.num_rows == 2 * 7 * 24
    text = service.export(app, "hall", ["r1"], "csv").decode()
    assert f"{ORIGIN}T00:00:00-08:00" in text


def test_a_broken_forecaster_says_why(stack: Settings, empty_app: App) -> None:
    from tests.streamlit_app.defined import insert_by_hand

    insert_by_hand(empty_app, "forecaster", "odd", {"spaces": ["1"], "horizon_days": 0})
    [found] = service.forecasters(empty_app)
    assert "horizon_days" in found.problem
    assert found.body is None
