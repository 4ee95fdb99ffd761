"""What a person's hands do on a page: type into fields and editors, choose, press, wait."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"

SETTLED_MS = 60_000
"""A run of a definition, with the start of its process, on a machine that others use, too."""


def settle(page: Page) -> None:
    """Wait until the page has nothing to compute."""
    page.wait_for_timeout(300)
    expect(page.locator(AT_REST)).to_have_count(1, timeout=SETTLED_MS)


def fill(page: Page, label: str, text: str) -> None:
    """Type into a field, and leave it."""
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Tab")
    settle(page)


def write(page: Page, label: str, text: str) -> None:
    """Replace the text of a code editor, as pasting does."""
    editor = page.locator(".cm-content").and_(page.get_by_label(label, exact=True))
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(600)
    settle(page)


def choose(page: Page, label: str, *options: str) -> None:
    """Choose one option of a select box, or some of a box for many."""
    for option in options:
        box = page.get_by_role("combobox", name=re.compile(re.escape(label)))
        box.click()
        box.fill(option)
        page.get_by_role("option", name=option, exact=True).first.click()
        settle(page)
    page.keyboard.press("Escape")


def press(page: Page, name: str) -> None:
    """Press a button."""
    page.get_by_role("button", name=name, exact=True).first.click()
    settle(page)


def save(page: Page) -> None:
    """Save the open definition, and wait until the page says so."""
    press(page, "Save")
    expect(saved(page)).to_be_visible(timeout=SETTLED_MS)


def saved(page: Page) -> Locator:
    """The sentence that says it."""
    return page.get_by_text(re.compile(r"Saved as version \d+\."))


def computed(page: Page) -> None:
    """Wait until the panel of the saved definition says that its asset is up to date."""
    expect(page.get_by_text(re.compile(r"up to date|fresh", re.I)).first).to_be_visible(
        timeout=2 * SETTLED_MS
    )
