"""The code editor in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.streamlit_app.frontend.served import Open, pages, served

SCRIPT = """
import time
import streamlit as st
from streamlit_app.ui.editor import Problem, code_editor, current_text

first = "SELECT mac_address\\nFROM nowhere"
if st.button("Restore"):
    st.session_state.text = "SELECT 1 -- restored"
if st.button("Wait"):
    time.sleep(1.5)
given = st.session_state.setdefault("text", first)
wrong = "nowhere" in current_text("sql", given)
problem = Problem(2, 6, "There is no table `nowhere` <b>here</b>.")
st.session_state.text = code_editor(
    "SQL of the rule", given, key="sql", language="sql", height=200,
    schema={"source.space": ["space_id", "space_name"]}, names=[":index_values"],
    problems=[problem] if wrong else [],
)
st.code(st.session_state.text, language=None)
fixed = code_editor("Python", "def f(row):\\n    return ABSTAIN\\n", key="python",
    language="python", names=["mean_hours", "STATIC", "ABSTAIN"], height=80)
st.text("python: " + fixed)
code_editor("Only to read", "a > 1", key="read", language="expression", read_only=True, height=40)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("editor"), SCRIPT) as url:
        yield url


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Open]:
    complaints: list[str] = []
    with pages(browser, url, complaints) as open_page:
        yield open_page
    assert complaints == []


def written(page: Page) -> str:
    return page.get_by_test_id("stCode").inner_text()


def test_text_arrives_and_errors_stand_at_their_place(opened: Open) -> None:
    page = opened()
    editor = page.get_by_role("textbox", name="SQL of the rule")
    problem = page.get_by_role("button", name="Error in line 2, column 6")
    expect(problem).to_contain_text("There is no table `nowhere` <b>here</b>.")
    expect(page.locator(".cm-lintRange-error")).to_have_text("nowhere")
    expect(page.locator(".cm-lint-marker-error")).to_have_count(1)

    editor.click()
    problem.click()
    page.keyboard.press("Shift+End")
    page.keyboard.type("source.space")
    page.keyboard.press("Escape")
    expect(problem).to_have_count(0)
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)
    expect(page.get_by_test_id("stCode")).to_contain_text("FROM source.space")


def test_what_is_typed_meanwhile_is_not_overwritten(opened: Open) -> None:
    page = opened()
    editor = page.get_by_role("textbox", name="SQL of the rule")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" AS a")
    page.wait_for_timeout(700)
    page.get_by_role("button", name="Wait").click()
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(", typed meanwhile", delay=60)
    expect(page.get_by_test_id("stCode")).to_contain_text("AS a, typed meanwhile")
    page.wait_for_timeout(1500)
    expect(editor).to_contain_text("AS a, typed meanwhile")

    page.get_by_role("button", name="Restore").click()
    expect(editor).to_have_text("SELECT 1 -- restored")
    assert written(page) == "SELECT 1 -- restored"


def test_names_of_tables_columns_and_labels_are_completed(opened: Open) -> None:
    page = opened()
    options = page.locator(".cm-tooltip-autocomplete li")
    page.get_by_role("textbox", name="SQL of the rule").click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("space_n")
    expect(options.first).to_have_text("space_name")
    page.wait_for_timeout(150)  # a choice this soon after it appears is taken for a typed key
    page.keyboard.press("Enter")
    page.keyboard.type(" ")
    expect(page.get_by_test_id("stCode")).to_contain_text("space_name SELECT")

    page.get_by_role("textbox", name="Python").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("STA")
    expect(options.first).to_have_text("STATIC")


def test_the_keyboard_gets_in_and_out(opened: Open) -> None:
    page = opened()
    editor = page.get_by_role("textbox", name="Python")
    editor.focus()
    page.keyboard.press("Control+End")
    page.keyboard.press("Tab")
    page.keyboard.type("#in")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(editor).not_to_be_focused()
    expect(page.get_by_text("python: ")).to_contain_text("    #in")
    read_only = page.get_by_role("textbox", name="Only to read")
    read_only.focus()
    page.keyboard.type("x")
    expect(read_only).to_have_text("a > 1")


def test_the_theme_is_that_of_the_page(opened: Open) -> None:
    colours = []
    for scheme in ("light", "dark"):
        keyword = opened(scheme).locator(".cm-line span").first
        expect(keyword).to_have_text("SELECT")
        colours.append(keyword.evaluate("element => getComputedStyle(element).color"))
    assert colours == ["rgb(107, 63, 160)", "rgb(201, 166, 245)"]
