"""Response times of the app in the browser: ``benchmarks.app``.

Measures a running deployment (``tippers up``) in headless Chromium: the first page of a new
session, changes of the space, and the canvas of a concept. ``--save N`` first saves a concept
``wide`` with N definitions in the deployment of the environment, for a canvas of that size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.definitions import rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playwright.sync_api import Browser, Page

    from tippers_dagster.catalog.model import Draft

WIDE = "wide"
SPACES = 12
PATIENCE_MS = 120_000
CHART = "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"


def wide(count: int) -> list[Draft]:
    """A concept with ``count`` definitions: an index, rules, twice as many functions, a model."""
    from tippers_dagster.catalog.kinds import (
        Concept,
        ConceptValue,
        Condition,
        Index,
        Kind,
        LabellingFunction,
        LabelModel,
        Rule,
    )
    from tippers_dagster.catalog.model import Draft, Ref

    rules = [f"rule_{n}" for n in range((count - 2) // 3)]
    functions = [f"votes_{n}" for n in range(count - 2 - len(rules))]
    index = Index(sql="SELECT DISTINCT mac_address FROM int_sessions")
    values = (ConceptValue(name="A"), ConceptValue(name="B"))
    when = (Condition(when="days >= 2", label="A"),)
    return [
        Draft(Ref("", WIDE, Kind.CONCEPT), Concept(values=values)),
        Draft(Ref(WIDE, "all", Kind.INDEX), index),
        *(
            Draft(Ref(WIDE, name, Kind.RULE), Rule(index="all", sql=rule(n)))
            for n, name in enumerate(rules)
        ),
        *(
            Draft(
                Ref(WIDE, name, Kind.LABELLING_FUNCTION),
                LabellingFunction(rule=rules[n % len(rules)], labels=("A", "B"), conditions=when),
            )
            for n, name in enumerate(functions)
        ),
        Draft(
            Ref(WIDE, "model", Kind.LABEL_MODEL),
            LabelModel(index="all", labelling_functions=tuple(functions)),
        ),
    ]


def measured(repeats: int, once: Callable[[], float]) -> list[float]:
    """The seconds of each repetition."""
    return [once() for _ in range(repeats)]


def first_page(browser: Browser, url: str) -> float:
    """From opening the overview in a new session until the campus is drawn."""
    page = _new_page(browser)
    began = time.perf_counter()
    page.goto(url)
    page.locator(CHART).first.wait_for()
    seconds = time.perf_counter() - began
    page.context.close()
    return seconds


def changes_of_space(browser: Browser, url: str) -> list[float]:
    """From a click in the tree until the chart's caption names the new space."""
    page = _new_page(browser)
    page.goto(f"{url}/occupancy")
    page.locator(CHART).first.wait_for()
    page.locator(AT_REST).wait_for()
    found = []
    for _ in range(SPACES):
        rows = page.get_by_test_id("stSidebar").get_by_test_id("stRadio").get_by_role("radio")
        names = [row.evaluate("e => e.closest('label').innerText") for row in rows.all()]
        fresh = next(i for i in range(1, len(names)) if i > len(found) % (len(names) - 1))
        name = names[fresh].strip(" \u2003▸▾·")
        began = time.perf_counter()
        rows.nth(fresh).evaluate("e => e.closest('label').click()")
        page.locator("p", has_text=f"{name}, ").filter(has_text="at most").wait_for()
        found.append(time.perf_counter() - began)
        page.locator(AT_REST).wait_for()
        page.wait_for_timeout(300)
    page.context.close()
    return found


def canvas(browser: Browser, url: str, concept: str, nodes: int) -> float:
    """From opening a concept's pipeline until the given number of nodes is drawn."""
    page = _new_page(browser)
    page.goto(f"{url}/runs")
    page.locator(AT_REST).wait_for()
    began = time.perf_counter()
    page.goto(f"{url}/pipeline?concept={concept}")
    page.locator(".react-flow__node").nth(nodes - 1).wait_for()
    seconds = time.perf_counter() - began
    page.context.close()
    return seconds


def _new_page(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


def _summary(what: str, seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return (
        f"{what:24} min {ordered[0]:.2f}  median {statistics.median(ordered):.2f}  "
        f"max {ordered[-1]:.2f} s of {len(ordered)}"
    )


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8501")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--concept", default="all", help="concept of the canvas")
    parser.add_argument("--nodes", type=int, default=1, help="number of nodes to wait for")
    parser.add_argument("--save", type=int, default=0, help=f"definitions to save in {WIDE}")
    options = parser.parse_args()
    if options.save:
        from tippers_dagster.catalog.store import save_all
        from tippers_dagster.settings import get_settings

        save_all(get_settings(), wide(options.save), by="benchmark")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        url = options.url.rstrip("/")
        print(_summary("first page", measured(options.repeats, lambda: first_page(browser, url))))
        print(_summary("change of space", changes_of_space(browser, url)))
        drawn = measured(
            options.repeats, lambda: canvas(browser, url, options.concept, options.nodes)
        )
        print(_summary(f"canvas of {options.concept}", drawn))
        browser.close()


if __name__ == "__main__":
    main()
