"""The forecasts page as people see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from tests.sql.definitions import use_bare_project
from tests.streamlit_app.forecast import forecast_app
from tippers_dagster.access.model import Role

__all__ = ["forecast_app"]


def page(role: int) -> None:
    from streamlit_app.services.app import App
    from streamlit_app.ui.messages import told
    from streamlit_app.views import forecasts
    from tippers_dagster.access.model import Person, Role
    from tippers_dagster.settings import get_settings

    with told():
        forecasts.render(App(get_settings(), Person("ada", Role(role))))


def opened(role: Role = Role.ANALYST, **query: str) -> AppTest:
    at = AppTest.from_function(page, args=(int(role),), default_timeout=120)
    at.query_params.update(query)
    at.run()
    assert not at.exception, at.exception
    return at


def texts(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.warning, at.error, at.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def labels(at: AppTest) -> list[str]:
    return [b.label for b in at.button]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the forecaster that comes with the project's files."""
    use_bare_project(monkeypatch, tmp_path / "project")


def test_without_spaces_it_says_what_to_do(empty_app: App) -> None:
    at = opened()
    assert "tippers ingest spaces" in texts(at)


def test_without_a_forecaster_it_says_how_to_define_one(campus_app: App) -> None:
    at = opened()
    assert "No forecaster is defined yet" in texts(at)
    assert "Define a forecaster" in labels(at)
    at = opened(Role.VIEWER)
    assert "takes the role analyst" in texts(at)
    assert "Define a forecaster" not in labels(at)


def test_history_forecast_models_and_pasts(forecast_app: App) -> None:
    at = opened(forecaster="hall", space="r2")
    told = texts(at)
    assert "is expected to hold at most **12** devices in 1 h, Fri 14 Feb 2025" in told
    assert "The forecast begins Mon 10 Feb 2025, 00:00" in told
    assert {m.label for m in at.metric} >= {"Peak expected, devices", "Mean expected, devices"}
    # Dagster was not asked: how the assets stand is told of what was recorded.
    assert "**Backtest** of" in told
    assert "**Forecast** of" in told
    _models(opened(forecaster="hall", space="r2", view="models"))
    at = opened(forecaster="hall", space="r2", view="tested", model="zero")
    told = texts(at)
    assert "*zero*, from Mon 3 Feb 2025 for R2: off by **" in told
    assert at.query_params["model"] == ["zero"] or at.query_params["model"] == "zero"


def _models(at: AppTest) -> None:
    told = texts(at)
    assert "is the champion for R2: off by 0.00" in told
    assert "Saying zero all the time would be off by" in told
    assert "This is the first backtest" in told
    ranking, winners = (frame.value for frame in at.dataframe)
    assert set(ranking["Model"]) == {"last week again", "same hour of past weeks", "zero"}
    assert list(ranking["Model"])[-1] == "zero"
    assert (ranking[""] == "champion").sum() == 1
    assert set(winners["Champion"]) <= set(ranking["Model"])


def test_a_space_that_is_not_forecast_is_told(forecast_app: App) -> None:
    at = opened(forecaster="hall", space="campus", past="28")
    assert "There is no forecast of space campus here" in texts(at)
    assert at.query_params["past"] in ("28", ["28"])
    at = opened(Role.VIEWER, forecaster="hall", space="r3", past="7")
    assert "Bring up to date" not in labels(at)
    assert "R3 is expected to stay **empty** over the days from Mon 10 Feb 2025" in texts(at)
