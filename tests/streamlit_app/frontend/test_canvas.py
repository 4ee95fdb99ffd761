"""The canvas in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.stack.waiting import until
from tests.streamlit_app.frontend.served import Open, pages, served

SCRIPT = """
import json
import streamlit as st
from streamlit_app.ui.canvas import Edge, Node, canvas

LINKS = {"index": ["rule"], "rule": ["labelling_function"], "labelling_function": ["label_model"]}


def small():
    ran = st.session_state.get("ran", 0)
    nodes = [
        Node("d/index", "index", "index", "fresh", facts=f"{ran:,} rows"),
        Node("d/one", "one", "rule", "running" if ran % 2 else "stale", why="It changed."),
        Node("d/two", "two", "rule", "fresh"),
        Node("d/vote", "<b>vote</b>", "labelling_function", "failed", why="It <b>failed</b>."),
        Node("d/model", "model", "label_model", "fresh", elsewhere="e"),
    ]
    places = st.session_state.setdefault("places", {})
    nodes = [Node(**{**vars(n), "place": places.get(n.name)}) for n in nodes]
    edges = [Edge("d/index", "d/one"), Edge("d/index", "d/two"), Edge("d/one", "d/vote"),
        Edge("d/vote", "d/model"), Edge("d/index", "d/model", implied=True)]
    return nodes, edges


def large():
    nodes, edges = [], []
    for level in range(10):
        here = f"level{level}"
        def add(name, kind, *parents):
            nodes.append(Node(f"{here}/{name}", name, kind, "stale", "Never computed.",
                "1,234 rows", region=here))
            edges.extend(Edge(parent, f"{here}/{name}") for parent in parents)
        add("things", "index", *([f"level{level - 1}/model"] if level else []))
        for i in range(14):
            add(f"rule_{i}", "rule", f"{here}/things")
            add(f"function_{i}", "labelling_function", f"{here}/rule_{i}")
        add("model", "label_model", *(f"{here}/function_{i}" for i in range(14)))
    return nodes, edges


st.set_page_config(layout="wide")
st.title("A canvas")
big = "large" in st.query_params


@st.fragment(run_every=None if big else 1)
def live():
    st.session_state.ran = st.session_state.get("ran", 0) + 1
    nodes, edges = large() if big else small()
    done = canvas("Pipeline", nodes, edges, key="canvas", links=LINKS,
        palette=["index", "rule", "labelling_function"], may_edit="viewer" not in st.query_params,
        layout=st.session_state.get("layout", 0), opened=st.session_state.get("opened", ""))
    did = {k: v for k, v in vars(done).items() if v}
    if did:
        st.session_state.did = json.dumps(did)
        st.session_state.opened = done.opened or st.session_state.get("opened", "")
        st.session_state.places.update({k: tuple(v) for k, v in (done.moved or {}).items()})
        if done.reset:
            st.session_state.places.clear()
            st.session_state.layout = st.session_state.get("layout", 0) + 1
    st.text("did: " + st.session_state.get("did", "nothing"))
    st.text(f"ran: {st.session_state.ran}")


live()
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("canvas"), SCRIPT) as url:
        yield url


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Open]:
    complaints: list[str] = []
    with pages(browser, url, complaints) as open_page:
        yield open_page
    assert complaints == []


def node(page: Page, name: str) -> Locator:
    return page.locator(f'.react-flow__node[data-id="{name}"]')


def did(page: Page, **wanted: Any) -> None:
    expect(page.get_by_text("did: ")).to_have_text(f"did: {json.dumps(wanted)}")


def viewport(page: Page) -> str:
    return page.locator(".react-flow__viewport").get_attribute("style") or ""


def drag(page: Page, start: Locator, to: tuple[float, float]) -> None:
    box = start.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(to[0] - 15, to[1] - 15, steps=5)
    page.mouse.move(*to, steps=5)
    page.mouse.up()


def middle(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def handle(page: Page, name: str, side: str) -> Locator:
    return node(page, name).locator(f".react-flow__handle-{side}")


def test_nodes_show_their_status_and_change_without_moving_the_view(opened: Open) -> None:
    page = opened()
    expect(node(page, "d/vote")).to_contain_text("failed")
    expect(node(page, "d/vote")).to_contain_text("<b>vote</b>")
    expect(node(page, "d/vote").locator(".box")).to_have_attribute("title", "It <b>failed</b>.")
    expect(node(page, "d/model")).to_contain_text("e · Label model")
    expect(node(page, "d/vote")).to_have_attribute(
        "aria-label", "Labelling function, <b>vote</b>, failed, It <b>failed</b>."
    )
    x = [middle(node(page, f"d/{name}"))[0] for name in ("index", "one", "vote", "model")]
    assert x == sorted(x)

    page.mouse.move(*middle(page.locator(".react-flow__pane")))
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(300)
    before = viewport(page)
    expect(node(page, "d/one")).to_contain_text("running")
    expect(node(page, "d/one")).to_contain_text("stale")
    assert viewport(page) == before


def test_nodes_open_by_mouse_and_keyboard(opened: Open) -> None:
    page = opened()
    node(page, "d/two").click()
    did(page, opened="d/two")
    expect(page.locator(".react-flow__edge.hot")).to_have_count(1)
    node(page, "d/vote").focus()
    page.keyboard.press("Enter")
    did(page, opened="d/vote")


def test_moved_nodes_stay_until_the_layout_is_reset(opened: Open) -> None:
    page = opened()
    expect(page.get_by_text("did: ")).to_be_visible()
    x, y = middle(node(page, "d/two"))
    drag(page, node(page, "d/two").locator(".name"), (x + 60, y + 70))
    expect(page.get_by_text('did: {"moved"')).to_be_visible()
    told = json.loads(page.get_by_text("did: ").inner_text().removeprefix("did: "))
    assert list(told["moved"]) == ["d/two"]
    after = middle(node(page, "d/two"))
    assert after[1] > y + 40
    page.wait_for_timeout(2500)
    assert middle(node(page, "d/two")) == after

    page.get_by_role("button", name="Reset the layout").click()
    did(page, reset=True)
    until(lambda: middle(node(page, "d/two"))[1] < after[1], 20)


def test_edges_connect_only_kinds_that_fit(opened: Open) -> None:
    page = opened()
    drag(page, handle(page, "d/two", "right"), middle(handle(page, "d/vote", "left")))
    did(page, connected=["d/two", "d/vote"])
    drag(page, handle(page, "d/index", "right"), middle(handle(page, "d/model", "left")))
    page.wait_for_timeout(600)
    did(page, connected=["d/two", "d/vote"])
    assert handle(page, "d/model", "right").evaluate("e => getComputedStyle(e).opacity") == "0"


def test_an_edge_dropped_on_an_empty_spot_creates_a_child(opened: Open) -> None:
    page = opened()
    pane = page.locator(".react-flow__pane").bounding_box()
    assert pane is not None
    open_place = (pane["x"] + pane["width"] / 2, pane["y"] + pane["height"] - 90)
    drag(page, handle(page, "d/one", "right"), open_place)
    menu = page.get_by_role("menu", name="New definition from one")
    expect(menu.get_by_role("menuitem")).to_have_text(["labelling function"])
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    drag(page, handle(page, "d/one", "right"), open_place)
    page.keyboard.press("Enter")
    did(page, created=["labelling_function", "d/one"])


def test_the_palette_creates_a_child_of_the_node_it_is_dropped_on(opened: Open) -> None:
    page = opened()
    tools = page.get_by_role("toolbar", name="New definition")
    rule = tools.get_by_role("button", name="rule")
    rule.drag_to(node(page, "d/index"))
    did(page, created=["rule", "d/index"])
    rule.drag_to(node(page, "d/model"))
    did(page, created=["rule", ""])
    tools.get_by_role("button", name="index").click()
    did(page, created=["index", ""])


def test_search_marks_and_counts(opened: Open) -> None:
    page = opened()
    page.get_by_label("Search the canvas").fill("rule")
    expect(page.get_by_text("2 found")).to_be_visible()
    expect(page.locator(".box.found")).to_have_count(2)
    expect(page.locator(".box.dim")).to_have_count(3)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".box.dim")).to_have_count(0)


def test_selected_nodes_are_materialised(opened: Open) -> None:
    page = opened()
    node(page, "d/two").click()
    node(page, "d/vote").click(modifiers=["Control"])
    bar = page.get_by_role("toolbar", name="Selected nodes")
    expect(bar).to_contain_text("2 selected")
    bar.get_by_role("button", name="Materialise").click()
    did(page, materialise=["d/two", "d/vote"])
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_have_count(0)


def test_viewers_can_only_look(opened: Open) -> None:
    page = opened(query="?viewer=yes")
    expect(node(page, "d/one")).to_be_visible()
    expect(page.get_by_role("toolbar", name="New definition")).to_have_count(0)
    expect(page.get_by_role("button", name="Reset the layout")).to_have_count(0)
    x, y = middle(node(page, "d/two"))
    drag(page, node(page, "d/two").locator(".name"), (x + 60, y + 70))
    page.wait_for_timeout(1200)
    assert "moved" not in page.get_by_text("did: ").inner_text()


def test_three_hundred_nodes_are_there_at_once(opened: Open, tmp_path: Path) -> None:
    page = opened(query="?large=yes")
    expect(page.locator(".react-flow__node")).to_have_count(300)
    expect(page.locator(".react-flow__edge")).to_have_count(429)
    boxes = page.locator(".react-flow__node").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(r => [r.x, r.y, r.right, r.bottom])"
    )
    boxes.sort()
    for at, (left, top, right, bottom) in enumerate(boxes):
        for x, y, _, end in boxes[at + 1 :]:
            if x >= right:
                break
            assert end <= top or y >= bottom, (left, top, x, y)
    work = page.evaluate("performance.now()")
    assert work > 0
