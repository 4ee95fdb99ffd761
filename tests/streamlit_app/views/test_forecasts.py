"""The forecasts page as rendered."""

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
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import forecasts
    from tippers_dagster.access.model import Person, Role
    from tippers_dagster.settings import get_settings

    with show_errors():
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
    """Use a project without the forecaster that the project's files define."""
    use_bare_project(monkeypatch, tmp_path / "project")


def test_without_spaces_the_page_says_what_to_do(empty_app: App) -> None:
    at = opened()
    assert "tippers ingest spaces" in texts(at)


def test_without_a_forecaster_the_page_offers_to_define_one(campus_app: App) -> None:
    at = opened()
    assert "No forecaster is defined yet" in texts(at)
    assert "Define a forecaster" in labels(at)
    at = opened(Role.VIEWER)
    assert "Defining one needs the analyst role" in texts(at)
    assert "Define a forecaster" not in labels(at)


def test_forecast_models_and_past_forecasts(forecast_app: App) -> None:
    at = opened(forecaster="hall", space="r2")
    page_text = texts(at)
    assert "R2, from Mon 10 Feb 2025: expected peak of **12** devices in 1 h" in page_text
    assert "on Fri 14 Feb 2025" in page_text
    assert "The forecast begins Mon 10 Feb 2025, 00:00" in page_text
    assert {m.label for m in at.metric} >= {"Expected peak, devices", "Expected mean, devices"}
    # The status comes from the records: Dagster has not run these assets.
    assert "**Backtest** 20" in page_text
    assert "**Forecast** 20" in page_text
    _models(opened(forecaster="hall", space="r2", view="models"))
    at = opened(forecaster="hall", space="r2", view="tested", model="zero")
    assert "*Always empty*, from Mon 3 Feb 2025 for R2: typical error **±" in texts(at)
    assert at.query_params["model"] == ["zero"] or at.query_params["model"] == "zero"


def _models(at: AppTest) -> None:
    page_text = texts(at)
    assert "is the champion for R2: typical error ±0.0 devices" in page_text
    assert "For comparison, “Always empty”: ±" in page_text
    assert "This is the first backtest" in page_text
    ranking, winners = (frame.value for frame in at.dataframe)
    names = {"Same time last week", "Average of past weeks", "Always empty"}
    assert set(ranking["Model"]) == names
    assert list(ranking["Model"])[-1] == "Always empty"
    assert (ranking["Role"] == "champion").sum() == 1
    assert set(winners["Champion"]) <= set(ranking["Model"])


def test_a_warning_names_a_space_without_forecast(forecast_app: App) -> None:
    at = opened(forecaster="hall", space="campus", past="28")
    assert "This forecaster has no forecast for space campus" in texts(at)
    assert at.query_params["past"] in ("28", ["28"])
    at = opened(Role.VIEWER, forecaster="hall", space="r3", past="7")
    assert "Update now" not in labels(at)
    assert "R3 is expected to stay **empty** from Mon 10 Feb 2025" in texts(at)
