from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tippers_dagster.catalog.catalog import Catalog, definition_of
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.errors import BadInput

from .conftest import device, draft, function, people, ref


def catalog(*drafts: Draft) -> Catalog:
    return Catalog(map(definition_of, drafts))


def problem(changed: Draft, *others: Draft) -> str:
    """The problem of one definition, added to those of both levels."""
    drafts = {d.ref: d for d in (*device(), *people(), *others)}
    drafts = {r: d for r, d in drafts.items() if (r.concept, r.name) != _name(changed)}
    found = catalog(*drafts.values(), changed).problems
    return found.get(changed.ref, "")


def _name(given: Draft) -> tuple[str, str]:
    return given.ref.concept, given.ref.name


def test_two_levels_work() -> None:
    found = catalog(*device(), *people())
    assert found.problems == {}
    assert found.get("device", "always_on").ref.kind == Kind.RULE
    assert found.resolve("devices", "device") == found.resolve("device.devices", "people")
    assert [d.ref.name for d in found.of_kind(Kind.RULE)] == ["always_on", "span"]
    model = ref("device.device_type", "label_model")
    derived = ref("people.people", "derived_index")
    devices = ref("device.devices", "index")
    assert found.dependencies(derived) == (devices, model)
    assert found.users(model) == (derived,)
    assert ref("people.span") in found.users(ref("people", "concept"))
    assert found.dependencies(ref("people.span")) == (derived,)
    assert found.model_labels(model) == ("STATIC", "LAPTOP", "PHONE")
    assert found.index_of(ref("people.short_span", "labelling_function")) == derived
    assert found.key_column(ref("people.span")) == "mac_address"
    order = found.order
    assert all(order.index(d) < order.index(r) for r in order for d in found.dependencies(r))


def test_levels() -> None:
    resident = draft("concept", "resident", refines="people.RESIDENT", values=[{"name": "STAFF"}])
    group = draft("concept", "group")
    rule = draft("rule", "group.room", index="people.people", sql="SELECT 1")
    found = catalog(*device(), *people(), resident, group, rule)
    assert found.problems == {}
    assert [found.level(c) for c in ("device", "people", "group")] == [1, 2, 2]
    assert found.level("resident") == 2  # without an index, one above the concept that it refines


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (draft("rule", "device.x", index="devicse", sql="s"), "no .*devicse.*mean device.devices"),
        (draft("rule", "device.x", index="always_on", sql="s"), "is a rule, but an index or a"),
        (draft("rule", "campus.x", index="device.devices", sql="s"), "no concept campus"),
        (function("device.x", "VISITOR"), "VISITOR is not a label of the concept device"),
        (
            draft(
                "labelling_function",
                "device.x",
                rule="always_on",
                labels=["PHONE"],
                conditions=[{"when": "1 = 1", "label": "STATIC"}],
            ),
            "STATIC is not a label in its list of labels",
        ),
        (
            draft(
                "labelling_function", "device.x", rule="always_on", labels=["PHONE"], function="f"
            ),
            "only possible in the project's files",
        ),
        (
            draft("concept", "device", values=[{"name": "A"}, {"name": "A"}]),
            "label A is given twice",
        ),
        (
            draft("concept", "x", values=[{"name": "A", "parent": "B"}]),
            "not a label of this concept",
        ),
        (
            draft(
                "concept", "x", values=[{"name": "A", "parent": "B"}, {"name": "B", "parent": "A"}]
            ),
            "refines itself",
        ),
        (
            draft("concept", "x", refines="people.NOBODY"),
            "expected a concept and one of its labels",
        ),
        (draft("concept", "x", refines="nobody.NOBODY"), "no concept nobody"),
        (draft("concept", "x", refines="x.A", values=[{"name": "A"}]), "depends on itself"),
        (
            draft(
                "derived_index",
                "people.people",
                parent="device.devices",
                label_model="device.device_type",
                labels=["VISITOR"],
            ),
            "VISITOR is not a label of the label model device.device_type",
        ),
        (
            draft(
                "derived_index",
                "people.people",
                parent="device.other",
                label_model="device.device_type",
            ),
            "labels the entities of device.devices, not those of device.other",
        ),
    ],
)
def test_problems_are_described(wrong: Draft, said: str) -> None:
    other = draft("index", "device.other", sql="SELECT 1")
    assert re.search(said, problem(wrong, other)), problem(wrong, other)


MODEL = {"index": "devices", "labelling_functions": ["votes_static", "votes_laptop", "votes_phone"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labelling_functions": ["votes_static", "votes_laptop"]}, "it has 2"),
        (
            {"labelling_functions": [*MODEL["labelling_functions"], "device.votes_phone"]},
            "device.votes_phone is given twice",
        ),
        ({"labels": ["STATIC", "LAPTOP"]}, "PHONE is not a label of this label model"),
        ({"labels": ["STATIC", "LAPTOP", "TOASTER"]}, "TOASTER is not a label of the concept"),
        (
            {
                "labelling_functions": ["votes_static", "votes_laptop", "more"],
                "labels": ["STATIC", "LAPTOP", "PHONE"],
            },
            "No labelling function votes for PHONE",
        ),
        ({"labelling_functions": ["votes_static", "more", "evermore"]}, "two labels are needed"),
        (
            {"labelling_functions": ["votes_static", "votes_laptop", "elsewhere"]},
            "about the entities of device.other",
        ),
        (
            {"labelling_functions": ["votes_static", "votes_laptop", "campus.more"]},
            "another concept",
        ),
        ({"class_balance": {"STATIC": 0.5, "LAPTOP": 0.5}}, "a share for each"),
        ({"class_balance": {"STATIC": 0.5, "LAPTOP": 0.5, "PHONE": 0.5}}, "add up to 1"),
        ({"class_balance": {"STATIC": 0.5, "LAPTOP": 0.5, "PHONE": 0.0}}, "above 0"),
        ({"class_balance": {"STATIC": 0.2, "LAPTOP": 0.3, "PHONE": 0.5}}, ""),
    ],
)
def test_label_models(changes: dict, said: str) -> None:
    others = [
        function("device.more"),
        function("device.evermore"),
        draft("index", "device.other", sql="SELECT 1"),
        draft("rule", "device.elsewhere_rule", index="other", sql="SELECT 1"),
        function("device.elsewhere", rule="elsewhere_rule"),
        draft("concept", "campus", values=[{"name": "PHONE"}]),
        function("campus.more", "PHONE", "device.always_on"),
    ]
    model = draft("label_model", "device.device_type", **(MODEL | changes))
    drafts = {d.ref: d for d in (*device(), *others, *people(), model)}
    found = catalog(*drafts.values()).problems.get(model.ref, "")
    assert (said in found) if said else not found, found


def test_a_problem_affects_all_readers_and_names_its_root() -> None:
    drafts = [d for d in (*device(), *people()) if d.ref.name != "devices"]
    found = catalog(*drafts)
    root = found.problems[ref("device.always_on")]
    assert root == "There is no index device.devices."
    above = found.problems[ref("people.short_span", "labelling_function")]
    assert above == f"It needs people.people, which cannot work: {root}"
    assert found.of_kind(Kind.RULE) == []
    assert len(found.of_kind(Kind.RULE, broken=True)) == 2


def test_retired_definitions_are_reported() -> None:
    drafts = [
        replace(d, status="retired") if d.ref.name == "always_on" else d
        for d in (*device(), *people())
    ]
    found = catalog(*drafts)
    assert (
        "device.always_on, which is retired"
        in found.problems[ref("device.votes_static", "labelling_function")]
    )
    assert ref("device.always_on") in found.retired
    assert ref("device.always_on") not in found.definitions
    with pytest.raises(BadInput, match="retired"):
        found.get("device", "always_on")


def test_cycles_are_reported_and_do_not_affect_the_rest() -> None:
    a = replace(draft("rule", "device.a", index="devices", sql="SELECT 1"), reads=("device.b",))
    b = replace(draft("rule", "device.b", index="devices", sql="SELECT 1"), reads=("device.a",))
    c = replace(draft("rule", "device.c", index="devices", sql="SELECT 1"), reads=("device.a",))
    found = catalog(*device(), a, b, c)
    assert "device.a reads device.b" in found.problems[a.ref]
    assert set(found.problems) == {a.ref, b.ref, c.ref}
    assert found.problems[c.ref].startswith("It needs device.a")


def test_sql_reads_are_dependencies() -> None:
    reader = replace(
        draft("rule", "device.a", index="devices", sql="SELECT 1"),
        reads=("device.always_on", "device.device_type"),
    )
    found = catalog(*device(), reader)
    assert found.problems == {}
    assert reader.ref in found.users(ref("device.always_on"))
    assert "no definition device.gone" in problem(replace(reader, reads=("device.gone",)))
    assert "is a labelling function" in problem(replace(reader, reads=("device.votes_static",)))


def test_an_unreadable_definition_is_only_a_problem() -> None:
    broken = Definition(ref("device.always_on"), Unreadable(reason="It cannot be read: sql."))
    drafts = [definition_of(d) for d in device() if d.ref.name != "always_on"]
    found = Catalog([*drafts, broken])
    assert found.problems[broken.ref] == "It cannot be read: sql."
    assert found.of_kind(Kind.RULE) == []
    assert found.values("device")[0].name == "STATIC"


def test_saved_definitions_replace_those_in_files() -> None:
    git = [replace(definition_of(d), origin="git") for d in device()]
    changed = definition_of(
        draft("rule", "device.always_on", index="devices", sql="SELECT 2 AS hours")
    )
    found = Catalog([changed], git)
    assert found.get("device", "always_on") is changed
    assert found.shadowed == {changed.ref}
    put_away = replace(changed, status="retired")
    found = Catalog([put_away], git)
    assert put_away.ref in found.retired
    assert len(found.problems) == 4
    assert Catalog([put_away], git).with_changes(removed=[changed.ref]).problems == {}


def test_a_changed_kind_is_reported() -> None:
    git = [replace(definition_of(d), origin="git") for d in device()]
    other = definition_of(draft("feature", "device.always_on", index="devices", sql="SELECT 1"))
    found = Catalog([other], git)
    assert (
        "is a feature, but a rule is needed"
        in found.problems[ref("device.votes_static", "labelling_function")]
    )


def test_500_definitions_are_fast() -> None:
    drafts = device()
    for i in range(240):
        drafts.append(draft("rule", f"device.r{i}", index="devices", sql="SELECT 1"))
        drafts.append(function(f"device.f{i}", rule=f"r{i}"))
    names = [f"f{i}" for i in range(240)]
    drafts.append(
        draft(
            "label_model",
            "device.large",
            index="devices",
            labelling_functions=[*names, "votes_phone"],
        )
    )
    found = catalog(*drafts)
    assert found.problems == {}
    assert found.level("device") == 1
    broken = found.with_changes([definition_of(replace(drafts[1], status="retired"))])
    assert len(broken.problems) == len(drafts) - 2


@pytest.mark.parametrize("kind", Kind)
def test_every_definition_has_the_path_of_an_asset(kind: Kind) -> None:
    ref = Ref("device" if kind.in_concept else "", "x", kind)
    first = "device" if kind.in_concept else kind.value
    assert ref.asset_path == (first, "x")
    assert ref.asset_name == f"{first}/x"
