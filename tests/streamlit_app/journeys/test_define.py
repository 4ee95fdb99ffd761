"""Analysts at work: from nothing to labels, two at one rule, what is refused where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.deployment import Deployed
from tests.stack.waiting import until
from tests.streamlit_app.journeys import hands
from tippers_dagster.automation.state import NEVER, load_states
from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import (
    Concept,
    ConceptValue,
    Index,
    Kind,
    LabellingFunction,
    Rule,
)
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.graph.save import save_definition
from tippers_dagster.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracked_log")]

Open = Callable[[str], Page]

INDEX_SQL = "SELECT DISTINCT mac_address FROM int_sessions"
RULE_SQL = """SELECT mac_address, avg(seconds) / 3600.0 AS hours, count(*) AS sessions,
    count(DISTINCT local_date) AS days
FROM int_sessions WHERE mac_address IN (:index_values) GROUP BY mac_address"""
FUNCTIONS = {
    "by_hours": ("hours", 1),
    "by_sessions": ("sessions", 10),
    "by_days": ("days", 4),
}


def python(column: str, limit: float) -> str:
    return (
        "def labeling_function(row):\n"
        f"    if row['{column}'] >= {limit}:\n"
        "        return LONG\n"
        "    return SHORT\n"
    )


def labelling_function(name: str) -> Draft:
    body = LabellingFunction(
        rule="lengths", labels=("SHORT", "LONG"), python=python(*FUNCTIONS[name])
    )
    return Draft(Ref("stay", name, Kind.LABELLING_FUNCTION), body)


def test_an_analyst_goes_from_nothing_to_a_label_model(
    open_page: Open, deployed: Deployed, settings: Settings
) -> None:
    page = open_page("definitions?new=concept")

    def begin(kind: str, name: str, parent: str = "") -> None:
        page.goto(f"{deployed.app}/definitions?new={kind}&concept=stay&parent={parent}")
        page.locator("h1").first.wait_for()
        hands.fill(page, "Name", name)

    hands.fill(page, "Name", "stay")
    for number, label in enumerate(("SHORT", "LONG"), 1):
        hands.press(page, "Add a label")
        hands.fill(page, f"Label {number}", label)
    hands.save(page)

    begin("index", "devices")
    hands.write(page, "SQL", INDEX_SQL)
    hands.press(page, "Preview")
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    hands.save(page)

    begin("rule", "lengths", "stay.devices")
    hands.write(page, "SQL", RULE_SQL)
    hands.save(page)

    first, *others = FUNCTIONS
    store.save_all(settings, [labelling_function(name) for name in others], by="ada")
    begin("labelling_function", first, "stay.lengths")
    hands.choose(page, "Labels it may vote for", "SHORT", "LONG")
    hands.press(page, "Python")
    hands.write(page, "Python", python(*FUNCTIONS[first]))
    hands.save(page)

    begin("label_model", "kind", "stay.devices")
    hands.choose(page, "Labelling functions", *FUNCTIONS)
    hands.save(page)
    hands.computed(page)

    page.goto(f"{deployed.app}/labels?model=stay.kind&section=Label+by+hand")
    expect(page.get_by_text(re.compile("^posterior SHORT"))).to_be_visible(timeout=120_000)
    page.get_by_role("button", name=re.compile("^LONG")).first.click()
    expect(page.get_by_text(re.compile(r"is LONG\."))).to_be_visible()
    hands.press(page, "Undo")
    expect(page.get_by_text(re.compile(r"^0 gold labels for stay"))).to_be_visible()


@pytest.fixture
def visits(settings: Settings) -> Settings:
    """A rule of another concept, saved by somebody else, and computed.

    Only then the database can say of SQL that reads its index whether there is such a column.
    """
    values = (ConceptValue(name="OFTEN"), ConceptValue(name="SELDOM"))
    concept = Draft(Ref("", "visits", Kind.CONCEPT), Concept(values=values))
    index = Draft(Ref("visits", "devices", Kind.INDEX), Index(sql=INDEX_SQL))
    rule = Draft(Ref("visits", "lengths", Kind.RULE), Rule(index="devices", sql=RULE_SQL))
    if rule.ref not in store.load_catalog(settings).definitions:
        store.save_all(settings, [concept, index], by="eve")
        save_definition(settings, rule, by="eve")  # which loads all of them
    until(lambda: load_states(settings).get("visits/lengths", NEVER).version is not None, 120)
    return settings


def test_two_people_edit_the_same_rule_and_nothing_is_lost(
    open_page: Open, visits: Settings
) -> None:
    mine, theirs = (open_page("definitions?open=visits.lengths") for _ in range(2))
    for page, what in ((theirs, "Theirs."), (mine, "Mine.")):
        hands.fill(page, "Description", what)
    hands.save(theirs)
    hands.press(mine, "Save")
    expect(
        mine.get_by_text(re.compile("Your changes are not saved, but still here"))
    ).to_be_visible()
    expect(mine.get_by_label("Description", exact=True)).to_have_value("Mine.")
    assert store.get(visits, Ref("visits", "lengths", Kind.RULE)).description == "Theirs."


def test_wrong_sql_and_an_unsafe_function_are_refused_where_they_stand(
    open_page: Open, visits: Settings
) -> None:
    page = open_page("definitions?open=visits.lengths")
    hands.write(page, "SQL", RULE_SQL.replace("avg(seconds)", "avg(secnds)"))
    hands.press(page, "Save")
    mark = page.locator(".cm-lint-marker-error")
    expect(mark).to_have_count(1)
    before = store.get(visits, Ref("visits", "lengths", Kind.RULE))
    assert isinstance(before.body, Rule)
    assert "secnds" not in before.body.sql

    page = open_page("definitions?new=labelling_function&concept=visits&parent=visits.lengths")
    hands.fill(page, "Name", "unsafe")
    hands.choose(page, "Labels it may vote for", "OFTEN")
    hands.press(page, "Python")
    hands.write(
        page,
        "Python",
        "import os\n\ndef labeling_function(row):\n    os.system('id')\n    return OFTEN\n",
    )
    hands.press(page, "Validate")
    expect(page.locator(".cm-lint-marker-error")).not_to_have_count(0)
    hands.press(page, "Save")
    assert (
        Ref("visits", "unsafe", Kind.LABELLING_FUNCTION)
        not in store.load_catalog(visits).definitions
    )
