"""The overview as rendered."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from contextlib import closing
from socket import socket

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from streamlit_app.services import overview as service
from streamlit_app.services.app import App
from streamlit_app.views.identities import OPENED
from tests.streamlit_app.views.test_occupancy import HOSTILE, metrics, texts
from tippers_dagster.access.model import Role
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.occupancy.tracking import untrack_space
from tippers_dagster.platform.warehouse.engine import warehouse_engine


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    import dagster  # noqa: F401  # without this, the first run only shows "Loading"

    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import overview

    with show_errors():
        overview.render(app)


def opened(app: App) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=60).run()
    assert not test.exception, test.exception
    return test


def test_without_spaces_the_page_says_what_to_do(empty_app: App) -> None:
    assert "There is no campus yet" in opened(empty_app).info[0].value


def test_with_nothing_tracked_the_page_leads_to_tracking(campus_app: App) -> None:
    root = load_tree(campus_app.settings).roots[0]
    untrack_space(campus_app.settings, space=root)
    assert "Nothing is tracked yet" in opened(campus_app).info[0].value


def test_a_warning_says_that_automation_does_not_work(campus_app: App) -> None:
    """`tippers up` is running, but none of its parts answers."""
    with (campus_app.settings.home_path / "up.lock").open("w") as lock, closing(socket()) as free:
        fcntl.flock(lock, fcntl.LOCK_EX)
        free.bind(("127.0.0.1", 0))  # and nothing listens
        lock.write(json.dumps({"pid": "1", "web": f"http://127.0.0.1:{free.getsockname()[1]}"}))
        lock.flush()
        (warning,) = opened(campus_app).warning
    assert "Automation is not working" in warning.value
    assert all(part in warning.value for part in ("code server", "daemon", "web server"))


def test_a_viewer_sees_the_campus(campus_app: App, as_role: Callable[[App, Role], App]) -> None:
    test = opened(as_role(campus_app, Role.VIEWER))
    tree = load_tree(campus_app.settings)
    now = service.now(campus_app.settings, tree.roots[0])
    assert now is not None
    page_text = texts(test)
    assert f"**{now.devices:,} devices**" in page_text
    assert "The log ends on" in page_text
    assert "Showing the last complete hour in the log." in page_text
    assert "is busiest, with" in page_text.replace("\\", "")
    assert "Everything is up to date" in page_text
    assert "No run failed" in page_text
    assert "cannot be used and are not counted" in page_text
    assert metrics(test)["Spaces tracked"] == f"{len(tree):,}"
    assert len(test.get("vega_lite_chart")) == 2
    assert not test.error


def test_devices_and_people_are_read_when_somebody_opens_them(campus_app: App) -> None:
    test = opened(campus_app)
    (box,) = test.expander
    assert box.label == "Devices and people in the log, by week"
    assert not box.dataframe
    test.session_state[OPENED] = True
    test.run()
    assert not test.exception, test.exception
    (box,) = test.expander
    (table,) = (shown.value for shown in box.dataframe)
    assert table["Week from"].astype(str).tolist() == ["2025-01-27", "2025-01-20"]
    assert table["Note"].tolist() == ["", "The log begins"]
    weeks = service.identities(campus_app.settings).to_pylist()
    assert table["Sessions"].tolist() == [week["sessions"] for week in reversed(weeks)]
    shares = table["Universal"] + table["Randomised"] + table["Opaque"]
    assert shares.tolist() == pytest.approx([1, 1], abs=0.002)
    page_text = texts(test)
    assert f"**{weeks[-1]['devices']:,} devices**" in page_text
    assert "counts over days or weeks overstate the number of devices" in page_text


def test_a_warning_counts_waiting_partitions_while_nothing_runs(campus_app: App) -> None:
    root = load_tree(campus_app.settings).roots[0]
    with warehouse_engine(campus_app.settings).begin() as connection:
        connection.execute(sa.delete(partition_figures).where(partition_figures.c.space == root))
    test = opened(campus_app)
    assert "2 partitions waiting, but the deployment is not running" in test.warning[0].value
    assert "hourglass" in " ".join(str(b.proto.text) for b in test.get("progress"))


def test_failures_have_a_reason_and_a_retry_for_analysts(
    campus_app: App, as_role: Callable[[App, Role], App]
) -> None:
    with warehouse_engine(campus_app.settings).begin() as connection:
        connection.execute(
            sa.insert(asset_state).values(
                asset="device/bad",
                failed_version="v",
                tries=3,
                failed_at=sa.func.now(),
                error=f"division by zero {HOSTILE}",
                details={},
            )
        )
    viewer = opened(as_role(campus_app, Role.VIEWER))
    assert "division by zero" in texts(viewer)
    assert "<script>" not in texts(viewer)
    assert not viewer.button
    test = opened(campus_app)
    next(b for b in test.button if b.label == "Retry definitions").click().run()
    assert "division by zero" not in texts(test)


def test_names_are_shown_literally(campus_app: App) -> None:
    with load_transaction(campus_app.settings) as load:
        load.execute("UPDATE source.space SET space_name = $1", (HOSTILE,))
    page_text = texts(opened(campus_app))
    assert "alert" in page_text
    assert "<script>" not in page_text
    assert "[x](" not in page_text
