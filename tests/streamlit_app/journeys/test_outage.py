"""The database goes away while people look at a page, and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from playwright.sync_api import Page, expect

from tests.streamlit_app.chromium import ANSWER_MS
from tests.streamlit_app.journeys.conftest import Console, Deployed
from tippers_dagster.local.postgres import DATABASES, start_embedded
from tippers_dagster.settings import Settings

pytestmark = pytest.mark.slow

AWAY = re.compile("The database does not answer at the moment")
PAGES = {
    "": re.compile("Tracked|tracked"),
    "occupancy": re.compile("Peak, devices|Nothing of this space|tracked"),
    "pipeline": re.compile("Concept|There is no concept yet"),
    "definitions": re.compile("Definitions"),
    "runs": re.compile("runs|Runs"),
}


STREAMLITS_OWN = ["Bad delta path index", "Cannot send rerun backMessage when disconnected"]
"""What Streamlit 1.67 says when a part that runs again by itself is faster than its page: on a
machine with too much to do the page then stays as it is until somebody loads it again."""


def say_so(page: Page) -> None:
    """The page tells of the outage; at the latest when it is loaded again."""
    try:
        expect(page.get_by_text(AWAY).first).to_be_visible(timeout=ANSWER_MS / 3)
    except AssertionError:
        page.reload()
        expect(page.get_by_text(AWAY).first).to_be_visible()


@contextmanager
def away(settings: Settings) -> Iterator[None]:
    """Nobody reaches the databases; who is connected is cut off."""
    server = start_embedded(settings.home_path)
    with closing(psycopg2.connect(server.url("postgres"))) as connection:
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


@pytest.mark.xfail(
    strict=False,
    reason="with other work on the machine a page now and then does not tell of the outage; open",
)
def test_pages_say_so_and_come_back_by_themselves(
    open_page: Callable[[str], Page], deployed: Deployed, settings: Settings, console: Console
) -> None:
    console.expected += ["Retrying failed database connection", "Background on this error"]
    console.expected += STREAMLITS_OWN
    pages = {path: open_page(path) for path in PAGES}
    for path, page in pages.items():
        expect(page.get_by_text(PAGES[path]).first).to_be_visible()
    with away(settings):
        for path, page in pages.items():
            page.goto(f"{deployed.app}/{path}")
            say_so(page)
    for path, page in pages.items():
        expect(page.get_by_text(AWAY)).to_have_count(0)
        expect(page.get_by_text(PAGES[path]).first).to_be_visible()
