"""Forms and previews of classifiers, labelled occupancy, people counts and forecasters."""

from __future__ import annotations

from typing import Any

import pytest

from streamlit_app.services.app import App
from streamlit_app.services.definitions import choices, saving
from streamlit_app.services.definitions.edit import Edit, begin, begin_new, draft
from streamlit_app.services.definitions.listing import load, rows
from streamlit_app.services.definitions.opened import opened
from streamlit_app.services.definitions.preview_models import (
    forecast_models,
    preview_classifier,
    preview_device_labels,
    preview_forecaster,
)
from tests.streamlit_app.defined import computed, defined_app
from tippers_dagster.campus.spaces.tracking import untrack
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import (
    Body,
    Classifier,
    Forecaster,
    Kind,
    LabelledOccupancy,
    PeopleCount,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import BadInput, TippersError

__all__ = ["computed", "defined_app"]

BODIES: dict[Kind, Body] = {
    Kind.CLASSIFIER: Classifier(
        index="chosen", label_model="type", features=("numbers",), models=("ridge",), folds=3
    ),
    Kind.LABELLED_OCCUPANCY: LabelledOccupancy(by="device.type"),
    Kind.PEOPLE_COUNT: PeopleCount(by="device.type", labels=("A",), ratio="hour"),
    Kind.FORECASTER: Forecaster(spaces=("1",), below=True, models=("mstl",), history_days=28),
}


def new(app: App, kind: Kind, name: str, parent: str = "", **fields: Any) -> Edit:
    edit = begin_new(kind, "device", load(app), parent, by="ada")
    edit.name = name
    assert edit.fields.keys() >= fields.keys()
    edit.fields.update(fields)
    return edit


@pytest.mark.parametrize("kind", BODIES)
def test_an_unchanged_form_gives_the_same_body(kind: Kind) -> None:
    ref = Ref("device" if kind.in_concept else "", "x", kind)
    for body in (BODIES[kind], PeopleCount() if kind == Kind.PEOPLE_COUNT else BODIES[kind]):
        edit = begin(Definition(ref, body, "", ""))
        assert "yaml" not in edit.fields
        assert not edit.dirty
        assert draft(edit).body == body


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Kind.CLASSIFIER, "Choose the index, the label model and the features."),
        (Kind.LABELLED_OCCUPANCY, "Choose the label model or classifier."),
    ],
)
def test_missing_choices_are_named(defined_app: App, kind: Kind, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        draft(new(defined_app, kind, "x"))


def test_a_new_definition_has_its_parent(defined_app: App) -> None:
    made = new(defined_app, Kind.CLASSIFIER, "x", "device.type")
    assert (made.fields["label_model"], made.fields["index"]) == ("type", "devices")
    made = new(defined_app, Kind.CLASSIFIER, "x", "device.numbers")
    assert (made.fields["features"], made.fields["index"]) == (["numbers"], "devices")
    for kind in (Kind.LABELLED_OCCUPANCY, Kind.PEOPLE_COUNT):
        made = new(defined_app, kind, "x", "device.type")
        assert made.fields["by"] == "device.type"
        assert made.concept == ""


def test_only_suitable_definitions_are_offered(defined_app: App) -> None:
    catalog = load(defined_app)
    assert choices.feature_choices(catalog, "device", "chosen", []) == ["numbers"]
    assert choices.feature_choices(catalog, "device", "", ["gone"]) == ["gone"]
    assert choices.device_label_sources(catalog, "") == ["device.type"]
    assert choices.labels_from(catalog, "device.type") == ["A", "B"]
    assert choices.labels_from(catalog, "device.nothing") == []


def test_they_are_saved_listed_and_opened_again(defined_app: App) -> None:
    fields = {"index": "devices", "label_model": "type", "features": ["numbers"]}
    saving.save(defined_app, new(defined_app, Kind.CLASSIFIER, "clf", **fields))
    split = new(defined_app, Kind.LABELLED_OCCUPANCY, "split", by="device.clf")
    people = new(defined_app, Kind.PEOPLE_COUNT, "people", by="device.clf", labels=["B"])
    for edit in (split, people):
        assert saving.save(defined_app, edit) is not None
    catalog = load(defined_app)
    assert choices.labels_from(catalog, "device.clf") == ["A", "B"]
    listed = {str(r.ref): r for r in rows(catalog)}
    assert list(listed)[-2:] == ["labelled_occupancy.split", "people_count.people"]
    assert listed["people_count.people"].concept == ""
    assert listed["device.clf"].users == 2
    found = opened(catalog, Ref("", "people", Kind.PEOPLE_COUNT))
    assert found.definition is not None
    assert begin(found.definition).fields["labels"] == ["B"]
    wrong = new(defined_app, Kind.PEOPLE_COUNT, "wrong", by="device.clf", labels=["C"])
    with pytest.raises(BadInput, match="C is not a label"):
        saving.save(defined_app, wrong)


# --- previews ------------------------------------------------------------------------------------
def classifier(app: App, **fields: Any) -> Edit:
    plain = {"index": "devices", "label_model": "type", "features": ["numbers"]}
    some = {"test_share": 0.01, "minimum_per_class": 2}
    return new(app, Kind.CLASSIFIER, "", **(plain | some | fields))


def test_a_classifier_shows_its_training_entities(defined_app: App) -> None:
    catalog = load(defined_app)
    found = preview_classifier(defined_app, catalog, classifier(defined_app, threshold=0.7))
    assert (found.labels, found.entities, found.labelled) == (("A", "B"), 6, 6)
    assert [(s.threshold, s.counts) for s in found.steps] == [(0.7, (3, 3))]
    assert not found.lowered
    assert {n: found.training[n] + found.held_out[n] for n in found.labels} == {"A": 3, "B": 3}


def test_a_classifier_shows_how_far_the_threshold_is_lowered(defined_app: App) -> None:
    catalog = load(defined_app)
    found = preview_classifier(defined_app, catalog, classifier(defined_app, threshold=0.9))
    assert [(s.threshold, s.counts) for s in found.steps] == [
        (0.9, (1, 0)),
        (0.85, (1, 0)),
        (0.8, (3, 3)),
    ]
    assert found.lowered
    too_many = classifier(defined_app, minimum_per_class=10)
    with pytest.raises(TippersError, match="10 of each are needed"):
        preview_classifier(defined_app, catalog, too_many)


def test_devices_are_counted_per_label(defined_app: App) -> None:
    catalog = load(defined_app)
    split = new(defined_app, Kind.LABELLED_OCCUPANCY, "", by="device.type")
    found = preview_device_labels(defined_app, catalog, split)
    assert found is not None
    assert (found.devices, found.unlabelled) == ({"A": 3, "B": 3}, 0)
    assert (
        preview_device_labels(defined_app, catalog, new(defined_app, Kind.PEOPLE_COUNT, "")) is None
    )
    saved = classifier(defined_app)
    saved.name = "clf"
    saving.save(defined_app, saved)
    catalog = load(defined_app)
    split.fields["by"] = "device.clf"
    with pytest.raises(TippersError, match=r"device.clf has never been computed"):
        preview_device_labels(defined_app, catalog, split)


def test_a_forecaster_shows_what_it_covers(campus_app: App) -> None:
    tree = load_tree(campus_app.settings)
    root = tree.roots[0]
    catalog = load(campus_app)
    edit = new(campus_app, Kind.FORECASTER, "", spaces=[root], below=True)
    found = preview_forecaster(campus_app, catalog, edit, tree)
    assert found.spaces == tree.ids
    assert 7 < found.days <= 14 < found.wanted_days
    assert (found.bins, found.horizon_bins) == (found.days * 48, 7 * 48)
    edit.fields.update(below=False, interval_seconds=3600)
    found = preview_forecaster(campus_app, catalog, edit, tree)
    assert (found.spaces, found.bins) == ((root,), found.days * 24)
    edit.fields["spaces"] = []
    found = preview_forecaster(campus_app, catalog, edit, tree)
    assert found.spaces == (root, *tree.children(root))
    assert "mstl" in forecast_models()
    edit.fields["spaces"] = ["nowhere"]
    with pytest.raises(BadInput, match="nowhere"):
        preview_forecaster(campus_app, catalog, edit, tree)
    edit.name = "wrong"
    with pytest.raises(BadInput, match="nowhere"):
        saving.save(campus_app, edit)
    untrack(campus_app.settings, space=root)
    edit.fields["spaces"] = [root]
    with pytest.raises(TippersError, match="not tracked"):
        preview_forecaster(campus_app, catalog, edit, tree)
