"""What the theme changes of Streamlit's elements, in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.streamlit_app.frontend.served import pages, served

SCRIPT = """
import streamlit as st
from streamlit_app.ui.theme import apply_theme

apply_theme()
st.dataframe({"name": ["=1+1"], "n": [1]})
"""


def test_tables_cannot_be_downloaded_with_formulas_in_them(
    browser: Browser, tmp_path: Path
) -> None:
    complaints: list[str] = []
    with served(tmp_path, SCRIPT) as url, pages(browser, url, complaints) as open_page:
        page = open_page()
        page.get_by_test_id("stDataFrame").hover()
        expect(page.get_by_role("button", name="Search")).to_be_visible()
        assert page.locator('[aria-label^="Download as CSV"]').count() == 1
        expect(page.locator('[aria-label^="Download as CSV"]')).to_be_hidden()
    assert complaints == []
