"""A small page of Streamlit with a component on it, in headless Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.soak import free_port
from tests.stack.waiting import until
from tippers_dagster.stack.services import http_ok

REPOSITORY = Path(__file__).parents[3]
Open = Callable[..., Page]


@contextmanager
def served(folder: Path, script: str) -> Iterator[str]:
    """Serve a script; the page's address. Nothing but what is to be said may be in its log."""
    (folder / "page.py").write_text(script)
    shutil.copytree(REPOSITORY / "streamlit_app" / ".streamlit", folder / ".streamlit")
    port = free_port()
    log = folder / "log"
    command = [sys.executable, "-m", "streamlit", "run", "page.py", "--server.headless", "true"]
    address = ["--server.address", "127.0.0.1", "--server.port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, *address],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: http_ok(f"{url}/_stcore/health"), 60, log.read_text)
        yield url
    finally:
        process.terminate()
        process.wait(20)
    said = log.read_text()
    assert "Traceback" not in said, said
    assert "arning" not in said, said


@contextmanager
def pages(browser: Browser, url: str, complaints: list[str]) -> Iterator[Open]:
    """Opens the page; what its console complains of is noted."""
    contexts = []

    def open_page(scheme: str = "light", query: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.goto(f"{url}/{query}")
        return page

    yield open_page
    for context in contexts:
        context.close()
