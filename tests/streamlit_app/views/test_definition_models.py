"""The forms of classifiers, labelled occupancy, people counts and forecasters, on the page."""

from __future__ import annotations

import pytest

from streamlit_app.services.app import App
from streamlit_app.services.definitions.listing import load
from streamlit_app.services.definitions.opened import opened as opened_definition
from tests.streamlit_app.defined import computed, defined_app
from tests.streamlit_app.views.test_definitions import Open, at_once, button, click, fill, opened
from tests.streamlit_app.views.test_definitions import texts as all_texts
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import Classifier, Forecaster, Kind, PeopleCount
from tippers_dagster.catalog.model import Ref

__all__ = ["at_once", "computed", "defined_app", "opened"]


def texts(at: object) -> str:
    return all_texts(at).replace("\\", "")  # type: ignore[arg-type]


def choose(at: object, label: str, *values: str) -> None:
    box = next(b for b in at.multiselect if b.label.startswith(label))  # type: ignore[attr-defined]
    box.set_value(list(values)).run()


def number(at: object, label: str, value: float) -> None:
    box = next(b for b in at.number_input if b.label == label)  # type: ignore[attr-defined]
    box.set_value(value).run()


def body(app: App, ref: Ref) -> object:
    found = opened_definition(load(app), ref).definition
    assert found is not None
    return found.body


def test_a_classifier_is_filled_in_previewed_and_saved(defined_app: App, opened: Open) -> None:
    at = opened(new="classifier", concept="device", parent="device.type")
    assert at.title[0].value == "New classifier"
    assert "Choose the features" in texts(at)
    choose(at, "Features", "numbers")
    assert "10 of each are needed" in texts(at)
    number(at, "Minimum entities per label", 2)
    assert "3 of each are needed" in texts(at)
    number(at, "Held-out share", 0.01)
    assert "6 of 6 entities have a label" in texts(at)
    fill(at, "Name", "clf")
    click(at, "Save")
    assert "Saved as version 1" in texts(at)
    made = body(defined_app, Ref("device", "clf", Kind.CLASSIFIER))
    assert made == Classifier(
        index="devices",
        label_model="type",
        features=("numbers",),
        minimum_per_class=2,
        test_share=0.01,
    )


def test_people_are_counted_by_labels(defined_app: App, opened: Open) -> None:
    at = opened(new="people_count", concept="device", parent="device.type")
    assert "It names no label" in texts(at)
    choose(at, "Labels that stand", "A")
    assert "**3** of the 6 devices labelled by device.type stand for people (50 %)" in texts(at)
    fill(at, "Name", "people")
    click(at, "Save")
    made = body(defined_app, Ref("", "people", Kind.PEOPLE_COUNT))
    assert made == PeopleCount(by="device.type", labels=("A",))
    at = opened(open="people_count.people")
    assert at.title[0].value == "people\\_count\\.people"
    assert button(at, "Save").proto.disabled  # type: ignore[attr-defined]


def test_a_forecaster_takes_spaces_by_a_search(defined_app: App, opened: Open) -> None:
    tree = load_tree(defined_app.settings)
    room = next(space for space, leaf in zip(tree.ids, tree.is_leaf, strict=True) if leaf)
    at = opened(new="forecaster")
    fill(at, "Find spaces", room)
    choose(at, "Spaces", room)
    assert "is not tracked" in texts(at)
    fill(at, "Name", "room")
    click(at, "Save")
    made = body(defined_app, Ref("", "room", Kind.FORECASTER))
    assert made == Forecaster(spaces=(room,))


@pytest.mark.parametrize("kind", ["classifier", "labelled_occupancy", "people_count", "forecaster"])
def test_a_viewer_cannot_create_one(defined_app: App, opened: Open, kind: str) -> None:
    at = opened(Role.VIEWER, new=kind, concept="device")
    assert "needs the analyst role" in texts(at)
