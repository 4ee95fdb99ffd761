"""Previews: faults at their line, rows, votes, counts; entities for analysts only."""

from __future__ import annotations

import pytest

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_preview as service
from streamlit_app.services import definitions
from streamlit_app.services.app import App
from tests.sql.definitions import MACS
from tests.streamlit_app.defined import by, computed, defined_app
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine

__all__ = ["computed", "defined_app"]


def work_of(app: App, name: str) -> forms.Work:
    found = definitions.load(app).named("device", name)
    assert found is not None
    return forms.begin(found)


def check(app: App, work: forms.Work) -> service.Checked:
    return service.check(app, definitions.load(app), work)


def votes(app: App, work: forms.Work) -> service.Votes:
    return service.preview_votes(app, definitions.load(app), work)


# --- faults --------------------------------------------------------------------------------------
def test_what_is_sound_tells_what_it_makes_stale(defined_app: App) -> None:
    found = check(defined_app, work_of(defined_app, "long"))
    assert found.fine
    assert {ref.name for ref in found.makes_stale} == {
        *("is_a", "is_b", "also_b", "type", "chosen", "days"),
    }


@pytest.mark.parametrize(
    ("sql", "line", "column", "said"),
    [
        ("SELECT mac_address,\n  nonsense\nFROM int_sessions", 2, 3, "no column nonsense"),
        ("SELECT mac_address\nFROM nowhere", 2, 6, "nowhere"),
        ("SELECT mac_address,\npg_sleep(10) AS a FROM int_sessions", 2, 1, "pg_sleep"),
    ],
)
def test_faults_of_sql_are_at_their_line(
    defined_app: App, sql: str, line: int, column: int, said: str
) -> None:
    work = work_of(defined_app, "numbers")
    work.fields["sql"] = sql
    (fault,) = check(defined_app, work).faults
    assert (fault.field, fault.line, fault.column) == ("sql", line, column)
    assert said in fault.message
    assert not fault.message.startswith("Line")


def test_a_rule_that_takes_a_column_away_is_refused(defined_app: App) -> None:
    work = work_of(defined_app, "long")
    work.fields["sql"] = "SELECT DISTINCT mac_address FROM int_sessions"
    (fault,) = check(defined_app, work).faults
    assert "device.is_a" in fault.message
    assert fault.field == ""


def test_faults_of_conditions_and_python_are_at_their_place(defined_app: App) -> None:
    work = work_of(defined_app, "is_a")
    forms.switch(work.fields, "expression")
    work.fields["expression"].append({"when": "hours > 1 and\n  minutes > 2", "label": "A"})
    (fault,) = check(defined_app, work).faults
    assert (fault.field, fault.condition, fault.line, fault.column) == ("expression", 1, 2, 3)
    work.fields.update(
        mode="python", python="def labeling_function(row):\n    import os\n    return A\n"
    )
    (fault,) = check(defined_app, work).faults
    assert (fault.field, fault.line) == ("python", 2)


def test_names_and_missing_choices_are_faults_of_the_whole(defined_app: App) -> None:
    work = forms.begin_new(Kind.RULE, "device", definitions.load(defined_app))
    work.name = "Not A Name"
    (fault,) = check(defined_app, work).faults
    assert fault.field == ""
    assert "not a name" in fault.message
    work.name = "long"
    work.fields["index"] = "devices"
    (fault,) = check(defined_app, work).faults
    assert "already" in fault.message


# --- SQL -----------------------------------------------------------------------------------------
def test_rows_come_with_statistics_and_an_estimate(defined_app: App) -> None:
    found = service.preview_rows(
        defined_app, definitions.load(defined_app), work_of(defined_app, "long")
    )
    assert found.shown.column_names == ["mac_address", "hours", "sessions"]
    assert (found.sampled, found.whole, found.estimated_rows) == (len(MACS), True, len(MACS))
    hours = {s.column: s for s in found.statistics}["hours"]
    assert (hours.minimum, hours.maximum, hours.nulls) == (1.0, 6.0, 0)
    assert found.total_cost > 0


def test_a_new_one_is_tried_before_it_has_a_name(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    work = forms.begin_new(Kind.RULE, "device", catalog, "device.devices")
    assert service.preview_rows(defined_app, catalog, work).sampled == len(MACS)


def test_rows_are_entities_and_so_for_analysts(defined_app: App) -> None:
    viewer = by(defined_app, Role.VIEWER)
    with pytest.raises(NotAllowed):
        service.preview_rows(viewer, definitions.load(viewer), work_of(viewer, "long"))


def test_writing_sql_never_runs(defined_app: App) -> None:
    work = work_of(defined_app, "long")
    work.fields["sql"] = "WITH x AS (DELETE FROM device.devices RETURNING *) SELECT * FROM x"
    with pytest.raises(BadInput):
        service.preview_rows(defined_app, definitions.load(defined_app), work)


def test_tables_are_named_as_they_are_written(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    own = service.readable_tables(defined_app, catalog, "device")
    assert own["long"] == ["mac_address", "hours", "sessions"]
    assert "mac_address" in own["int_sessions"]
    assert "device.long" not in own
    assert "device.long" in service.readable_tables(defined_app, catalog, "other")


# --- labelling functions -------------------------------------------------------------------------
def test_votes_are_counted_and_compared(defined_app: App) -> None:
    # Six devices whose sessions last 1 to 6 hours: A above 3; B up to 3, and below 4.
    found = votes(defined_app, work_of(defined_app, "is_a"))
    assert (found.entities, found.labels, found.voted) == (6, {"A": 3}, 3)
    assert (found.overlap, found.conflict) == (0, 0)
    assert found.changed == service.Changed(0, 0, 0)
    work = work_of(defined_app, "is_a")
    work.fields["form"][0]["rows"][0]["value"] = "2"
    found = votes(defined_app, work)
    assert found.labels == {"A": 4}
    assert (found.overlap, found.conflict) == (1, 1)
    assert found.changed == service.Changed(new=1, gone=0, other=0)
    assert {o.name: (o.both, o.differ) for o in found.others} == {"is_b": (1, 1), "also_b": (1, 1)}


def test_examples_name_entities_to_analysts_only(defined_app: App) -> None:
    found = votes(defined_app, work_of(defined_app, "is_a")).examples
    assert found.column_names == ["vote", "mac_address", "hours", "sessions"]
    by_mac = dict(zip(found["mac_address"].to_pylist(), found["vote"].to_pylist(), strict=True))
    assert by_mac[MACS[5]] == "A"
    assert by_mac[MACS[0]] == "abstains"
    viewer = by(defined_app, Role.VIEWER)
    with pytest.raises(NotAllowed, match="see entities"):
        votes(viewer, work_of(viewer, "is_a"))


def test_nulls_and_errors_are_told_with_an_example(defined_app: App) -> None:
    work = work_of(defined_app, "is_a")
    forms.switch(work.fields, "expression")
    work.fields["expression"] = [{"when": "1 / (hours - 1) > 0.3", "label": "A"}]
    found = votes(defined_app, work)
    assert found.errors == 1
    assert "division by zero" in found.example
    assert "device_id" not in found.example


def test_gold_labels_judge_it(defined_app: App) -> None:
    import sqlalchemy as sa

    with warehouse_engine(defined_app.settings).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tippers.gold_label VALUES ('device', :right, 'A', 'ada', now()), "
                "('device', :wrong, 'B', 'ada', now()), ('device', :silent, 'A', 'ada', now())"
            ),
            {"right": MACS[5], "wrong": MACS[4], "silent": MACS[0]},
        )
    found = votes(defined_app, work_of(defined_app, "is_a"))
    assert (found.judged, found.right) == (2, 1)


def test_without_a_computed_rule_it_says_so(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    rule = forms.begin_new(Kind.RULE, "device", catalog, "device.devices")
    rule.name = "fresh"
    definitions.save(defined_app, rule)
    catalog = definitions.load(defined_app)
    work = forms.begin_new(Kind.LABELLING_FUNCTION, "device", catalog, "device.fresh")
    work.fields["labels"] = ["A"]
    work.fields["form"] = [
        {
            "label": "A",
            "joined": "all",
            "rows": [{"column": "sessions", "operator": ">", "value": "1"}],
        }
    ]
    assert set(service.rule_columns(defined_app, catalog, "fresh", "device")) == {"sessions"}
    with pytest.raises(service.NotThere, match=r"device\.fresh"):
        service.preview_votes(defined_app, catalog, work)


def test_unknown_rules_have_no_columns(defined_app: App) -> None:
    catalog = definitions.load(defined_app)
    for rule in ("", "nowhere", "devices"):
        assert service.rule_columns(defined_app, catalog, rule, "device") == {}


# --- label models and derived indexes ------------------------------------------------------------
def test_chosen_functions_are_analysed_together(defined_app: App) -> None:
    work = work_of(defined_app, "type")
    found = service.preview_model(defined_app, definitions.load(defined_app), work)
    assert found.analysis.functions == ("is_a", "is_b", "also_b")
    assert found.analysis.coverage.tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert found.analysis.covered == 1
    assert found.uncomputed == ()
    work.fields["labelling_functions"] = ["is_a"]
    with pytest.raises(BadInput, match="3 or more"):
        service.preview_model(defined_app, definitions.load(defined_app), work)


def test_count_is_what_the_derived_index_has(defined_app: App) -> None:
    import sqlalchemy as sa

    found = service.answers(
        defined_app, definitions.load(defined_app), work_of(defined_app, "chosen")
    )
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

    found = service.Answers(
        ("A", "B"),
        np.array(["A", "A", "B", ""]),
        np.array([0.9, 0.6, 0.8, np.nan]),
        np.array([10, 5, 3, 2]),
    )
    assert found.count(["A"], 0.7, include_unlabelled=False) == 10
    assert found.count(["A"], 0.7, include_unlabelled=True) == 12
    assert found.count([], 0.7, include_unlabelled=False) == 13
    assert found.count([], None, include_unlabelled=False) == 20
    assert found.count(["A", "B"], None, include_unlabelled=False) == 18


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [(1, 0, "-"), (0, 5, "0 %"), (1, 1000, "0.1 %"), (999, 1000, "99.9 %"), (1, 3, "33 %")],
)
def test_shares_are_never_rounded_to_none_or_all(part: int, whole: int, told: str) -> None:
    assert service.share(part, whole) == told
