"""The occupancy page as rendered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from streamlit_app.services.occupancy.export import export
from streamlit_app.services.occupancy.window import Window
from streamlit_app.ui.space_picker import by_name, full_name, matches, visible
from tests.occupancy.lake import lose_counts
from tests.streamlit_app.conftest import FIRST
from tippers_dagster.access.model import Role
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.platform.lake import open_lake

HOSTILE = "<script>alert(1)</script> **[x](javascript:y)** $1$ :red[z]"


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import occupancy

    with show_errors():
        occupancy.render(app)


def opened(app: App, **query: str) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=60)
    for name, value in query.items():
        test.query_params[name.rstrip("_")] = value
    test.run()
    assert not test.exception, test.exception
    return test


def texts(test: AppTest) -> str:
    kinds = (test.title, test.markdown, test.caption, test.info, test.warning, test.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def metrics(test: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in test.metric}


def building(app: App) -> tuple[SpaceTree, str]:
    tree = load_tree(app.settings)
    return tree, max(tree.children(tree.roots[0]), key=lambda s: tree.size[tree.index[s]])


def test_without_spaces_the_page_says_what_to_do(empty_app: App) -> None:
    test = opened(empty_app)
    assert "has no spaces" in test.info[0].value
    assert "tippers simulate" in test.info[0].value.replace("\\", "")


def test_an_untracked_space_leads_to_tracking(campus_app: App) -> None:
    tree, hall = building(campus_app)
    from tippers_dagster.occupancy.tracking import untrack_space

    untrack_space(campus_app.settings, space=tree.roots[0], purge=True)
    test = opened(campus_app, space=hall)
    assert "Nothing is computed for this space yet" in test.info[0].value


def test_the_window_in_the_address_is_shown_with_its_numbers(
    campus_app: App, as_role: Callable[[App, Role], App]
) -> None:
    tree, hall = building(campus_app)
    query = {"space": hall, "from": "2025-01-20", "to": "2025-01-27", "bin": "3600"}
    test = opened(as_role(campus_app, Role.VIEWER), **query)
    counts = read_occupancy(hall, FIRST, "2025-01-27", 3600, settings=campus_app.settings)[
        "number_connections"
    ].to_pylist()
    assert test.title[0].value == tree.names[tree.index[hall]]
    assert metrics(test)["Peak, devices"] == f"{max(counts):,}"
    assert metrics(test)["Mean, devices"] == f"{sum(counts) / len(counts):,.1f}"
    assert f"peak of **{max(counts):,} devices** in 1 h" in texts(test)
    assert len(test.get("vega_lite_chart")) == 1
    assert [b.proto.label for b in test.get("download_button")] == ["CSV", "Parquet"]


def test_a_warning_names_what_is_not_computed(campus_app: App) -> None:
    _, hall = building(campus_app)
    lose_counts(open_lake(campus_app.settings), hall, "2025-01-27")
    test = opened(campus_app, space=hall, from_="2025-01-20", to="2025-02-03", bin="86400")
    assert "No data for Mon 27 Jan 2025 to Sun 2 Feb 2025" in test.warning[0].value
    assert metrics(test)["Computed"] == "50%"
    none = opened(campus_app, space=hall, from_="2025-01-28", to="2025-02-01")
    assert metrics(none)["Peak, devices"] == "not computed"


def test_every_view_has_a_chart_and_a_sentence(campus_app: App) -> None:
    tree, hall = building(campus_app)
    level = tree.children(hall)[1]
    for view, text in (
        ("week", "usually busiest on"),
        ("compare", "than in the comparison period"),
        ("inside", "is the busiest of"),
        ("floor", "is busiest, with"),
    ):
        test = opened(campus_app, space=level, view=view, from_="2025-01-27", to="2025-02-03")
        assert text in texts(test), view
        assert len(test.get("vega_lite_chart")) == 1, view


def test_moving_and_choosing_change_the_address(campus_app: App) -> None:
    _, hall = building(campus_app)
    test = opened(campus_app, space=hall, from_="2025-01-27", to="2025-02-03")
    next(b for b in test.button if b.label == "Earlier").click().run()
    assert (test.query_params["from"], test.query_params["to"]) == ("2025-01-20", "2025-01-27")
    test.selectbox(key="occupancy bins").set_value("4 h").run()
    assert test.query_params["bin"] == "14400"
    assert "devices** in 4 h" in texts(test)
    test.date_input(key="occupancy days").set_value(
        (dt.date(2025, 1, 22), dt.date(2025, 1, 23))
    ).run()
    assert test.query_params["to"] == "2025-01-24"


def test_a_width_that_is_not_published_is_counted(campus_app: App) -> None:
    _, hall = building(campus_app)
    test = opened(campus_app, space=hall, from_="2025-01-22", to="2025-01-23", bin="600")
    counts = read_occupancy(hall, "2025-01-22", "2025-01-23", 600, settings=campus_app.settings)
    peak = max(counts["number_connections"].to_pylist())
    assert f"peak of **{peak:,} devices** in 10 min" in texts(test)


def test_utilisation_is_shown_when_the_capacity_is_known(campus_app: App) -> None:
    _, hall = building(campus_app)
    query = {"space": hall, "from": "2025-01-20", "to": "2025-01-27", "bin": "3600"}
    assert "Utilisation at peak" not in metrics(opened(campus_app, **query))
    test = opened(campus_app, **query, capacity="100")
    peak = int(metrics(test)["Peak, devices"].replace(",", ""))
    assert metrics(test)["Utilisation at peak"] == f"{peak / 100:.0%}"
    assert "Utilisation at peak" not in metrics(opened(campus_app, **query, capacity="-3"))


def test_spaces_are_found_and_chosen(campus_app: App) -> None:
    tree, hall = building(campus_app)
    test = opened(campus_app)
    assert test.radio(key="space").value == tree.roots[0]
    room = tree.subtree(hall)[-1]
    test.text_input(key="space search").set_value(tree.names[tree.index[room]]).run()
    assert test.radio(key="space").options[0].replace("\\", "") == full_name(tree, room)
    test.radio(key="space").set_value(room).run()
    assert test.query_params["space"] == room
    assert test.text_input(key="space search").value == ""
    test.text_input(key="space search").set_value("no such thing").run()
    assert "No space matches" in texts(test)


def test_other_spaces_are_compared(campus_app: App) -> None:
    tree, _ = building(campus_app)
    first, second = tree.children(tree.roots[0])[:2]
    test = opened(campus_app, space=first, view="compare", with_="spaces", spaces=second)
    names = [tree.names[tree.index[s]] for s in (first, second)]
    assert list(test.dataframe[0].value["Space"]) == names


def test_names_are_shown_literally(campus_app: App) -> None:
    tree, hall = building(campus_app)
    with load_transaction(campus_app.settings) as load:
        load.execute(
            "UPDATE source.space SET space_name = $1 WHERE space_id IN ($2, $3)",
            (HOSTILE, hall, tree.children(hall)[0]),
        )
    for view in ("time", "week", "compare", "inside", "floor"):
        test = opened(campus_app, space=hall, view=view)
        for text in (texts(test), *test.radio(key="space").options):
            assert "<script>" not in text
            assert "[x](" not in text
        assert test.title[0].value.replace("\\", "") == HOSTILE


@pytest.mark.parametrize(
    "query",
    [
        {"space": "<script>"},
        {"from": "x", "to": "y"},
        {"view": "nothing", "bin": "7", "capacity": "x", "other": "0001-01-01", "at": "99:99"},
        {"view": "floor", "day": "1999-01-01", "at": "now"},
        {"view": "compare", "with": "spaces", "spaces": "a|b|"},
        {"from": "2031-01-01", "to": "2031-02-01"},
    ],
)
def test_any_address_gives_a_page(campus_app: App, query: dict[str, str]) -> None:
    test = opened(campus_app, **query)
    assert not test.error
    assert "<script>" not in texts(test)


# --- people ---------------------------------------------------------------------------------------
PEOPLE_WEEK = {"from": "2025-01-20", "to": "2025-01-27", "count": "people"}


def count_control(test: AppTest) -> list[str]:
    return [w.value for w in test.get("button_group") if w.label == "Count"]


def test_people_are_counted_beside_other_devices(campus_app: App) -> None:
    _, hall = building(campus_app)
    query = {"space": hall, **PEOPLE_WEEK, "bin": "3600"}
    test = opened(campus_app, **query)
    assert count_control(test) == ["people"]
    found = read_occupancy(
        hall, FIRST, "2025-01-27", 3600, settings=campus_app.settings, count="people"
    )
    people, others = (found[n].to_numpy() for n in ("number_people", "number_other_devices"))
    top = (people + others).argmax()
    sentence = f"peak of **{people[top]} people and {others[top]} other devices** in 1 h"
    assert sentence in texts(test)
    assert metrics(test)["Peak, people"] == str(people[top])
    assert metrics(test)["Mean, other devices"] == f"{others.mean():,.1f}"
    assert "Peak, devices" not in metrics(test)
    assert "People known by user name count once" in texts(test)
    assert len(test.get("vega_lite_chart")) == 1
    for label, value in (("devices", None), ("people", "people")):
        next(w for w in test.get("button_group") if w.label == "Count").set_value(label).run()
        assert test.query_params.get("count") == value


def test_every_view_that_can_counts_people(campus_app: App) -> None:
    tree, hall = building(campus_app)
    level = tree.children(hall)[1]
    query = {**PEOPLE_WEEK, "from": "2025-01-27", "to": "2025-02-03"}
    for view, text in (
        ("week", " people and "),
        ("compare", "people and other devices than in the comparison period"),
        ("inside", " other devices in an hour"),
    ):
        test = opened(campus_app, space=level, view=view, **query)
        assert text in texts(test), view
        assert len(test.get("vega_lite_chart")) == 1, view
    table = opened(campus_app, space=level, view="inside", **PEOPLE_WEEK).dataframe[0].value
    assert {"Peak, people", "Mean, other devices"} <= set(table.columns)
    spaces = "|".join(tree.children(tree.roots[0])[:2])
    test = opened(
        campus_app, space=hall, view="compare", with_="spaces", spaces=spaces, **PEOPLE_WEEK
    )
    assert "Peak, people" in test.dataframe[0].value.columns
    assert count_control(opened(campus_app, space=level, view="floor", **PEOPLE_WEEK)) == []


def test_the_download_has_what_is_counted(campus_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit_app.views.occupancy import window

    made: list[dict[str, str]] = []

    def noting(
        function: Callable[..., bytes], *given: object, **named: str
    ) -> Callable[..., bytes]:
        made.append(named)
        return partial(function, *given, **named)

    monkeypatch.setattr(window, "partial", noting)
    _, hall = building(campus_app)
    opened(campus_app, space=hall, **PEOPLE_WEEK)
    assert made == [{"count": "people"}] * 2
    test = opened(campus_app, space=hall, **PEOPLE_WEEK, view="floor")
    assert made[2:] == [{}, {}]
    week = Window(dt.datetime(2025, 1, 20), dt.datetime(2025, 1, 27))
    text = export(campus_app, hall, week, 3600, "csv", count="people").decode()
    assert text.splitlines()[0].endswith("number_people,number_other_devices")
    assert not test.exception


def test_without_people_there_is_nothing_to_choose(nameless_app: App) -> None:
    _, hall = building(nameless_app)
    test = opened(nameless_app, space=hall, **PEOPLE_WEEK)
    assert count_control(test) == []
    assert "Peak, devices" in metrics(test)


# --- the tree ------------------------------------------------------------------------------------
def test_the_tree_is_open_along_the_path_to_the_space(campus_app: App) -> None:
    tree, hall = building(campus_app)
    level = tree.children(hall)[1]
    rows = visible(tree, level)
    assert set(tree.children(level)) <= set(rows)
    assert set(tree.children(hall)) <= set(rows)
    other = next(c for c in tree.children(hall) if c != level and not tree.is_leaf[tree.index[c]])
    assert not set(tree.children(other)).intersection(rows)
    assert len(rows) == len(set(rows))


def test_names_are_sorted_with_numbers_by_value(campus_app: App) -> None:
    tree, _ = building(campus_app)
    names = [tree.names[tree.index[s]] for s in by_name(tree, list(tree.ids))]
    floors = [n for n in names if n.startswith("Alder Hall floor")]
    assert floors == sorted(floors, key=lambda n: int(n.split()[-1]))


def test_a_search_prefers_names_that_begin_with_the_text(campus_app: App) -> None:
    tree, hall = building(campus_app)
    name = tree.names[tree.index[hall]]
    assert matches(tree, name.upper())[0] == hall
    assert matches(tree, "  ") == []
