"""The Definitions page as its users see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from streamlit_app.services.definitions import following, saving
from streamlit_app.services.definitions.edit import begin
from streamlit_app.services.definitions.following import Progress
from streamlit_app.services.definitions.listing import load
from tests.streamlit_app.defined import by, computed, defined_app, insert_by_hand
from tippers_dagster.access.model import Person, Role
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.graph.status import AssetStatus
from tippers_dagster.settings import Settings

__all__ = ["computed", "defined_app"]

Open = Callable[..., AppTest]


def page(name: str, role: int) -> None:
    from streamlit_app.services.app import App
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import definitions
    from tippers_dagster.access.model import Person, Role
    from tippers_dagster.settings import get_settings

    with show_errors():
        definitions.render(App(get_settings(), Person(name, Role(role))))


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens the page, for an analyst unless another role is given."""

    def open_page(role: Role = Role.ANALYST, name: str = "ada", **query: str) -> AppTest:
        at = AppTest.from_function(page, args=(name, int(role)), default_timeout=60)
        at.query_params.update(query)
        at.run()
        assert not at.exception
        return at

    return open_page


def texts(at: AppTest) -> str:
    """All text on the page."""
    kinds = (at.title, at.markdown, at.caption, at.info, at.warning, at.error, at.success, at.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def button(at: AppTest, label: str) -> object:
    return next(b for b in at.button if b.label == label)


def click(at: AppTest, label: str) -> AppTest:
    button(at, label).click()  # type: ignore[attr-defined]
    at.run()
    assert not at.exception, at.exception
    return at


def fill(at: AppTest, label: str, value: str) -> AppTest:
    box = next(b for b in (*at.text_input, *at.selectbox) if b.label == label)
    (box.input if hasattr(box, "input") else box.set_value)(value)
    at.run()
    assert not at.exception, at.exception
    return at


def current(app: App, name: str) -> Definition:
    return load(app).get("device", name)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress after saving is known at once; dbt takes seconds to parse the project."""
    nothing = Progress(asset=None, dependents=(), running=True, automatic=True)
    monkeypatch.setattr(following, "progress", lambda app, ref: nothing)


# --- the list ------------------------------------------------------------------------------------
def test_an_empty_deployment_says_what_to_do(
    stack: Settings, opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from tests.sql.definitions import use_bare_project

    use_bare_project(monkeypatch, tmp_path / "project")  # type: ignore[operator]
    at = opened()
    assert "No definitions yet" in texts(at)
    click(at, "New concept")
    assert at.title[0].value == "New concept"


def test_list_is_searched_and_filtered(defined_app: App, opened: Open) -> None:
    at = opened()
    assert len(at.dataframe[0].value) == 10
    fill(at, "Search", "is_")
    assert list(at.dataframe[0].value["Name"]) == ["device.is_a", "device.is_b"]
    assert at.query_params["q"] == "is_"
    fill(at, "Search", "no such thing")
    assert "No definition matches" in texts(at)


def test_filters_come_from_the_address(defined_app: App, opened: Open) -> None:
    at = opened(kind="rule,feature", concept="device")
    assert set(at.dataframe[0].value["Kind"]) == {"Rule", "Feature"}


def test_a_name_opens_its_definition(defined_app: App, opened: Open) -> None:
    at = opened()
    fill(at, "Open", "device.long")
    assert at.title[0].value == "device\\.long"
    assert at.query_params["open"] == "device.long"


def test_names_and_texts_are_shown_literally(defined_app: App, opened: Open) -> None:
    edit = begin(current(defined_app, "long"))
    edit.description = edit.owner = "<script>alert(1)</script> **bold** [x](http://y)"
    saving.save(by(defined_app, Role.ANALYST, "**eve**"), edit)
    insert_by_hand(defined_app, "rule", "odd", {"index": "<script>", "sql": "**x**"})
    for query in ({}, {"open": "device.long"}, {"open": "device.odd"}):
        at = opened(**query)
        shown = "\n".join(
            e.value
            for kind in (at.markdown, at.caption, at.error, at.info, at.warning, at.success)
            for e in kind
        )
        assert "<script>" not in shown
        assert "**eve**" not in shown
    at = opened(open="device.<script>alert(1)</script>")
    assert "There is no definition" in at.error[0].value
    assert "<script>" not in at.title[0].value


# --- editing -------------------------------------------------------------------------------------
def test_a_labelling_function_is_changed_previewed_and_saved(
    defined_app: App, opened: Open
) -> None:
    at = opened(open="device.is_a")
    assert "**3 A**" in texts(at)
    assert button(at, "Save").proto.disabled is not False  # type: ignore[attr-defined]
    fill(at, "Value of test 1.1", "2")
    assert "**4 A**" in texts(at)
    assert "1 new" in texts(at)
    click(at, "Save")
    assert "Saved as version 2" in texts(at).replace("\\", "")
    assert current(defined_app, "is_a").body.conditions[0].when == "hours > 2"


def test_a_new_definition_has_its_parent_and_is_saved(defined_app: App, opened: Open) -> None:
    at = opened(new="labelling_function", concept="device", parent="device.long")
    assert at.title[0].value == "New labelling function"
    fill(at, "Name", "very_long")
    at.multiselect[0].set_value(["A"]).run()
    fill(at, "Condition 1 votes for", "A")
    fill(at, "Column of test 1.1", "hours")
    fill(at, "Value of test 1.1", "5.5")
    assert "**1 A**" in texts(at)
    click(at, "Save")
    assert at.query_params["open"] == "device.very_long"
    assert at.title[0].value == "device\\.very\\_long"
    assert current(defined_app, "very_long").body.rule == "long"


def test_tests_are_added_and_removed_and_keep_what_was_typed(
    defined_app: App, opened: Open
) -> None:
    at = opened(open="device.is_a")
    click(at, "Add a test")
    fill(at, "Column of test 1.2", "sessions")
    fill(at, "Value of test 1.2", "2")
    click(at, "Add a condition")
    values = {b.label: b.value for b in at.text_input}
    assert values["Value of test 1.2"] == "2"
    assert values["Value of test 1.1"] == "3"


def test_form_rows_are_carried_over_to_expressions(defined_app: App, opened: Open) -> None:
    at = opened(open="device.is_a")
    fill(at, "Value of test 1.1", "4")
    click(at, "Expressions")
    edit = at.session_state["definitions.edits"]["device.is_a"]
    assert edit.fields["expression"] == [{"when": "hours > 4", "label": "A"}]
    assert "**2 A**" in texts(at)


def test_faults_are_shown_at_their_place(defined_app: App, opened: Open) -> None:
    at = opened(open="device.long")
    edit = at.session_state["definitions.edits"]["device.long"]
    edit.fields["sql"] = "SELECT mac_address, nonsense FROM int_sessions"
    click(at, "Validate")
    faults = at.session_state["definitions.notes"]["device.long"]["faults"]
    assert [(f.field, f.line, f.column) for f in faults] == [("sql", 1, 21)]
    click(at, "Save")
    assert current(defined_app, "long").version == 1


def test_preview_shows_rows_and_columns(defined_app: App, opened: Open) -> None:
    at = opened(open="device.long")
    click(at, "Preview")
    assert {m.label: m.value for m in at.metric}["Rows"] == "6"
    assert list(at.dataframe[0].value.columns) == ["mac_address", "hours", "sessions"]


def test_derived_index_counts_while_the_slider_moves(defined_app: App, opened: Open) -> None:
    at = opened(open="device.chosen")
    assert "**3** of the 6 entities" in texts(at)
    next(t for t in at.toggle if t.label == "Require a minimum confidence").set_value(True).run()
    at.slider[0].set_value(1.0).run()
    assert not at.exception
    assert "of the 6 entities" in texts(at)
    assert "dashed line" in texts(at)


def test_a_derived_index_opens_while_its_label_model_is_retired(
    defined_app: App, opened: Open
) -> None:
    saving.retire(defined_app, Ref("device", "type", Kind.LABEL_MODEL))
    assert "retired" in texts(opened(open="device.chosen"))


def test_a_label_model_shows_the_votes_of_its_functions(defined_app: App, opened: Open) -> None:
    at = opened(open="device.type")
    assert "Of 6 entities, **100 %**" in texts(at)
    at.multiselect[0].set_value(["is_a"]).run()
    assert "3 labelling functions or more" in texts(at)


def test_labels_of_a_concept_are_edited_in_rows(defined_app: App, opened: Open) -> None:
    at = opened(open="concept.device")
    click(at, "Add a label")
    fill(at, "Label 3", "C")
    assert "C" in at.code[0].value.splitlines()
    click(at, "Save")
    assert load(defined_app).labels("device") == ("A", "B", "C")


def test_unsaved_edits_survive_leaving_the_page(defined_app: App, opened: Open) -> None:
    at = opened(open="device.is_a")
    fill(at, "Value of test 1.1", "2")
    click(at, "All definitions")
    assert "Unsaved edits" in texts(at)
    click(at, "device\\.is\\_a")
    assert {b.label: b.value for b in at.text_input}["Value of test 1.1"] == "2"
    click(at, "Discard edits")
    assert {b.label: b.value for b in at.text_input}["Value of test 1.1"] == "3"
    click(at, "All definitions")
    assert "Unsaved edits" not in texts(at)


def test_progress_is_shown_after_saving(
    defined_app: App, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = opened(open="device.is_a")
    fill(at, "Value of test 1.1", "2")
    status = {"kind": "label_model", "concept": "device", "rows": 6, "seconds": 1.5}
    status |= {"materialized_at": None, "run_id": "run-1"}
    own = AssetStatus("device/is_a", standing="running", why="Run run-1 computes it.", **status)
    dependent = AssetStatus("device/type", standing="stale", why="It waits.", **status)
    found = Progress(asset=own, dependents=(dependent,), running=True, automatic=True)
    monkeypatch.setattr(following, "progress", lambda app, ref: found)
    click(at, "Save")
    assert "running" in texts(at)
    assert "1 dependent is out of date" in texts(at)
    assert list(at.dataframe[0].value["Reason"]) == ["It waits."]


# --- two people ----------------------------------------------------------------------------------
def test_conflicts_are_shown_and_nothing_is_lost(defined_app: App, opened: Open) -> None:
    at = opened(open="device.is_a")
    fill(at, "Value of test 1.1", "5")
    theirs = begin(current(defined_app, "is_a"))
    theirs.description = "Theirs."
    saving.save(by(defined_app, Role.ANALYST, "bea"), theirs)
    at.run()
    assert "bea saved version 2" in texts(at)
    click(at, "Save")
    diffs = [c.value for c in at.code]
    assert any("+description: Theirs." in d for d in diffs)
    assert any("hours > 5" in d for d in diffs)
    click(at, "Continue editing")
    assert {b.label: b.value for b in at.text_input}["Value of test 1.1"] == "5"
    click(at, "Save")
    click(at, "Save mine over it")
    assert current(defined_app, "is_a").body.conditions[0].when == "hours > 5"
    assert current(defined_app, "is_a").version == 3


def test_taking_theirs_keeps_my_text(defined_app: App, opened: Open) -> None:
    at = opened(open="device.is_a")
    fill(at, "Value of test 1.1", "5")
    theirs = begin(current(defined_app, "is_a"))
    theirs.fields["form"][0]["rows"][0]["value"] = "4"
    saving.save(by(defined_app, Role.ANALYST, "bea"), theirs)
    click(at, "Save")
    click(at, "Take theirs")
    assert {b.label: b.value for b in at.text_input}["Value of test 1.1"] == "4"
    assert any("hours > 5" in c.value for c in at.code)


# --- versions and the rest -----------------------------------------------------------------------
def test_history_restores(defined_app: App, opened: Open) -> None:
    edit = begin(current(defined_app, "long"))
    edit.description = "New words."
    saving.save(defined_app, edit)
    at = opened(open="device.long", section="History")
    assert any("+description: New words." in c.value for c in at.code)
    at.selectbox[0].set_value(1).run()
    click(at, "Restore version 1")
    assert current(defined_app, "long").description == ""
    assert current(defined_app, "long").version == 3


def test_a_used_definition_can_be_retired(defined_app: App, opened: Open) -> None:
    at = opened(open="device.long")
    assert "cannot be deleted because these use it" in texts(at)
    click(at, "Retire")
    assert "retired" in texts(at)
    assert load(defined_app).problems
    click(at, "Activate")
    assert not load(defined_app).problems


def test_deleting_needs_a_tick_and_keeps_the_history(defined_app: App, opened: Open) -> None:
    at = opened(open="device.numbers")
    assert button(at, "Delete").proto.disabled  # type: ignore[attr-defined]
    at.checkbox[0].check().run()
    click(at, "Delete")
    assert "numbers deleted" in texts(at)
    at = opened(open="device.numbers")
    assert "You can restore a version" in texts(at)


def test_a_copy_is_a_new_definition(defined_app: App, opened: Open) -> None:
    at = opened(open="device.is_a")
    click(at, "Copy")
    assert at.title[0].value == "New labelling function"
    fill(at, "Name", "is_a_too")
    click(at, "Save")
    assert current(defined_app, "is_a_too").body == current(defined_app, "is_a").body


def test_dependencies_link_to_the_definitions_that_it_reads(defined_app: App, opened: Open) -> None:
    at = opened(open="device.is_a", section="Dependencies")
    click(at, "device\\.long")
    assert at.query_params["open"] == "device.long"
    assert "section" not in at.query_params
    assert at.text_input[0].label == "Description"


def test_saving_overrides_the_definition_in_the_files(stack: Settings, opened: Open) -> None:
    at = opened(open="device.static_always_on")
    assert "comes with the project's files" in texts(at)
    assert "retired but not deleted" in texts(at)
    fill(at, "Value of test 1.1", "14")
    click(at, "Save")
    assert "overrides the one in the project's files" in texts(at)
    at.checkbox[0].check().run()
    click(at, "Delete")
    assert "The one in the project's files is back" in texts(at)
    app = App(stack, Person("ada", Role.ANALYST))
    assert current(app, "static_always_on").origin == "git"


def test_viewers_read_and_change_nothing(defined_app: App, opened: Open) -> None:
    at = opened(Role.VIEWER, open="device.is_a")
    labels = {b.label for b in at.button}
    assert not labels & {"Save", "Retire", "Delete", "Copy", "Validate"}
    assert all(b.disabled for b in at.text_input)
    assert not at.dataframe
    assert any("may not see entities" in info.value for info in at.info)
    at = opened(Role.VIEWER)
    assert "Import" not in {b.label for b in at.button}
    at = opened(Role.VIEWER, new="rule", concept="device")
    assert "may not change definitions" in at.error[0].value


def test_unknown_kinds_are_reported(defined_app: App, opened: Open) -> None:
    assert "There is no kind" in opened(new="nonsense").error[0].value
    assert "Connections" not in texts(opened(open="device.long"))
