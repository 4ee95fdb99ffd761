"""Classifiers that cannot work are refused when they are saved."""

from __future__ import annotations

from typing import Any

import pytest

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Body,
    Classifier,
    Concept,
    ConceptValue,
    Condition,
    DerivedIndex,
    Feature,
    Index,
    Kind,
    LabellingFunction,
    LabelModel,
    Rule,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.names import read_body
from tippers_dagster.errors import BadInput

REF = Ref("device", "guess", Kind.CLASSIFIER)


def one(name: str, body: Body, kind: Kind, *reads: str, concept: str = "device") -> Definition:
    return Definition(Ref(concept, name, kind), body, reads=reads)


def concept(name: str) -> Definition:
    values = tuple(ConceptValue(name=label) for label in ("STATIC", "PHONE"))
    return Definition(Ref("", name, Kind.CONCEPT), Concept(values=values))


def functions(of: str = "device") -> list[Definition]:
    def body(number: int) -> LabellingFunction:
        label = ("STATIC", "PHONE")[number % 2]
        return LabellingFunction(
            rule="usage", labels=(label,), conditions=(Condition(when="hours > 1", label=label),)
        )

    names = [f"f{number}" for number in range(3)]
    made = [one(n, body(i), Kind.LABELLING_FUNCTION, concept=of) for i, n in enumerate(names)]
    model = LabelModel(index="devices", labelling_functions=tuple(names))
    return [*made, one("kind_of", model, Kind.LABEL_MODEL, concept=of)]


def base(of: str = "device") -> list[Definition]:
    return [
        concept(of),
        one("devices", Index(sql="SELECT 1"), Kind.INDEX, concept=of),
        one("usage", Rule(index="devices", sql="SELECT 1"), Kind.RULE, concept=of),
        *functions(of),
    ]


DERIVED = DerivedIndex(parent="devices", label_model="kind_of", labels=("PHONE",))
HABITS = Feature(index="devices", sql="SELECT 1")
PHONES = one("phones", DERIVED, Kind.DERIVED_INDEX, "device.devices", "device.kind_of")


def problem(*more: Definition, **changes: Any) -> str | None:
    given: dict[str, Any] = {"index": "devices", "label_model": "kind_of", "features": ["habits"]}
    body = read_body(Kind.CLASSIFIER, given | changes)
    habits = one("habits", HABITS, Kind.FEATURE)
    catalog = Catalog([*base(), habits, *more, Definition(REF, body)])
    return catalog.problems.get(REF)


def test_a_valid_classifier() -> None:
    assert problem() is None
    # A feature of all devices also works for devices selected by a label model.
    other = one("of_phones", Feature(index="phones", sql="SELECT 1"), Kind.FEATURE)
    assert problem(PHONES, other, index="phones", features=["habits", "of_phones"]) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"models": ["oracle"]}, "There is no model oracle. The models: logistic_regression, "),
        ({"models": ["sgd", "sgd"]}, "The model sgd is given twice"),
        ({"features": ["habits", "device.habits"]}, "The feature device.habits is given twice"),
        ({"features": ["usage"]}, "device.usage is a rule, but a feature is needed here"),
        ({"label_model": "other.kind_of"}, "other.kind_of gives labels of another concept, other"),
        ({"index": "others"}, "labels the entities of device.devices, which do not contain"),
        ({"features": ["of_phones"]}, "about the entities of device.phones, which do not contain"),
    ],
)
def test_classifiers_that_do_not_fit(changes: dict[str, Any], why: str) -> None:
    more = (
        *base("other"),
        one("others", Index(sql="SELECT 2"), Kind.INDEX),
        PHONES,
        one("of_phones", Feature(index="phones", sql="SELECT 1"), Kind.FEATURE),
    )
    assert why in (problem(*more, **changes) or "")


@pytest.mark.parametrize("reads", [("device.kind_of",), ("device.between",), ("device.phones",)])
def test_a_feature_computed_from_the_label_model(reads: tuple[str, ...]) -> None:
    between = one("between", Rule(index="devices", sql="SELECT 1"), Kind.RULE, "device.kind_of")
    leak = one("leak", HABITS, Kind.FEATURE, *reads)
    told = problem(between, PHONES, leak, features=["habits", "leak"])
    assert told is not None
    assert told.startswith(
        "device.leak is computed from device.kind_of, whose labels the classifier"
    )


def test_fields_out_of_range() -> None:
    given = {"index": "devices", "label_model": "kind_of", "features": ["habits"]}
    for wrong in ({"seed": -1}, {"test_share": 1}, {"features": []}, {"folds": 1}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            read_body(Kind.CLASSIFIER, given | wrong)
    assert isinstance(read_body(Kind.CLASSIFIER, given), Classifier)
