"""Validation and previews: faults at their line, rows, votes and counts."""

from __future__ import annotations

import pytest

from streamlit_app.services.app import App
from streamlit_app.services.definitions import conditions, saving
from streamlit_app.services.definitions.edit import Edit, begin, begin_new
from streamlit_app.services.definitions.listing import load
from streamlit_app.services.definitions.preview import NeverComputed
from streamlit_app.services.definitions.preview_labels import (
    LabelGroups,
    preview_derived_index,
    preview_model,
)
from streamlit_app.services.definitions.preview_sql import (
    preview_rows,
    readable_tables,
    rule_columns,
)
from streamlit_app.services.definitions.preview_votes import VoteChanges, Votes, preview_votes
from streamlit_app.services.definitions.validation import Validation, validate
from tests.sql.definitions import MACS
from tests.streamlit_app.defined import by, computed, defined_app
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine

__all__ = ["computed", "defined_app"]


def edit_of(app: App, name: str) -> Edit:
    found = load(app).named("device", name)
    assert found is not None
    return begin(found)


def check(app: App, edit: Edit) -> Validation:
    return validate(app, load(app), edit)


def votes(app: App, edit: Edit) -> Votes:
    return preview_votes(app, load(app), edit)


# --- faults --------------------------------------------------------------------------------------
def test_validation_names_what_would_become_stale(defined_app: App) -> None:
    found = check(defined_app, edit_of(defined_app, "long"))
    assert found.passed
    assert {ref.name for ref in found.makes_stale} == {
        *("is_a", "is_b", "also_b", "type", "chosen", "days"),
    }


@pytest.mark.parametrize(
    ("sql", "line", "column", "message"),
    [
        ("SELECT mac_address,\n  nonsense\nFROM int_sessions", 2, 3, "no column nonsense"),
        ("SELECT mac_address\nFROM nowhere", 2, 6, "nowhere"),
        ("SELECT mac_address,\npg_sleep(10) AS a FROM int_sessions", 2, 1, "pg_sleep"),
    ],
)
def test_sql_faults_have_a_line(
    defined_app: App, sql: str, line: int, column: int, message: str
) -> None:
    edit = edit_of(defined_app, "numbers")
    edit.fields["sql"] = sql
    (fault,) = check(defined_app, edit).faults
    assert (fault.field, fault.line, fault.column) == ("sql", line, column)
    assert message in fault.message
    assert not fault.message.startswith("Line")


def test_a_rule_that_drops_a_used_column_is_refused(defined_app: App) -> None:
    edit = edit_of(defined_app, "long")
    edit.fields["sql"] = "SELECT DISTINCT mac_address FROM int_sessions"
    (fault,) = check(defined_app, edit).faults
    assert "device.is_a" in fault.message
    assert fault.field == ""


def test_faults_in_conditions_and_python_have_a_place(defined_app: App) -> None:
    edit = edit_of(defined_app, "is_a")
    conditions.switch(edit.fields, "expression")
    edit.fields["expression"].append({"when": "hours > 1 and\n  minutes > 2", "label": "A"})
    (fault,) = check(defined_app, edit).faults
    assert (fault.field, fault.condition, fault.line, fault.column) == ("expression", 1, 2, 3)
    edit.fields.update(
        mode="python", python="def labeling_function(row):\n    import os\n    return A\n"
    )
    (fault,) = check(defined_app, edit).faults
    assert (fault.field, fault.line) == ("python", 2)


def test_bad_names_and_missing_choices_belong_to_no_field(defined_app: App) -> None:
    edit = begin_new(Kind.RULE, "device", load(defined_app))
    edit.name = "Not A Name"
    (fault,) = check(defined_app, edit).faults
    assert fault.field == ""
    assert "not a name" in fault.message
    edit.name = "long"
    edit.fields["index"] = "devices"
    (fault,) = check(defined_app, edit).faults
    assert "already" in fault.message


# --- SQL -----------------------------------------------------------------------------------------
def test_rows_come_with_statistics_and_an_estimate(defined_app: App) -> None:
    found = preview_rows(defined_app, load(defined_app), edit_of(defined_app, "long"))
    assert found.head.column_names == ["mac_address", "hours", "sessions"]
    assert (found.sampled, found.complete, found.estimated_rows) == (len(MACS), True, len(MACS))
    hours = {s.column: s for s in found.statistics}["hours"]
    assert (hours.minimum, hours.maximum, hours.nulls) == (1.0, 6.0, 0)
    assert found.total_cost is None  # only PostgreSQL estimates it


def test_a_new_definition_has_a_preview_before_it_has_a_name(defined_app: App) -> None:
    catalog = load(defined_app)
    edit = begin_new(Kind.RULE, "device", catalog, "device.devices")
    assert preview_rows(defined_app, catalog, edit).sampled == len(MACS)


def test_only_analysts_see_rows(defined_app: App) -> None:
    viewer = by(defined_app, Role.VIEWER)
    with pytest.raises(NotAllowed):
        preview_rows(viewer, load(viewer), edit_of(viewer, "long"))


def test_writing_sql_never_runs(defined_app: App) -> None:
    edit = edit_of(defined_app, "long")
    edit.fields["sql"] = "WITH x AS (DELETE FROM device.devices RETURNING *) SELECT * FROM x"
    with pytest.raises(BadInput):
        preview_rows(defined_app, load(defined_app), edit)


def test_tables_are_named_as_written_in_the_concept(defined_app: App) -> None:
    catalog = load(defined_app)
    own = readable_tables(defined_app, catalog, "device")
    assert own["long"] == ["mac_address", "hours", "sessions"]
    assert "mac_address" in own["int_sessions"]
    assert "device.long" not in own
    assert "device.long" in readable_tables(defined_app, catalog, "other")


# --- labelling functions -------------------------------------------------------------------------
def test_votes_are_counted_and_compared(defined_app: App) -> None:
    # Six devices whose sessions last 1 to 6 hours: A above 3; B up to 3, and below 4.
    found = votes(defined_app, edit_of(defined_app, "is_a"))
    assert (found.entities, found.labels, found.voted) == (6, {"A": 3}, 3)
    assert (found.overlap, found.conflict) == (0, 0)
    assert found.changes == VoteChanges(0, 0, 0)
    edit = edit_of(defined_app, "is_a")
    edit.fields["form"][0]["rows"][0]["value"] = "2"
    found = votes(defined_app, edit)
    assert found.labels == {"A": 4}
    assert (found.overlap, found.conflict) == (1, 1)
    assert found.changes == VoteChanges(new=1, removed=0, relabelled=0)
    assert {o.name: (o.both, o.differ) for o in found.others} == {"is_b": (1, 1), "also_b": (1, 1)}


def test_only_analysts_see_examples(defined_app: App) -> None:
    found = votes(defined_app, edit_of(defined_app, "is_a")).examples
    assert found.column_names == ["vote", "mac_address", "hours", "sessions"]
    by_mac = dict(zip(found["mac_address"].to_pylist(), found["vote"].to_pylist(), strict=True))
    assert by_mac[MACS[5]] == "A"
    assert by_mac[MACS[0]] == "abstains"
    viewer = by(defined_app, Role.VIEWER)
    with pytest.raises(NotAllowed, match="see entities"):
        votes(viewer, edit_of(viewer, "is_a"))


def test_nulls_and_errors_are_reported_with_an_example(defined_app: App) -> None:
    edit = edit_of(defined_app, "is_a")
    conditions.switch(edit.fields, "expression")
    edit.fields["expression"] = [{"when": "1 / (hours - 1) > 0.3", "label": "A"}]
    found = votes(defined_app, edit)
    assert found.errors == 1
    assert "division by zero" in found.example
    assert "device_id" not in found.example


def test_votes_are_compared_with_gold_labels(defined_app: App) -> None:
    import sqlalchemy as sa

    with warehouse_engine(defined_app.settings).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tippers.gold_label VALUES ('device', :right, 'A', 'ada', now()), "
                "('device', :wrong, 'B', 'ada', now()), ('device', :silent, 'A', 'ada', now())"
            ),
            {"right": MACS[5], "wrong": MACS[4], "silent": MACS[0]},
        )
    found = votes(defined_app, edit_of(defined_app, "is_a"))
    assert (found.with_gold, found.correct) == (2, 1)


def test_a_rule_that_was_never_computed_is_reported(defined_app: App) -> None:
    catalog = load(defined_app)
    rule = begin_new(Kind.RULE, "device", catalog, "device.devices")
    rule.name = "fresh"
    saving.save(defined_app, rule)
    catalog = load(defined_app)
    edit = begin_new(Kind.LABELLING_FUNCTION, "device", catalog, "device.fresh")
    edit.fields["labels"] = ["A"]
    edit.fields["form"] = [
        {
            "label": "A",
            "joined": "all",
            "rows": [{"column": "sessions", "operator": ">", "value": "1"}],
        }
    ]
    assert set(rule_columns(defined_app, catalog, "fresh", "device")) == {"sessions"}
    with pytest.raises(NeverComputed, match=r"device\.fresh"):
        preview_votes(defined_app, catalog, edit)


def test_unknown_rules_have_no_columns(defined_app: App) -> None:
    catalog = load(defined_app)
    for rule in ("", "nowhere", "devices"):
        assert rule_columns(defined_app, catalog, rule, "device") == {}


# --- label models and derived indexes ------------------------------------------------------------
def test_chosen_functions_are_analysed_together(defined_app: App) -> None:
    edit = edit_of(defined_app, "type")
    found = preview_model(defined_app, load(defined_app), edit)
    assert found.analysis.functions == ("is_a", "is_b", "also_b")
    assert found.analysis.coverage.tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert found.analysis.covered == 1
    assert found.uncomputed == ()
    edit.fields["labelling_functions"] = ["is_a"]
    with pytest.raises(BadInput, match="needs 3 labelling functions or more"):
        preview_model(defined_app, load(defined_app), edit)


def test_the_count_equals_the_entities_of_the_derived_index(defined_app: App) -> None:
    import sqlalchemy as sa

    found = preview_derived_index(defined_app, load(defined_app), edit_of(defined_app, "chosen"))
    with warehouse_engine(defined_app.settings).connect() as connection:
        there = connection.scalar(sa.text("SELECT count(*) FROM indexes.device__chosen"))
    assert found.total == len(MACS)
    assert found.count(["A"], None, include_unlabelled=False) == there == 3
    assert found.count([], None, include_unlabelled=False) == len(MACS)
    curve = found.curve(["A"], include_unlabelled=False)
    assert curve[0] == (0.0, 3)
    assert [n for _, n in curve] == sorted((n for _, n in curve), reverse=True)


def test_unlabelled_entities_pass_when_they_may() -> None:
    import numpy as np

    found = LabelGroups(
        np.array(["A", "A", "B", ""]),
        np.array([0.9, 0.6, 0.8, np.nan]),
        np.array([10, 5, 3, 2]),
    )
    assert found.count(["A"], 0.7, include_unlabelled=False) == 10
    assert found.count(["A"], 0.7, include_unlabelled=True) == 12
    assert found.count([], 0.7, include_unlabelled=False) == 13
    assert found.count([], None, include_unlabelled=False) == 20
    assert found.count(["A", "B"], None, include_unlabelled=False) == 18
