"""The running deployment, and headless Chromium in front of it.

Without Chromium the journeys are skipped, as ``chromium.py`` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.deployment import Deployed
from tests.streamlit_app.chromium import ANSWER_MS
from tippers_dagster.settings import Settings


@pytest.fixture
def settings(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The deployment's settings, in this process."""
    return deployed.enter(monkeypatch)


@dataclass
class Console:
    """What the pages of a journey wrote into the browser's console and Streamlit into its log.

    Attributes
    ----------
    said
        Errors and warnings.
    expected
        A journey puts here what its log and the browser's console may say.
    """

    said: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Note errors and warnings of this page."""
        page.on("console", self._note)
        page.on("pageerror", lambda error: self._say(f"pageerror: {error}"))

    def _note(self, message: ConsoleMessage) -> None:
        where = str(message.location.get("url", ""))
        # Streamlit's own: below the page's address it looks for its server, then at the top.
        own = re.search(r"/\w+/_stcore/(health|host-config)$", where) and "404" in message.text
        if message.type in ("error", "warning") and not own:
            self._say(f"{message.type}: {message.text} ({where})")

    def _say(self, text: str) -> None:
        if not any(expected in text for expected in self.expected):
            self.said.append(text)

    def read(self, log: str) -> None:
        """Note errors and warnings of a part of Streamlit's log."""
        for line in log.splitlines():
            if re.search(r"error|warning|exception|traceback", line, re.IGNORECASE):
                self._say(line)


@pytest.fixture
def console(deployed: Deployed) -> Iterator[Console]:
    """Every page of a journey; at its end nothing may have been complained about."""
    noted = Console()
    before = deployed.app_log.stat().st_size
    yield noted
    with deployed.app_log.open() as log:
        log.seek(before)
        noted.read(log.read())
    assert noted.said == []


@pytest.fixture
def open_page(
    deployed: Deployed, browser: Browser, console: Console
) -> Iterator[Callable[[str], Page]]:
    """Open a path of the app as somebody with a browser of their own."""
    contexts: list[BrowserContext] = []

    def open_(path: str) -> Page:
        context = browser.new_context(
            viewport={"width": 1440, "height": 1000}, accept_downloads=True
        )
        context.set_default_timeout(ANSWER_MS)
        contexts.append(context)
        page = context.new_page()
        console.listen(page)
        page.goto(f"{deployed.app}/{path}")
        page.locator("h1").first.wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
