"""The page of runs."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from tests.streamlit_app.services.test_runs import bad, good, run
from tippers_dagster.access.model import Role


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.views import runs

    runs.render(app)


def opened(app: App, **query: str) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    return test


def test_nothing_has_run_yet(empty_app: App) -> None:
    assert "Nothing has run yet" in opened(empty_app).markdown[-1].value


def test_runs_are_listed_and_filtered_from_the_address(empty_app: App) -> None:
    run(empty_app, good)
    run(empty_app, bad)
    table = opened(empty_app).dataframe[0].value
    assert list(table["State"]) == ["✗ failed", "✓ succeeded"]
    assert list(table["Assets"]) == ["device/bad", "device/good"]
    table = opened(empty_app, state="succeeded").dataframe[0].value
    assert list(table["Assets"]) == ["device/good"]
    assert "No matching runs" in opened(empty_app, q="zzz").info[0].value


def test_a_failed_run_shows_the_reason_and_offers_a_retry(
    empty_app: App, as_role: Callable[[App, Role], App]
) -> None:
    failed = run(empty_app, bad)
    test = opened(empty_app, run=failed)
    assert "It cannot be" in test.error[0].value
    assert "hunter2" not in test.error[0].value + test.code[0].value
    (again,) = [b for b in test.button if b.label == "Try again"]
    again.click().run()
    assert "The deployment is not running" in test.error[0].value
    viewer = opened(as_role(empty_app, Role.VIEWER), run=failed)
    assert [b.label for b in viewer.button] == ["All runs"]


def test_a_missing_run_is_reported(empty_app: App) -> None:
    assert "There is no run" in opened(empty_app, run="nobody").error[0].value
