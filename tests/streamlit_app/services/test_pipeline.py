"""The pipeline's graph and pictures of it, runs, edges, details and the tree of labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.details import details
from streamlit_app.services.pipeline.edges import EDGES, apply_change, change_of_edge
from streamlit_app.services.pipeline.graph import SOURCE, STAGING, Graph, count_in_words, load_graph
from streamlit_app.services.pipeline.picture import Picture, picture, reset_layout, save_places
from streamlit_app.services.pipeline.runs import active_runs, materialise
from streamlit_app.services.pipeline.values import value_tree
from streamlit_app.services.runs import cancel
from tests.graph.small import ALL, LONG, draft, function, rule
from tests.streamlit_app.defined import by, insert_by_hand
from tests.streamlit_app.fresh import app, computed, defined_app, fresh
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.catalog import store
from tippers_dagster.catalog.editing import Conflict
from tippers_dagster.catalog.kinds import Concept, ConceptValue, DerivedIndex, Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.catalog.structure import PARENT_FIELD
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.graph import start

__all__ = ["app", "computed", "defined_app", "fresh"]


def save(app: App, *drafts: Draft) -> None:
    store.save_all(app.settings, drafts, by="bob")


def drawn(app: App, concept: str = "device", **options: bool) -> tuple[Graph, Picture]:
    graph = load_graph(app)
    return graph, picture(app, graph, concept, **options)


def pairs(shown: Picture, **of: bool) -> set[tuple[str, str]]:
    wanted = of.items()
    return {(e.parent, e.child) for e in shown.edges if all(getattr(e, k) == v for k, v in wanted)}


# --- pictures ------------------------------------------------------------------------------------
def test_a_concept_is_drawn_with_what_it_depends_on(fresh: App) -> None:
    _, shown = drawn(fresh)
    assert {i.name for i in shown.members} == {f"device/{d.ref.name}" for d in ALL[1:]}
    assert {i.kind for i in shown.items.values() if not i.concept} == {SOURCE}
    assert {
        ("device/devices", "device/long"),
        ("device/long", "device/is_a"),
        ("device/is_a", "device/type"),
        ("device/type", "device/chosen"),
        ("device/chosen", "device/days"),
    } <= pairs(shown, through=False, implied=False)
    # Sources by way of staging models, and only where no other way leads.
    assert ("sessions", "device/devices") in pairs(shown, through=True)
    assert not [e for e in pairs(shown, through=True) if e[1] != "device/devices"]
    assert pairs(shown, implied=True) == {
        ("device/devices", "device/type"),
        ("device/devices", "device/chosen"),
    }
    assert shown.hidden == []
    assert count_in_words(shown.members) == "9 definitions: 9 up to date."


def test_staging_models_are_drawn_when_asked_for(fresh: App) -> None:
    _, shown = drawn(fresh, staging=True)
    assert ("staging/int_sessions", "device/devices") in pairs(shown)
    assert pairs(shown, through=True) == set()


def test_stale_models_that_are_not_drawn_are_listed(app: App) -> None:
    _, shown = drawn(app)
    assert {i.kind for i in shown.hidden} == {STAGING}
    assert {i.standing for i in shown.members} == {"stale"}
    assert "staging/int_sessions" in shown.stale
    assert "device/devices" in shown.stale
    assert "sessions" not in shown.stale


def test_only_the_first_nodes_of_other_concepts_are_drawn(fresh: App) -> None:
    upper = Draft(Ref("", "person", Kind.CONCEPT), Concept())
    body = DerivedIndex(parent="device.devices", label_model="device.type", labels=("A",))
    save(
        fresh,
        upper,
        draft(Kind.DERIVED_INDEX, "people", body, concept="person"),
        Draft(Ref("person", "visits", Kind.RULE), LONG.body.model_copy(update={"index": "people"})),
    )
    graph, lower = drawn(fresh, "device")
    assert lower.items["person/people"].standing == "stale"
    assert "person/visits" not in lower.items
    assert not lower.holds(lower.items["person/people"])

    _, higher = drawn(fresh, "person")
    assert {i.name for i in higher.members} == {"person/people", "person/visits"}
    assert {"device/type", "device/devices"} <= set(higher.items)
    assert "device/long" not in higher.items
    assert graph.concepts == ["device", "person"]

    everything = picture(fresh, graph)
    assert {"device/long", "person/visits"} <= set(everything.items)
    assert len(everything.members) == 11


def test_broken_definitions_are_drawn_with_the_reason(fresh: App) -> None:
    insert_by_hand(fresh, "rule", "unsound", {"index": "nowhere", "sql": "SELECT 1"})
    _, shown = drawn(fresh)
    item = shown.items["device/unsound"]
    assert item.standing == "broken"
    assert "nowhere" in item.why
    assert "1 broken" in count_in_words(shown.members)


def test_a_missing_source_table_is_reported(fresh: App) -> None:
    from tests.graph.small import Small

    Small(fresh.settings, fresh.instance).execute("DROP TABLE source.faculty_data CASCADE")
    graph = load_graph(fresh)
    assert graph.items["sessions"].standing == "source"
    Small(fresh.settings, fresh.instance).execute("DELETE FROM tippers.source_token")
    item = load_graph(fresh).items["source/faculty_data"]
    assert item.standing == "failed"
    assert item.why == "There is no table source.faculty_data."


def test_counted_in_words() -> None:
    assert count_in_words([]) == "No definitions yet."


# --- edges ---------------------------------------------------------------------------------------
def test_edges_connect_only_kinds_that_fit() -> None:
    assert EDGES[SOURCE] == (Kind.INDEX,)
    assert EDGES[Kind.RULE] == (Kind.LABELLING_FUNCTION,)
    assert EDGES[Kind.LABELLING_FUNCTION] == (Kind.LABEL_MODEL,)
    assert EDGES[Kind.FEATURE] == (Kind.CLASSIFIER,)
    for child, parents in PARENT_FIELD.items():
        for parent in parents:
            assert child in EDGES[parent], (parent, child)


def test_an_edge_adds_a_function_to_a_label_model(fresh: App) -> None:
    save(fresh, function("new_b", "hours < 2", "B"))
    graph = load_graph(fresh)
    change = change_of_edge(graph, "device/new_b", "device/type")
    assert change.in_words == "Adds new_b to the labelling functions of device.type."
    saved = apply_change(fresh, change)
    assert saved.definition.body.labelling_functions[-1] == "new_b"
    assert saved.definition.updated_by == "ada"
    assert load_graph(fresh).items["device/type"].reads[-1] == "device/new_b"


def test_an_edge_replaces_the_parent(fresh: App) -> None:
    save(fresh, rule("other", LONG.body.sql))
    change = change_of_edge(load_graph(fresh), "device/other", "device/is_a")
    assert change.in_words == "Changes the rule of device.is_a from long to other."
    assert apply_change(fresh, change).definition.body.rule == "other"


@pytest.mark.parametrize(
    ("parent", "child", "why"),
    [
        ("device/long", "device/is_a", "already reads long"),
        (
            "device/long",
            "device/type",
            r"device.long \(rule\) cannot be connected to device.type \(label model\)",
        ),
        (
            "sessions",
            "device/devices",
            r"sessions \(source table\) cannot be connected to device.devices \(index\)",
        ),
        ("device/long", "sessions", "No edge can be drawn there"),
        ("device/long", "device/nothing", "No edge can be drawn there"),
    ],
)
def test_impossible_edges_are_refused(fresh: App, parent: str, child: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        change_of_edge(load_graph(fresh), parent, child)


def test_an_edge_does_not_overwrite_a_newer_version(fresh: App) -> None:
    save(fresh, rule("other", LONG.body.sql))
    change = change_of_edge(load_graph(fresh), "device/other", "device/is_a")
    save(fresh, function("is_a", "hours > 5", "A"))
    with pytest.raises(Conflict):
        apply_change(fresh, change)
    with pytest.raises(NotAllowed):
        apply_change(by(fresh, Role.VIEWER), change)


# --- runs ----------------------------------------------------------------------------------------
@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[str], str]]:
    """What the deployment was asked to compute, and by whom."""
    found: list[tuple[set[str], str]] = []

    def start_run(settings: object, names: Iterable[str], *, by: str, tags: object) -> str:
        found.append((set(names), by))
        return "a-run"

    monkeypatch.setattr(start, "start_run", start_run)
    return found


def test_materialising_includes_stale_ancestors(app: App, asked: list) -> None:
    graph = load_graph(app)
    assert materialise(app, graph, ["device/devices"], stale_only=True) == "a-run"
    names, who = asked[0]
    assert {"device/devices", "staging/int_sessions"} <= names
    assert not names & {"device/long", "sessions"}
    assert who == "ada"


def test_fresh_assets_are_computed_only_when_chosen(fresh: App, asked: list) -> None:
    graph = load_graph(fresh)
    assert materialise(fresh, graph, ["device/type"], stale_only=True) is None
    assert materialise(fresh, graph, ["device/type"], stale_only=False) == "a-run"
    assert asked == [({"device/type"}, "ada")]
    assert materialise(fresh, graph, ["sessions"], stale_only=False) is None


def test_broken_assets_are_refused_when_chosen_and_skipped_otherwise(
    fresh: App, asked: list
) -> None:
    insert_by_hand(fresh, "rule", "unsound", {"index": "nowhere", "sql": "SELECT 1"})
    graph = load_graph(fresh)
    with pytest.raises(BadInput, match="nowhere"):
        materialise(fresh, graph, ["device/unsound"], stale_only=False)
    assert materialise(fresh, graph, ["device/unsound"], stale_only=True) is None
    assert asked == []


def test_without_a_deployment_it_says_what_to_do(app: App) -> None:
    with pytest.raises(TippersError, match="The deployment is not running") as told:
        materialise(app, load_graph(app), ["device/devices"], stale_only=True)
    assert "tippers up" in (told.value.hint or "")
    with pytest.raises(TippersError, match="The deployment is not running"):
        cancel(app, "a-run")


def test_viewers_cannot_start_or_stop_runs(app: App) -> None:
    viewer = by(app, Role.VIEWER)
    with pytest.raises(NotAllowed):
        materialise(viewer, load_graph(app), ["device/devices"], stale_only=True)
    with pytest.raises(NotAllowed):
        cancel(viewer, "a-run")


def test_a_run_shows_its_progress(fresh: App, asked: list) -> None:
    names = ["device/long", "device/is_a", "device/is_b"]
    run = create_run_for_test(
        fresh.instance,
        job_name="__ASSET_JOB",
        asset_selection=frozenset(dg.AssetKey(name.split("/")) for name in names),
        status=dg.DagsterRunStatus.STARTED,
        tags={start.BY_TAG: "bea"},
    )
    graph = load_graph(fresh)
    assert {graph.items[name].standing for name in names} == {"running"}
    _record(fresh, "device/long", run.run_id)
    graph = load_graph(fresh)
    assert graph.items["device/long"].standing == "fresh"
    (active,) = active_runs(fresh, graph)
    assert (active.done, len(active.names), active.by) == (1, 3, "bea")
    name = f"Run {run.run_id[:8]}"
    assert active.in_words == f"{name}: 3 assets, queued, started by bea."
    started = replace(active, queued=False)
    assert started.in_words == f"{name}: 1 of 3 assets computed, started by bea."
    # What is under way is not asked for again.
    assert materialise(fresh, graph, names, stale_only=False) is None


def _record(app: App, name: str, run_id: str) -> None:
    from tests.graph.small import Small

    Small(app.settings, app.instance).execute(
        "UPDATE tippers.asset_state SET run_id = :run WHERE asset = :name", run=run_id, name=name
    )


# --- arranging -----------------------------------------------------------------------------------
def test_places_are_kept_for_everybody(fresh: App) -> None:
    _, shown = drawn(fresh)
    moved = {
        "device/long": (10.5, -3),
        "device/nothing": (1, 1),
        "device/is_a": (math.nan, 1),
        "device/is_b": (1,),
    }
    save_places(fresh, shown, moved)
    save_places(fresh, shown, {"device/type": [7, 8]})
    _, again = drawn(by(fresh, Role.VIEWER))
    assert again.places == {"device/long": (10.5, -3.0), "device/type": (7.0, 8.0)}
    assert drawn(fresh, "")[1].places == {}

    reset_layout(fresh, "device")
    assert drawn(fresh)[1].places == {}


def test_viewers_cannot_arrange_the_canvas(fresh: App) -> None:
    viewer = by(fresh, Role.VIEWER)
    _, shown = drawn(viewer)
    with pytest.raises(NotAllowed):
        save_places(viewer, shown, {"device/long": (1, 1)})
    with pytest.raises(NotAllowed):
        reset_layout(viewer, "device")


# --- one node ------------------------------------------------------------------------------------
def test_details_of_every_kind_of_node(fresh: App) -> None:
    graph = load_graph(fresh)
    found = {name: details(fresh, graph, name) for name in graph.items}
    rule_ = found["device/long"]
    assert rule_ is not None
    assert rule_.language == "sql"
    assert rule_.text == LONG.body.sql
    assert rule_.reads == ("device/devices", "staging/int_sessions")
    assert set(rule_.read_by) == {"device/is_a", "device/is_b", "device/also_b"}
    assert rule_.creates == (Kind.LABELLING_FUNCTION,)
    function_ = found["device/is_a"]
    assert function_ is not None
    assert function_.language == "yaml"
    assert "hours > 3" in function_.text
    staging = found["staging/int_sessions"]
    assert staging is not None
    assert "select" in staging.text.lower()
    assert staging.definition is None
    source = found["sessions"]
    assert source is not None
    assert source.creates == (Kind.INDEX,)
    assert details(fresh, graph, "device/nothing") is None


def test_votes_are_listed_with_the_most_common_first(fresh: App) -> None:
    from tests.graph.small import Small

    Small(fresh.settings, fresh.instance).execute(
        "UPDATE tippers.asset_state SET rows = 7, details = details || CAST(:d AS jsonb) "
        "WHERE asset = 'device/type'",
        d='{"classes": {"tie": 0, "A": 2, "abstain": 1, "B": 4}, "coverage": 0.004}',
    )
    graph = load_graph(fresh)
    found = details(fresh, graph, "device/type")
    assert found is not None
    assert list(found.votes.items()) == [("B", 4), ("A", 2), ("abstain", 1)]
    assert found.item.facts == "covers under 1 %"
    tree = value_tree(graph, "device")
    assert [(b.label, b.entities, b.by) for b in tree.below] == [("A", 2, "type"), ("B", 4, "type")]


# --- values --------------------------------------------------------------------------------------
def test_the_tree_of_values_goes_through_concepts(fresh: App) -> None:
    values = (ConceptValue(name="X"), ConceptValue(name="X_ONE", parent="X"))
    save(
        fresh,
        Draft(Ref("", "deeper", Kind.CONCEPT), Concept(values=values, refines="device.A")),
        replace(ALL[0], description="what it is"),
    )
    graph = load_graph(fresh)
    for concept in ("device", "deeper"):
        top = value_tree(graph, concept)
        assert (top.concept, top.label, top.description) == ("device", "", "what it is")
        a, b = top.below
        assert (a.label, a.entities) == ("A", None)
        assert b.below == ()
        (deeper,) = a.below
        assert (deeper.concept, deeper.label) == ("deeper", "")
        (x,) = deeper.below
        assert [branch.label for branch in x.below] == ["X_ONE"]
