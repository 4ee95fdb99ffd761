"""Forms of classifiers, labelled occupancy, people counts and forecasters, and what they tell."""

from __future__ import annotations

from typing import Any

import pytest

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_models as service
from streamlit_app.services import definitions
from streamlit_app.services.app import App
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


def new(app: App, kind: Kind, name: str, parent: str = "", **fields: Any) -> forms.Work:
    work = forms.begin_new(kind, "device", definitions.load(app), parent, by="ada")
    work.name = name
    assert work.fields.keys() >= fields.keys()
    work.fields.update(fields)
    return work


@pytest.mark.parametrize("kind", BODIES)
def test_a_form_gives_back_what_was_opened(kind: Kind) -> None:
    ref = Ref("device" if kind.in_concept else "", "x", kind)
    for body in (BODIES[kind], PeopleCount() if kind == Kind.PEOPLE_COUNT else BODIES[kind]):
        work = forms.begin(Definition(ref, body, "", ""))
        assert "yaml" not in work.fields
        assert not work.dirty
        assert forms.draft(work).body == body


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Kind.CLASSIFIER, "Choose the index and the label model and the features."),
        (Kind.LABELLED_OCCUPANCY, "Choose the label model or classifier."),
    ],
)
def test_what_is_not_chosen_is_asked_for(defined_app: App, kind: Kind, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        forms.draft(new(defined_app, kind, "x"))


def test_new_ones_come_with_their_parent(defined_app: App) -> None:
    made = new(defined_app, Kind.CLASSIFIER, "x", "device.type")
    assert (made.fields["label_model"], made.fields["index"]) == ("type", "devices")
    made = new(defined_app, Kind.CLASSIFIER, "x", "device.numbers")
    assert (made.fields["features"], made.fields["index"]) == (["numbers"], "devices")
    for kind in (Kind.LABELLED_OCCUPANCY, Kind.PEOPLE_COUNT):
        made = new(defined_app, kind, "x", "device.type")
        assert made.fields["by"] == "device.type"
        assert made.concept == ""


def test_only_what_fits_can_be_chosen(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    assert forms.feature_choices(catalog, "device", "chosen", []) == ["numbers"]
    assert forms.feature_choices(catalog, "device", "", ["gone"]) == ["gone"]
    assert forms.device_labels(catalog, "") == ["device.type"]
    assert forms.labels_given(catalog, "device.type") == ["A", "B"]
    assert forms.labels_given(catalog, "device.nothing") == []


def test_they_are_saved_listed_and_opened_again(defined_app: App) -> None:
    fields = {"index": "devices", "label_model": "type", "features": ["numbers"]}
    definitions.save(defined_app, new(defined_app, Kind.CLASSIFIER, "clf", **fields))
    split = new(defined_app, Kind.LABELLED_OCCUPANCY, "split", by="device.clf")
    people = new(defined_app, Kind.PEOPLE_COUNT, "people", by="device.clf", labels=["B"])
    for work in (split, people):
        assert definitions.save(defined_app, work) is not None
    catalog = definitions.load(defined_app)
    assert forms.labels_given(catalog, "device.clf") == ["A", "B"]
    rows = {str(r.ref): r for r in definitions.rows(catalog)}
    assert list(rows)[-2:] == ["labelled_occupancy.split", "people_count.people"]
    assert rows["people_count.people"].concept == ""
    assert rows["device.clf"].users == 2
    found = definitions.opened(catalog, Ref("", "people", Kind.PEOPLE_COUNT))
    assert found.definition is not None
    assert forms.begin(found.definition).fields["labels"] == ["B"]
    wrong = new(defined_app, Kind.PEOPLE_COUNT, "wrong", by="device.clf", labels=["C"])
    with pytest.raises(BadInput, match="C is not a label"):
        definitions.save(defined_app, wrong)


# --- what they would do --------------------------------------------------------------------------
def classifier(app: App, **fields: Any) -> forms.Work:
    plain = {"index": "devices", "label_model": "type", "features": ["numbers"]}
    some = {"test_share": 0.01, "minimum_per_class": 2}
    return new(app, Kind.CLASSIFIER, "", **(plain | some | fields))


def test_a_classifier_tells_what_it_would_learn_from(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    found = service.confident(defined_app, catalog, classifier(defined_app, threshold=0.7))
    assert (found.labels, found.entities, found.labelled) == (("A", "B"), 6, 6)
    assert [(s.threshold, s.counts) for s in found.steps] == [(0.7, (3, 3))]
    assert not found.lowered
    assert {n: found.trained[n] + found.judged[n] for n in found.labels} == {"A": 3, "B": 3}


def test_a_classifier_tells_how_far_the_threshold_is_lowered(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    found = service.confident(defined_app, catalog, classifier(defined_app, threshold=0.9))
    assert [(s.threshold, s.counts) for s in found.steps] == [
        (0.9, (1, 0)),
        (0.85, (1, 0)),
        (0.8, (3, 3)),
    ]
    assert found.lowered
    too_many = classifier(defined_app, minimum_per_class=10)
    with pytest.raises(TippersError, match="10 of each are needed"):
        service.confident(defined_app, catalog, too_many)


def test_labels_tell_how_many_devices_they_hold(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    split = new(defined_app, Kind.LABELLED_OCCUPANCY, "", by="device.type")
    found = service.split(defined_app, catalog, split)
    assert found is not None
    assert (found.devices, found.unlabelled) == ({"A": 3, "B": 3}, 0)
    assert service.split(defined_app, catalog, new(defined_app, Kind.PEOPLE_COUNT, "")) is None
    saved = classifier(defined_app)
    saved.name = "clf"
    definitions.save(defined_app, saved)
    catalog = definitions.load(defined_app)
    split.fields["by"] = "device.clf"
    with pytest.raises(TippersError, match=r"device.clf was never computed"):
        service.split(defined_app, catalog, split)


def test_a_forecaster_tells_what_it_covers(campus_app: App) -> None:
    tree = load_tree(campus_app.settings)
    root = tree.roots[0]
    catalog = definitions.load(campus_app)
    work = new(campus_app, Kind.FORECASTER, "", spaces=[root], below=True)
    found = service.scope(campus_app, catalog, work, tree)
    assert found.spaces == tree.ids
    assert 7 < found.days <= 14 < found.wanted_days
    assert (found.bins, found.horizon_bins) == (found.days * 48, 7 * 48)
    work.fields.update(below=False, interval_seconds=3600)
    found = service.scope(campus_app, catalog, work, tree)
    assert (found.spaces, found.bins) == ((root,), found.days * 24)
    work.fields["spaces"] = []
    found = service.scope(campus_app, catalog, work, tree)
    assert found.spaces == (root, *tree.children(root))
    assert "mstl" in service.forecast_models()
    work.fields["spaces"] = ["nowhere"]
    with pytest.raises(BadInput, match="nowhere"):
        service.scope(campus_app, catalog, work, tree)
    work.name = "wrong"
    with pytest.raises(BadInput, match="nowhere"):
        definitions.save(campus_app, work)
    untrack(campus_app.settings, space=root)
    work.fields["spaces"] = [root]
    with pytest.raises(TippersError, match="not tracked"):
        service.scope(campus_app, catalog, work, tree)
