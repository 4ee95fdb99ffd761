"""Every page, light and dark: its text stands out from what is behind it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.deployment import Deployed
from tests.streamlit_app.chromium import ANSWER_MS
from tests.streamlit_app.journeys import hands
from tippers_dagster.catalog.kinds import Concept, ConceptValue, Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.graph.save import save_definition
from tippers_dagster.settings import Settings

pytestmark = pytest.mark.slow

PAGES = (
    "",
    "occupancy",
    "forecasts",
    "calendar?open=new",
    "tracking",
    "pipeline",
    "definitions?new=rule",
    "definitions?kind=concept",
    "definitions?open=concept.hue&section=History",
    "labels",
    "models",
    "people",
    "load",
    "connections",
    "runs",
)

FAINT = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    const [r, g, b] = numbers.slice(0, 3).map((v) => v * scale);
    return [r, g, b, numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const layer = parse(getComputedStyle(e).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const opacity = (element) => {
    let all = 1;
    for (let e = element; e; e = e.parentElement) all *= Number(getComputedStyle(e).opacity);
    return all;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element || !element.checkVisibility({ opacityProperty: true })) continue;
    // WCAG asks nothing of what is disabled, and of icons beside a text.
    if (element.closest("script, style, noscript, [disabled], [aria-disabled=true]")) continue;
    if (element.closest("[data-testid=stIconMaterial]")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = parse(style.color);
    const seen = over([...ink.slice(0, 3), ink[3] * opacity(element)], ground);
    const pair = [light(seen), light(ground)];
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5)) {
      const colours = `${style.color} on ${ground.map(Math.round)}`;
      found.push(`${text.slice(0, 60)} (${contrast.toFixed(2)}, ${colours})`);
    }
  }
  return found;
}"""
"""Texts whose contrast is under what WCAG 2.2 asks for at level AA (4.5; large text 3)."""


IS_DARK = """() => {
  const app = document.querySelector("[data-testid=stApp]");
  const [r, g, b] = getComputedStyle(app).backgroundColor.match(/[\\d.]+/g).map(Number);
  return r + g + b < 384;
}"""


def faint_texts(page: Page) -> list[str]:
    """When the page has come to rest."""
    hands.settle(page)
    # What is being computed anew is faded on purpose.
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    page.wait_for_timeout(500)
    found: list[str] = page.evaluate(FAINT)
    return found


@pytest.fixture
def listed(settings: Settings) -> Settings:
    """A definition, without which the list of them has no filters."""
    values = (ConceptValue(name="PALE"), ConceptValue(name="DARK"))
    draft = Draft(Ref("", "hue", Kind.CONCEPT), Concept(values=values))
    save_definition(settings, draft, by="eve")
    return settings


@pytest.mark.usefixtures("listed")
def test_text_has_the_contrast_that_wcag_asks_for(deployed: Deployed, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(ANSWER_MS)
    page = context.new_page()
    faint: dict[str, Any] = {}
    for path in PAGES:
        page.emulate_media(color_scheme="light")
        page.goto(f"{deployed.app}/{path}")
        page.locator("h1").first.wait_for()
        faint[f"light {path}"] = faint_texts(page)
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(500)
        # Colours that the app chooses itself come with the next run of the page.
        page.keyboard.press("r")
        faint[f"dark {path}"] = faint_texts(page)
        assert page.evaluate(IS_DARK)
    context.close()
    assert {path: texts for path, texts in faint.items() if texts} == {}
