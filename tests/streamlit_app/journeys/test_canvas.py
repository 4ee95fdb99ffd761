"""An analyst at the canvas: what is stale is computed, a run stopped, a definition drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.deployment import Deployed
from tests.stack.waiting import until
from tests.streamlit_app.journeys import hands
from tippers_dagster.automation.sensor import SENSOR
from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import Concept, ConceptValue, Index, Kind, Rule
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.graph.save import save_definition
from tippers_dagster.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracked_log")]

INDEX_SQL = "SELECT DISTINCT mac_address FROM int_sessions"
RULE_SQL = """SELECT mac_address, count(*) AS sessions FROM int_sessions
WHERE mac_address IN (:index_values) GROUP BY mac_address"""
STATE = """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
... on Sensor { sensorState { id status } } } }"""
STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
START = (
    "mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"
)


@pytest.fixture
def by_hand(deployed: Deployed) -> Iterator[None]:
    """Automation of definitions is switched off, as one does on Dagster's page."""
    sensor = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "tippers",
        "sensorName": SENSOR,
    }

    def state() -> dict[str, str]:
        found: dict[str, str] = deployed.graphql(STATE, sensor=sensor)["sensorOrError"]
        return found["sensorState"]

    deployed.graphql(STOP, id=state()["id"])
    until(lambda: state()["status"] == "STOPPED", 30)
    yield
    deployed.graphql(START, sensor=sensor)


@pytest.fixture
def size(settings: Settings, by_hand: None) -> Settings:
    """A concept with an index and a rule that nothing has computed."""
    values = (ConceptValue(name="MANY"), ConceptValue(name="FEW"))
    concept = Draft(Ref("", "size", Kind.CONCEPT), Concept(values=values))
    index = Draft(Ref("size", "devices", Kind.INDEX), Index(sql=INDEX_SQL))
    rule = Draft(Ref("size", "counts", Kind.RULE), Rule(index="devices", sql=RULE_SQL))
    store.save_all(settings, [concept, index], by="eve")
    save_definition(settings, rule, by="eve")  # which loads all of them
    return settings


def node(page: Page, name: str) -> Locator:
    """A node of the canvas."""
    return page.locator(f'.react-flow__node[data-id="size/{name}"]')


def top(page: Page) -> float:
    """How far below the window's upper edge the canvas begins."""
    box = page.locator(".react-flow").bounding_box()
    assert box is not None
    return box["y"]


def drag_into_the_open(page: Page, name: str) -> None:
    """Draw an edge from a node to where nothing is."""
    dot = node(page, name).locator(".react-flow__handle-right").bounding_box()
    pane = page.locator(".react-flow__pane").bounding_box()
    assert dot is not None
    assert pane is not None
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    page.mouse.down()
    x, y = pane["x"] + pane["width"] / 2, pane["y"] + pane["height"] - 90
    page.mouse.move(x - 15, y - 15, steps=5)
    page.mouse.move(x, y, steps=5)
    page.mouse.up()


def test_an_edge_makes_a_definition_and_what_is_stale_is_computed(
    open_page: Callable[[str], Page], deployed: Deployed, size: Settings
) -> None:
    page = open_page("pipeline?concept=size")
    expect(node(page, "counts")).to_contain_text("stale")
    at_rest = top(page)
    page.get_by_role("button", name=re.compile("^Materialise stale assets")).click()
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    expect(cancel).to_be_visible()
    assert top(page) == at_rest  # a canvas that moves under the hand is not to be drawn on
    cancel.click()
    expect(page.get_by_text(re.compile("is stopping"))).to_be_visible()
    expect(cancel).to_have_count(0, timeout=hands.SETTLED_MS)
    expect(node(page, "counts")).to_contain_text("stale")

    page.get_by_role("button", name=re.compile("^Materialise stale assets")).click()
    for name in ("devices", "counts"):
        expect(node(page, name)).to_contain_text("up to date", timeout=2 * hands.SETTLED_MS)
        expect(node(page, name)).to_contain_text("rows")
    expect(page.get_by_text("Nothing is running.")).to_be_visible(timeout=hands.SETTLED_MS)
    expect(page.get_by_role("button", name="Nothing is stale")).to_be_disabled()
    assert top(page) == at_rest

    drag_into_the_open(page, "counts")
    menu = page.get_by_role("menu", name="New definition from counts")
    menu.get_by_role("menuitem", name="labelling function").click()
    expect(page.locator("h1")).to_have_text("New labelling function")
    hands.fill(page, "Name", "many")
    hands.choose(page, "Labels it may vote for", "MANY")
    hands.press(page, "Python")
    hands.write(
        page,
        "Python",
        "def labeling_function(row):\n"
        "    if row['sessions'] > 20:\n"
        "        return MANY\n"
        "    return ABSTAIN\n",
    )
    hands.save(page)
    page.goto(f"{deployed.app}/pipeline?concept=size")
    expect(node(page, "many")).to_be_visible()
