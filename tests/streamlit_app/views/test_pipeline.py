"""The pipeline page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from streamlit.testing.v1 import AppTest

from streamlit_app.services import runs
from streamlit_app.services.app import App
from streamlit_app.ui.canvas import CanvasAction
from streamlit_app.views import pipeline
from streamlit_app.views.pipeline import actions, drawing, panel
from tests.graph.small import ALL, LONG, function
from tests.sql.definitions import use_bare_project
from tests.streamlit_app.defined import insert_by_hand
from tests.streamlit_app.fresh import app, computed, defined_app, fresh
from tippers_dagster.access.model import Role
from tippers_dagster.catalog import store
from tippers_dagster.catalog.model import Draft
from tippers_dagster.graph import start
from tippers_dagster.settings import Settings

__all__ = ["app", "computed", "defined_app", "fresh"]

Open = Callable[..., AppTest]
Went = list[tuple[str, dict[str, str]]]


def page(name: str, role: int) -> None:
    from streamlit_app.services.app import App
    from streamlit_app.views import pipeline
    from tippers_dagster.access.model import Person, Role
    from tippers_dagster.settings import get_settings

    pipeline.render(App(get_settings(), Person(name, Role(role))))


@pytest.fixture
def opened() -> Open:
    """Opens the page, for an analyst unless another role is given."""

    def open_page(role: Role = Role.ANALYST, name: str = "ada", **query: str) -> AppTest:
        at = AppTest.from_function(page, args=(name, int(role)), default_timeout=60)
        at.query_params.update(query)
        at.run()
        assert not at.exception
        return at

    return open_page


@pytest.fixture
def canvas(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is drawn; ``done`` is what somebody does with it once."""
    seen: dict[str, Any] = {"done": CanvasAction()}

    def draw(label: str, nodes: list, edges: list, **options: Any) -> CanvasAction:
        seen.update(label=label, nodes={n.name: n for n in nodes}, edges=edges, **options)
        done, seen["done"] = seen["done"], CanvasAction()
        return done

    monkeypatch.setattr(drawing, "canvas", draw)
    return seen


@pytest.fixture
def went(monkeypatch: pytest.MonkeyPatch) -> Went:
    """The pages that people are taken to, with their query parameters."""
    found: Went = []
    for module in (pipeline, actions, panel):
        monkeypatch.setattr(module, "go", lambda path, **query: found.append((path, query)))
    return found


def texts(at: AppTest) -> str:
    """All texts of the page."""
    kinds = (at.title, at.markdown, at.caption, at.info, at.warning, at.error, at.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def click(at: AppTest, label: str) -> AppTest:
    next(b for b in at.button if b.label == label).click()
    at.run()
    assert not at.exception
    return at


def labels(at: AppTest) -> list[str]:
    return [b.label for b in at.button]


# --- what is there -------------------------------------------------------------------------------
def test_without_concepts_it_says_what_comes_first(
    stack: Settings,
    opened: Open,
    went: Went,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_bare_project(monkeypatch, tmp_path / "project")
    at = opened()
    assert "There is no concept yet" in texts(at)
    click(at, "Define a concept")
    assert went == [("definitions", {"new": "concept"})]
    assert labels(opened(Role.VIEWER)) == []


def test_the_canvas_gets_every_node_with_its_status(
    fresh: App, opened: Open, canvas: dict[str, Any]
) -> None:
    at = opened()
    assert "**device** · 9 definitions: 9 up to date." in texts(at)
    node = canvas["nodes"]["device/long"]
    assert (node.title, node.kind, node.standing) == ("long", "rule", "fresh")
    assert ("device/long", "device/is_a") in {(e.parent, e.child) for e in canvas["edges"]}
    assert canvas["links"]["rule"] == ["labelling_function"]
    assert canvas["may_edit"]
    assert "everything is up to date" in texts(at)
    assert "tippers up" in texts(at)  # nothing runs here

    opened(Role.VIEWER)
    assert not canvas["may_edit"]


def test_the_real_canvas_is_mounted(fresh: App, opened: Open) -> None:
    at = opened(concept="all")
    assert "**All concepts**" in texts(at)


def test_an_unknown_address_shows_the_first_concept(
    fresh: App, opened: Open, canvas: dict[str, Any]
) -> None:
    at = opened(concept="gone", view="Nowhere", open="device/gone")
    assert canvas["label"] == "Pipeline of device"
    assert "Needs attention" in texts(at)
    assert at.query_params["concept"] == "device"


def test_texts_of_an_opened_node_are_shown_verbatim(
    fresh: App, opened: Open, canvas: dict[str, Any]
) -> None:
    text = "<script>alert(1)</script> **bold** $x$ [a](http://b)"
    store.save_all(fresh.settings, [Draft(LONG.ref, LONG.body, description=text)], by="eve")
    at = opened(open="device/long")
    told = texts(at)
    assert "**device.long**" not in told  # names are escaped, too
    assert "device\\.long" in told
    assert "\\<script\\>alert\\(1\\)\\</script\\> \\*\\*bold\\*\\* \\$x\\$" in told
    assert LONG.body.sql in told
    assert not any("<script>" in m.value for m in at.markdown if m.allow_html)


def test_broken_definitions_show_the_reason(
    fresh: App, opened: Open, canvas: dict[str, Any]
) -> None:
    insert_by_hand(fresh, "rule", "unsound", {"index": "nowhere", "sql": "SELECT 1"})
    at = opened()
    assert "device.unsound: broken" in "\n".join(labels(at)).replace("\\", "")
    at = opened(open="device/unsound")
    assert "nowhere" in at.error[0].value


def test_the_list_has_the_nodes_of_the_canvas(fresh: App, opened: Open) -> None:
    at = opened(view="List")
    table = at.dataframe[0].value
    assert "device.long" in list(table["Name"])
    assert set(table["State"]) == {"up to date", "source"}


def test_the_values_are_a_tree(fresh: App, opened: Open) -> None:
    at = opened(view="Values")
    assert "- Concept **device** (this one)\n    - **A**" in texts(at)


# --- what can be done ----------------------------------------------------------------------------
def test_an_error_stays_until_it_is_dismissed(
    app: App, opened: Open, canvas: dict[str, Any]
) -> None:
    at = opened()
    stale = next(label for label in labels(at) if label.startswith("Materialise stale assets"))
    click(at, stale)
    at.run()
    assert "The deployment is not running" in at.error[0].value
    click(at, "Dismiss")
    assert not at.error


def test_viewers_can_only_look(app: App, opened: Open, canvas: dict[str, Any]) -> None:
    at = opened(Role.VIEWER, open="device/long")
    computing = [b for b in at.button if b.label.startswith("Materialise")]
    assert computing
    assert all(button.disabled for button in computing)
    canvas["done"] = CanvasAction(moved={"device/long": (1.0, 2.0)})
    at.run()
    at.run()
    assert "may not arrange the canvas" in at.error[0].value.replace("\\", "")


def test_moved_nodes_stay_in_place(fresh: App, opened: Open, canvas: dict[str, Any]) -> None:
    at = opened()
    canvas["done"] = CanvasAction(moved={"device/long": (10.0, 20.0)})
    at.run()
    at.run()
    assert canvas["nodes"]["device/long"].place == (10.0, 20.0)
    canvas["done"] = CanvasAction(reset=True)
    at.run()
    at.run()
    assert canvas["nodes"]["device/long"].place is None
    assert canvas["layout"] == 1


def test_a_new_definition_has_its_parent_filled_in(
    fresh: App, opened: Open, canvas: dict[str, Any], went: Went
) -> None:
    at = opened()
    canvas["done"] = CanvasAction(created=("labelling_function", "device/long"))
    at.run()
    query = {"new": "labelling_function", "concept": "device", "parent": "device.long"}
    assert went == [("definitions", query)]
    canvas["done"] = CanvasAction(created=("index", ""))
    at.run()
    assert went[1] == ("definitions", {"new": "index", "concept": "device", "parent": ""})


def test_an_edge_changes_a_definition_only_after_confirmation(
    fresh: App, opened: Open, canvas: dict[str, Any]
) -> None:
    store.save_all(fresh.settings, [function("new_b", "hours < 2", "B")], by="bob")
    at = opened()
    canvas["done"] = CanvasAction(connected=("device/new_b", "device/type"))
    at.run()
    assert "Adds new_b to the labelling functions" in texts(at).replace("\\", "")
    assert store.get(fresh.settings, ALL[6].ref).version == 1
    click(at, "Change")
    assert store.get(fresh.settings, ALL[6].ref).updated_by == "ada"

    canvas["done"] = CanvasAction(connected=("device/long", "device/type"))
    at.run()
    at.run()
    assert "cannot be connected to" in at.error[0].value


def test_chosen_nodes_are_computed(
    fresh: App, opened: Open, canvas: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        start, "start_run", lambda s, names, **options: asked.append(set(names)) or "12345678-9"
    )
    at = opened()
    canvas["done"] = CanvasAction(materialise=("device/type", "device/long"))
    at.run()
    assert asked == [{"device/type", "device/long"}]
    assert at.toast[0].value == "Run 12345678 started."


def test_a_run_is_shown_and_cancelled(
    fresh: App, opened: Open, canvas: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run_for_test(
        fresh.instance,
        job_name="__ASSET_JOB",
        asset_selection=frozenset({dg.AssetKey(["device", "type"])}),
        status=dg.DagsterRunStatus.STARTED,
    )
    stopped: list[str] = []
    monkeypatch.setattr(runs, "cancel", lambda app, run_id: stopped.append(run_id))
    at = opened(open="device/type")
    assert canvas["nodes"]["device/type"].standing == "running"
    click(at, "Cancel")
    assert stopped == [run.run_id]
