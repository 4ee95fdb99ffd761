"""A planner tracks a campus, watches it fill, reads its peak and downloads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.csv as pa_csv
import pytest
from playwright.sync_api import Page, expect

from tests.deployment import Deployed
from tests.streamlit_app.journeys import hands
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.tracking import untrack_space
from tippers_dagster.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def root(settings: Settings) -> Iterator[str]:
    """The simulated campus, not tracked before and not after."""
    (root,) = set(load_tree(settings).roots) - {"campus"}
    yield root
    untrack_space(settings, space=root)


def test_a_planner_tracks_watches_reads_and_downloads(
    open_page: Callable[[str], Page],
    deployed: Deployed,
    settings: Settings,
    root: str,
    tmp_path: Path,
) -> None:
    page = open_page(f"tracking?space={root}")
    expect(page.get_by_text("This adds")).to_be_visible()
    hands.press(page, "Only track")
    expect(page.get_by_text(re.compile("Everything is up to date")).first).to_be_visible(
        timeout=180_000
    )

    page.goto(f"{deployed.app}/occupancy?space={root}")
    hands.settle(page)
    truth = read_occupancy(root, "2025-01-20", "2025-02-03", 3600, settings=settings)
    peak = max(truth["number_connections"].to_pylist())
    page.get_by_test_id("stButtonGroup").get_by_text("All", exact=True).click()
    hands.settle(page)
    expect(page.get_by_text("Peak, devices")).to_be_visible()
    hands.press(page, "Download")
    with page.expect_download() as waited:
        page.get_by_role("button", name=re.compile("CSV")).click()
    file = tmp_path / "campus.csv"
    waited.value.save_as(file)
    counts = pa_csv.read_csv(file)
    assert counts.num_rows > 0
    assert max(filter(None, counts["number_connections"].to_pylist())) <= peak
