"""Many people at once: one who waits long holds up nobody, and connections are few."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest
from playwright.sync_api import Page, expect

from tests.streamlit_app.journeys import hands
from tests.streamlit_app.journeys.conftest import Console
from tippers_dagster.catalog.kinds import Concept, ConceptValue, Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.graph.save import save_definition
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR, start_embedded
from tippers_dagster.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracked_log")]

MANY = 16
NEVER_ENDING = """SELECT a.mac_address FROM int_sessions a, int_sessions b, int_sessions c
GROUP BY a.mac_address HAVING sum(a.seconds::float8 + b.seconds + c.seconds) > 0"""


@pytest.fixture
def patience(settings: Settings) -> Settings:
    """A concept, so that there can be an index."""
    values = (ConceptValue(name="LITTLE"), ConceptValue(name="MUCH"))
    draft = Draft(Ref("", "patience", Kind.CONCEPT), Concept(values=values))
    save_definition(settings, draft, by="eve")
    return settings


def test_one_who_waits_holds_up_nobody(
    open_page: Callable[[str], Page], patience: Settings
) -> None:
    other = open_page("tracking")
    slow = open_page("definitions?new=index&concept=patience")
    hands.fill(slow, "Name", "devices")
    hands.write(slow, "SQL", NEVER_ENDING)
    slow.get_by_role("button", name="Preview", exact=True).click()
    busy = slow.locator("[data-testid=stApp][data-test-script-state=running]")
    expect(busy).to_have_count(1)
    other.get_by_role("link", name="Runs").first.click()
    expect(other.get_by_text(re.compile("^All runs: "))).to_be_visible()
    expect(busy).to_have_count(1, timeout=1_000)
    expect(slow.get_by_text(re.compile("took longer|timeout|cancel", re.I)).first).to_be_visible(
        timeout=hands.SETTLED_MS
    )


def test_many_read_with_few_connections(
    open_page: Callable[[str], Page], console: Console, settings: Settings
) -> None:
    # Tabs of one browser, each a visitor to Streamlit: scripts are fetched once, as by a person.
    first = open_page("tracking")
    pages = [first, *(first.context.new_page() for _ in range(MANY - 1))]
    for page in pages[1:]:
        console.listen(page)
        page.goto(first.url)
    for page in pages:
        expect(page.get_by_text("Find a space")).to_be_visible()
    server = start_embedded(settings.home_path)
    with closing(psycopg2.connect(server.url("postgres", ADMINISTRATOR))) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = 'tippers' AND application_name = 'tippers app'"
        )
        (count,) = cursor.fetchone() or (0,)
    assert 0 < count < MANY
