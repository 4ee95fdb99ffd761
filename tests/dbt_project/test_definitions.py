"""The built-in concepts, labelling functions and label models."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from tippers_dagster.campus.makers import common_prefixes
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import Kind, LabellingFunction
from tippers_dagster.catalog.model import Definition
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.labelling.git_functions import git_function_path, load_git_function
from tippers_dagster.labelling.program import compile_function
from tippers_dagster.settings import Settings

DEVICE = ("STATIC", "LAPTOP", "PHONE")
COUNTS = {
    Kind.CONCEPT: 5,
    Kind.INDEX: 1,
    Kind.DERIVED_INDEX: 6,
    Kind.RULE: 33,
    Kind.FEATURE: 12,
    Kind.LABELLING_FUNCTION: 31,
    Kind.LABEL_MODEL: 4,
    Kind.CLASSIFIER: 2,
    Kind.LABELLED_OCCUPANCY: 1,
    Kind.PEOPLE_COUNT: 1,
}


def test_all_of_them_work(stack: Settings) -> None:
    catalog = load_catalog(stack)
    assert catalog.problems == {}
    assert catalog.unusable == {}
    assert {kind: len(catalog.of_kind(kind)) for kind in COUNTS} == COUNTS
    levels = {name: catalog.level(name) for name in ("device", "people", "resident", "student")}
    assert levels == {"device": 1, "people": 2, "resident": 3, "student": 4}
    for definition in catalog.definitions.values():
        assert definition.description
        assert definition.owner == "tippers"


def test_tags_have_the_catalogs_level(stack: Settings) -> None:
    catalog = load_catalog(stack)
    for definition in catalog.definitions.values():
        if definition.ref.kind.has_sql:
            ref = definition.ref
            folder = project_source(stack) / "models" / ref.concept
            text = (folder / f"{ref.model_name}.yml").read_text()
            assert f"level_{catalog.level(ref.concept)}," in text, ref


def _functions(settings: Settings) -> list[Definition]:
    return load_catalog(settings).of_kind(Kind.LABELLING_FUNCTION)


def test_every_form_is_shown(stack: Settings) -> None:
    bodies = [d.body for d in _functions(stack)]
    assert any(body.conditions for body in bodies)
    assert any(body.python for body in bodies)
    assert any(body.function for body in bodies)


def test_labelling_functions_compile(stack: Settings) -> None:
    catalog = load_catalog(stack)
    for definition in _functions(stack):
        body, values = definition.body, catalog.labels(definition.ref.concept)
        assert isinstance(body, LabellingFunction)
        if body.function is None:
            compile_function(body, columns=None, values=values)
        else:
            path = git_function_path(
                project_source(stack), definition.ref.concept, definition.ref.name
            )
            load_git_function(path, body, values)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "LAPTOP"),
        ({"mean_hours": 0.2}, "PHONE"),
        ({"shared_share": 0.79}, None),
        ({"shared_share": None, "shared_spaces": None, "partner_mean_hours": None}, None),
        ({"sessions": 9}, None),
        ({"shared_spaces": 1}, None),
    ],
)
def test_carried_together(stack: Settings, change: dict[str, object], label: str | None) -> None:
    definition = load_catalog(stack).get("device", "carried_together")
    assert isinstance(definition.body, LabellingFunction)
    path = git_function_path(project_source(stack), "device", "carried_together")
    function = load_git_function(path, definition.body, DEVICE)
    row = {
        "sessions": 100,
        "shared_sessions": 90,
        "shared_share": 0.9,
        "shared_spaces": 4,
        "mean_hours": 2.5,
        "partner_mean_hours": 0.5,
    } | change
    votes = function.vote(pa.Table.from_pylist([row])).votes
    assert votes.tolist() == [-1 if label is None else DEVICE.index(label)]


@pytest.mark.parametrize(("days", "many", "vote"), [(10, 8, 2), (10, 7, -1), (2, 2, -1), (3, 3, 2)])
def test_the_text_of_a_function(stack: Settings, days: int, many: int, vote: int) -> None:
    body = load_catalog(stack).get("device", "phone_many_rooms").body
    assert isinstance(body, LabellingFunction)
    row = {"active_days": days, "many_room_days": many}
    program = compile_function(body, columns=None, values=DEVICE)
    assert program.vote(pa.Table.from_pylist([row])).votes.tolist() == [vote]


@pytest.mark.parametrize(
    ("name", "kind", "maker_kind", "label"),
    [
        ("phone_randomised_address", "randomised", None, "PHONE"),
        ("phone_randomised_address", "universal", "phone", None),
        ("phone_randomised_address", "opaque", None, None),
        ("static_maker", "universal", "printer", "STATIC"),
        ("static_maker", "universal", "phone", None),
        ("static_maker", "universal", None, None),
        ("static_maker", "randomised", None, None),
    ],
)
def test_functions_on_addresses(
    stack: Settings, name: str, kind: str, maker_kind: str | None, label: str | None
) -> None:
    body = load_catalog(stack).get("device", name).body
    assert isinstance(body, LabellingFunction)
    row = {"device_kind": [kind], "maker_kind": pa.array([maker_kind], pa.string())}
    program = compile_function(body, columns=None, values=DEVICE)
    votes = program.vote(pa.table(row)).votes.tolist()
    assert votes == [-1 if label is None else DEVICE.index(label)]


def test_kinds_of_makers_in_functions_are_known(stack: Settings) -> None:
    when = load_catalog(stack).get("device", "static_maker").body.conditions[0].when
    named = set(re.findall(r'"([^"]+)"', when))
    assert named
    assert named <= set(common_prefixes()["maker_kind"].to_pylist())
