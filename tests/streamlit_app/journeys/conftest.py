"""A running ``tippers up`` with a small campus, and headless Chromium in front of it.

One deployment serves all journeys: what one makes, the others leave alone. Without Chromium they
are skipped, as ``chromium.py`` says.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from benchmarks.soak import free_ports
from tests.conftest import server_folder
from tests.sql.definitions import bare_project
from tests.stack.waiting import until
from tests.streamlit_app.chromium import ANSWER_MS, chromium
from tippers_dagster.settings import Settings, get_settings


@dataclass(frozen=True)
class Deployed:
    """A running ``tippers up`` and the environment of its home."""

    environment: dict[str, str]
    up: psutil.Process
    log: Path

    @property
    def app_log(self) -> Path:
        """What Streamlit and the pages said."""
        return Path(self.environment["TIPPERS_HOME"]) / "logs" / "app.log"

    @property
    def app(self) -> str:
        """The app's address."""
        return f"http://127.0.0.1:{self.environment['TIPPERS_STREAMLIT_PORT']}"

    def tippers(self, *arguments: str) -> str:
        """Run a command in a process of its own; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "tippers_dagster.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask Dagster's web server as its page does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.environment['TIPPERS_WEB_PORT']}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="package")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The deployment: two buildings, 120 people, two weeks; nothing tracked, nothing defined."""
    chromium()
    folder = tmp_path_factory.mktemp("journeys")
    with server_folder() as home:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TIPPERS_", "DAGSTER_"))},
            **free_ports(),
            "TIPPERS_HOME": str(home),
            "TIPPERS_DBT_PROJECT": str(bare_project(folder / "project")),
            "TIPPERS_OBSERVE_RECENT_SECONDS": "1",
            "TIPPERS_REFRESH_SECONDS": "1",
        }
        with _up(environment, folder / "up.log") as running:
            sizes = ("--buildings", "2", "--people", "120", "--weeks", "2", "--seed", "5")
            running.tippers("simulate", *sizes)
            running.tippers("pipeline", "materialize")
            yield running


@contextmanager
def _up(environment: dict[str, str], log: Path) -> Iterator[Deployed]:
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tippers_dagster.cli", "up"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "Everything is up" in log.read_text(), 180, log.read_text)
        yield Deployed(environment, psutil.Process(process.pid), log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def settings(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The deployment's settings, in this process."""
    for name, value in deployed.environment.items():
        if name.startswith("TIPPERS_"):
            monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    return get_settings()


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
