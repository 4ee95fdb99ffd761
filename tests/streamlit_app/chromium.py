"""Headless Chromium, one for the tests of a module.

It is that of the system, or the one that ``TIPPERS_TEST_CHROMIUM`` names; without one, tests in a
browser are skipped, unless ``TIPPERS_TEST_BROWSER=required`` (as in CI).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

ANSWER_MS = 60_000
"""How long a page may take on a machine that others use, too."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Its path; the test is skipped without one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("TIPPERS_TEST_CHROMIUM") or next(
        filter(None, map(shutil.which, names)), ""
    )
    if not found and os.environ.get("TIPPERS_TEST_BROWSER") == "required":
        pytest.fail("These tests need Chromium.")
    if not found:
        pytest.skip("no Chromium here; TIPPERS_TEST_CHROMIUM names one")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a screen.

    Not for the whole session: as long as Playwright is open, its event loop counts as running in
    this thread, and Dagster's evaluation of automation, which starts one itself, is refused.
    """
    path = chromium()
    expect.set_options(timeout=ANSWER_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
