"""The database becomes unavailable while people look at a page, and is available again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from playwright.sync_api import Page, expect

from tests.streamlit_app.journeys.conftest import Console, Deployed
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR, DATABASES, start_embedded
from tippers_dagster.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.outage]

UNAVAILABLE = re.compile("The database is unavailable")
PAGES = {
    "": "Overview",
    "occupancy": "",  # the title is the space's name
    "pipeline": "Pipeline",
    "definitions": "Definitions",
    "labels": "Labels",
    "models": "Models",
    "forecasts": "Forecasts",
    "calendar": "Academic calendar",
    "people": "People counts",
    "tracking": "Datasets and tracking",
    "connections": "Connections",
    "runs": "Runs",
}
"""Every page that reads a database as soon as it is opened, and its title."""


@contextmanager
def away(settings: Settings) -> Iterator[None]:
    """Nobody reaches the databases; who is connected is cut off."""
    server = start_embedded(settings.home_path)
    with closing(psycopg2.connect(server.url("postgres", ADMINISTRATOR))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:

            def allow(yes: bool) -> None:
                for database in DATABASES[:2]:
                    cursor.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {yes}')

            allow(False)
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s)",
                (list(DATABASES[:2]),),
            )
            try:
                yield
            finally:
                allow(True)


def test_pages_say_so_and_come_back_by_themselves(
    open_page: Callable[[str], Page], deployed: Deployed, settings: Settings, console: Console
) -> None:
    console.expected += ["Retrying failed database connection", "Background on this error"]
    # Tabs of one browser: scripts are fetched once, as by a person.
    first = open_page("")
    pages = {path: first.context.new_page() for path in PAGES}
    for path, page in pages.items():
        console.listen(page)
        page.goto(f"{deployed.app}/{path}")
    for path, page in pages.items():
        expect(page.get_by_role("heading", level=1)).to_contain_text(PAGES[path])
    with away(settings):
        for path, page in pages.items():
            page.goto(f"{deployed.app}/{path}")
            expect(page.get_by_text(UNAVAILABLE).first).to_be_visible()
    for path, page in pages.items():
        expect(page.get_by_text(UNAVAILABLE)).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_contain_text(PAGES[path])
        expect(page.locator("[data-stale=true]")).to_have_count(0)
