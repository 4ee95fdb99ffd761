"""The page for datasets and tracking as rendered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from tests.streamlit_app.conftest import FIRST, UNTIL
from tests.streamlit_app.views.test_occupancy import HOSTILE, metrics, texts
from tippers_dagster.access.model import Role
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.campus.spaces.tracking import Tracked, list_tracked
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.occupancy import datasets as store


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import tracking

    with show_errors():
        tracking.render(app)


def opened(app: App, **query: str) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=60)
    for name, value in query.items():
        test.query_params[name.rstrip("_")] = value
    test.run()
    assert not test.exception, test.exception
    return test


def press(test: AppTest, label: str) -> AppTest:
    (button,) = [b for b in test.button if b.label == label]
    assert not button.disabled
    button.click().run()
    assert not test.exception, test.exception
    return test


def confirmation(test: AppTest) -> str:
    return " ".join(s.value for s in test.success).replace("\\", "")


def hall_of(app: App) -> tuple[SpaceTree, str]:
    tree = load_tree(app.settings)
    return tree, max(tree.children(tree.roots[0]), key=lambda s: tree.size[tree.index[s]])


def make(app: App, name: str = "winter", description: str = "") -> str:
    _, hall = hall_of(app)
    service.create_dataset(
        app,
        name,
        space=hall,
        start=FIRST,
        end=UNTIL,
        interval_seconds=3600,
        description=description,
    )
    return hall


def test_without_spaces_the_page_says_what_to_do(empty_app: App) -> None:
    assert "has no spaces" in opened(empty_app).info[0].value


def test_the_estimate_is_shown_before_and_holds_after_tracking(campus_app: App) -> None:
    tree, hall = hall_of(campus_app)
    test = opened(campus_app, space=hall, from_="2025-01-20", to="2025-02-10")
    found = service.estimate(campus_app, tree, hall, FIRST, dt.date(2025, 2, 10))
    assert metrics(test)["Partitions to compute"] == f"{found.to_compute:,}"
    assert metrics(test)["Weeks"] == "3"
    assert "This adds 1 week:" in texts(test)
    assert "The new week will also be computed for" in texts(test)
    press(test, "Only track")
    assert "is now tracked from 2025-01-20 to 2025-02-09" in confirmation(test)
    assert "tippers up" in confirmation(test)
    assert Tracked(hall, FIRST, dt.date(2025, 2, 10)) in list_tracked(campus_app.settings)
    assert f"{found.to_compute:,} partitions waiting, but" in test.warning[-1].value


def test_a_range_without_sessions_gets_a_warning(campus_app: App) -> None:
    test = opened(campus_app, from_="2030-01-01", to="2030-02-01")
    assert "would be empty" in test.warning[0].value


def test_a_dataset_is_saved_with_its_author(campus_app: App) -> None:
    _, hall = hall_of(campus_app)
    test = opened(campus_app, space=hall, from_="2025-01-20", to="2025-02-03")
    test.text_input(key="track name").set_value("winter").run()
    press(test, "Track and save dataset")
    assert "Dataset winter created and tracked" in confirmation(test)
    assert test.header[0].value == "winter"
    assert store.get(campus_app.settings, "winter").owner == "ada"
    assert test.query_params["dataset"] == "winter"


def test_a_bad_or_taken_name_is_refused(campus_app: App) -> None:
    make(campus_app)
    for name in ("winter", "No Good"):
        test = opened(campus_app)
        test.text_input(key="track name").set_value(name).run()
        press(test, "Track and save dataset")
        assert test.error
        assert not test.success
    assert len(store.list_datasets(campus_app.settings)) == 1


def test_a_dataset_is_opened_shared_renamed_and_deleted(campus_app: App) -> None:
    hall = make(campus_app)
    test = opened(campus_app, tab="datasets")
    press(test, "Details")
    assert f"/occupancy?space={hall}&from=2025-01-20&to=2025-02-03&bin=3600" in test.code[0].value
    test.text_input(key="rename winter").set_value("spring").run()
    press(test, "Rename")
    assert "winter renamed to spring" in confirmation(test)
    test.checkbox(key="sure spring").check().run()
    press(test, "Delete")
    assert "Dataset spring deleted" in confirmation(test)
    assert store.list_datasets(campus_app.settings) == []
    assert Tracked(hall, FIRST, UNTIL) in list_tracked(campus_app.settings)
    assert "There are no datasets yet" in test.info[0].value


def test_a_range_is_untracked_and_recomputed(campus_app: App) -> None:
    hall = make(campus_app)
    test = opened(campus_app, tab="ranges")
    key = f"{hall} {FIRST} {UNTIL}"
    (button,) = [b for b in test.button if b.key == f"do recompute {key}"]
    button.click().run()
    assert "partitions will be recomputed once the deployment runs" in confirmation(test)
    test.checkbox(key=f"sure {key}").check().run()
    (button,) = [b for b in test.button if b.key == f"do untrack {key}"]
    button.click().run()
    assert "is no longer tracked over this range" in confirmation(test)
    assert Tracked(hall, FIRST, UNTIL) not in list_tracked(campus_app.settings)
    assert not test.exception


def test_viewers_can_look_but_not_change_anything(
    campus_app: App, as_role: Callable[[App, Role], App]
) -> None:
    make(campus_app)
    viewer = as_role(campus_app, Role.VIEWER)
    for query in ({"tab": "track"}, {"tab": "ranges"}, {"dataset": "winter"}):
        test = opened(viewer, **query)
        assert {b.label for b in test.button} <= {"All datasets"}
    assert "Tracking needs the analyst role" in texts(opened(viewer))


def test_names_and_descriptions_are_shown_literally(campus_app: App) -> None:
    hall = make(campus_app, description=HOSTILE)
    with load_transaction(campus_app.settings) as load:
        load.execute("UPDATE source.space SET space_name = $1 WHERE space_id = $2", (HOSTILE, hall))
    for query in ({"space": hall}, {"tab": "datasets"}, {"dataset": "winter"}, {"tab": "ranges"}):
        page_text = texts(opened(campus_app, **query))
        assert "alert" in page_text
        assert "<script>" not in page_text
        assert "[x](" not in page_text


def test_any_address_gives_a_page(campus_app: App) -> None:
    for query in (
        {"tab": "x", "dataset": "<script>"},
        {"space": "gone", "from": "x", "to": "2025-01-01"},
        {"from": "2025-02-01", "to": "2025-01-01"},
    ):
        assert not opened(campus_app, **query).error
