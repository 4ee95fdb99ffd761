"""Listing, forms, saving, conflicts, versions and files of definitions."""

from __future__ import annotations

import io
import zipfile

import pytest

from streamlit_app.services.app import App
from streamlit_app.services.definitions import choices, conditions, files, saving, text
from streamlit_app.services.definitions.edit import Edit, begin, begin_copy, begin_new, draft
from streamlit_app.services.definitions.fields import body_values, fields_of
from streamlit_app.services.definitions.following import progress
from streamlit_app.services.definitions.listing import filtered, load, rows
from streamlit_app.services.definitions.opened import (
    changed_by_others,
    dependents,
    history,
    open_ref,
    opened,
    removal,
)
from tests.graph.small import ALL
from tests.streamlit_app.defined import by, computed, defined_app, insert_by_hand, make_fresh
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.catalog.catalog import same_content
from tippers_dagster.catalog.kinds import (
    Concept,
    Feature,
    Index,
    Kind,
    LabellingFunction,
    Rule,
)
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput

__all__ = ["computed", "defined_app"]

LONG = Ref("device", "long", Kind.RULE)
IS_A = Ref("device", "is_a", Kind.LABELLING_FUNCTION)


def edit_of(app: App, ref: Ref) -> Edit:
    found = opened(load(app), ref).definition
    assert found is not None
    return begin(found)


# --- the list ------------------------------------------------------------------------------------
def test_rows_have_a_state_and_its_reason(defined_app: App) -> None:
    insert_by_hand(defined_app, "rule", "unsound", {"index": "nowhere", "sql": "SELECT 1"})
    listed = {str(r.ref): r for r in rows(load(defined_app))}
    assert listed["device.long"].state == "active"
    assert listed["device.long"].users == 3
    assert listed["device.unsound"].state == "broken"
    assert "nowhere" in listed["device.unsound"].problem


def test_filters_search_all_words_and_kinds(defined_app: App) -> None:
    listed = rows(load(defined_app))
    assert {r.ref.name for r in filtered(listed, "device IS_")} == {"is_a", "is_b"}
    only = filtered(listed, kinds=[Kind.RULE], concepts=["device"])
    assert {r.ref.name for r in only} == {"long", "days"}
    assert filtered(listed, states=["retired"]) == []


def test_an_unknown_name_is_reported_with_similar_ones(defined_app: App) -> None:
    with pytest.raises(BadInput) as caught:
        open_ref(defined_app, load(defined_app), "device.longg")
    assert "device.long" in (caught.value.hint or "")


# --- forms ---------------------------------------------------------------------------------------
def test_an_unchanged_form_gives_the_same_definition(defined_app: App) -> None:
    for made in ALL:
        edit = edit_of(defined_app, made.ref)
        assert not edit.dirty
        assert same_content(draft(edit), made)


@pytest.mark.parametrize("window", [None, "everything", "last week", "last 8 weeks", "term"])
def test_a_window_goes_through_the_form_unchanged(window: str | None) -> None:
    bodies = {
        Kind.CONCEPT: Concept(window=window),
        Kind.INDEX: Index(sql="SELECT 1", window=window),
        Kind.RULE: Rule(index="devices", sql="SELECT 1", window=window),
        Kind.FEATURE: Feature(index="devices", sql="SELECT 1", window=window),
    }
    for kind, body in bodies.items():
        values = body_values(kind, fields_of(body, kind))
        assert type(body).model_validate(values) == body


@pytest.mark.parametrize(
    "when",
    [
        "hours >= 15 and dates > 3",
        "a = 1 or b <> 'x'",
        "kind in ('office', 'lab, wet', '12')",
        "partner is null and share < -0.5",
        "name = 'it''s'",
        "on = 'true'",
        "big = true",
    ],
)
def test_a_condition_goes_through_the_form_unchanged(when: str) -> None:
    from tippers_dagster.catalog.kinds import Condition
    from tippers_dagster.labelling.expressions.grammar import parse_expression

    fields = conditions.condition_to_fields(Condition(when=when, label="A"))
    assert fields is not None
    del fields["as_read"]
    given = {"mode": "form", "form": [fields]}
    (back,) = conditions.conditions_of(given)
    assert _shape(parse_expression(back.when)) == _shape(parse_expression(when))


def _shape(node: object) -> str:
    import re

    return re.sub(r"place=Place\([^)]*\)", "", repr(node))


def test_conditions_that_rows_cannot_express_open_as_expressions() -> None:
    body = LabellingFunction(
        rule="long", labels=("A",), conditions=({"when": "hours / 2 > 3", "label": "A"},)
    )
    assert fields_of(body, Kind.LABELLING_FUNCTION)["mode"] == "expression"


def test_switching_carries_conditions_over_and_loses_nothing(defined_app: App) -> None:
    fields = edit_of(defined_app, IS_A).fields
    assert conditions.switch(fields, "expression") is None
    assert fields["expression"] == [{"when": "hours > 3", "label": "A"}]
    fields["expression"][0]["when"] = "hours / 2 > 3"
    assert conditions.switch(fields, "form") is not None
    assert fields["mode"] == "expression"
    assert fields["expression"][0]["when"] == "hours / 2 > 3"
    conditions.switch(fields, "python")
    fields["python"] = "def labeling_function(row): return A"
    conditions.switch(fields, "expression")
    assert fields["python"] == "def labeling_function(row): return A"


@pytest.mark.parametrize(
    ("kind", "parent", "field", "value"),
    [
        (Kind.RULE, "device.devices", "index", "devices"),
        (Kind.LABELLING_FUNCTION, "device.long", "rule", "long"),
        (Kind.LABEL_MODEL, "device.is_a", "labelling_functions", ["is_a"]),
        (Kind.LABEL_MODEL, "device.is_a", "index", "devices"),
        (Kind.DERIVED_INDEX, "device.type", "label_model", "type"),
        (Kind.DERIVED_INDEX, "device.type", "parent", "devices"),
    ],
)
def test_a_new_definition_has_its_parent(
    defined_app: App, kind: Kind, parent: str, field: str, value: object
) -> None:
    edit = begin_new(kind, "device", load(defined_app), parent)
    assert edit.fields[field] == value
    assert not edit.dirty


def test_an_unsuitable_parent_is_ignored(defined_app: App) -> None:
    catalog = load(defined_app)
    assert begin_new(Kind.RULE, "device", catalog, "a.b.c").fields["index"] == ""
    assert begin_new(Kind.RULE, "device", catalog, "device.is_a").fields["index"] == ""


def test_incomplete_forms_say_what_is_missing(defined_app: App) -> None:
    catalog = load(defined_app)
    edit = begin_new(Kind.LABELLING_FUNCTION, "device", catalog)
    edit.name = "new_one"
    for filled, message in (
        ({}, "rule"),
        ({"rule": "long"}, "labels"),
        ({"rule": "long", "labels": ["A"]}, "has no label"),
    ):
        edit.fields.update(filled)
        with pytest.raises(BadInput, match=message):
            draft(edit)


def test_the_label_tree_is_indented_and_copes_with_cycles() -> None:
    def value(name: str, parent: str = "") -> dict[str, str]:
        return {"name": name, "description": "", "parent": parent}

    lines = text.tree_lines([value("A"), value("B", "A"), value("C", "D"), value("D", "C")])
    assert lines[:2] == ["A", "    B"]
    assert sorted(line.strip() for line in lines) == ["A", "B", "C", "D"]


def test_functions_of_other_indexes_are_not_offered(defined_app: App) -> None:
    catalog = load(defined_app)
    assert choices.function_choices(catalog, "device", "devices", []) == ["also_b", "is_a", "is_b"]
    assert choices.function_choices(catalog, "device", "chosen", []) == []


# --- saving --------------------------------------------------------------------------------------
def test_save_makes_a_version_by_its_author(defined_app: App) -> None:
    edit = edit_of(defined_app, LONG)
    edit.description = "How long."
    saved = saving.save(defined_app, edit)
    assert saved is not None
    assert (saved.definition.version, saved.definition.updated_by) == (2, "ada")
    assert saved.reloaded.state == "nothing_running"
    assert not edit.dirty
    assert edit.expected == 2


def test_wrong_sql_is_refused_and_nothing_saved(defined_app: App) -> None:
    edit = edit_of(defined_app, LONG)
    edit.fields["sql"] = "DROP TABLE tippers.definition"
    with pytest.raises(BadInput):
        saving.save(defined_app, edit)
    assert edit.dirty
    assert load(defined_app).get("device", "long").version == 1


def test_viewers_may_not_write(defined_app: App) -> None:
    viewer = by(defined_app, Role.VIEWER)
    edit = edit_of(defined_app, LONG)
    acts = (
        lambda: saving.save(viewer, edit),
        lambda: saving.retire(viewer, LONG),
        lambda: saving.activate(viewer, LONG),
        lambda: saving.delete(viewer, LONG),
        lambda: saving.rename(viewer, LONG, "longer"),
        lambda: saving.restore(viewer, LONG, 1),
        lambda: files.import_planned(viewer, files.Plan()),
    )
    for act in acts:
        with pytest.raises(NotAllowed):
            act()


def test_analysts_may_not_touch_connections(defined_app: App) -> None:
    with pytest.raises(NotAllowed):
        saving.retire(defined_app, Ref("", "payroll", Kind.CONNECTION))
    content = b"dialect: postgresql\nhost: db\ndatabase: x\nuser: y\n"
    made = _zip({"connections/payroll.yml": content})
    plan = files.plan(defined_app, load(defined_app), [("a.zip", made)])
    assert not plan.problems
    with pytest.raises(NotAllowed):
        files.import_planned(defined_app, plan)


def test_saves_of_two_people_conflict_and_nothing_is_lost(defined_app: App) -> None:
    mine, theirs = edit_of(defined_app, IS_A), edit_of(defined_app, IS_A)
    theirs.fields["form"][0]["rows"][0]["value"] = "4"
    assert saving.save(by(defined_app, Role.ANALYST, "bea"), theirs) is not None
    mine.fields["form"][0]["rows"][0]["value"] = "5"
    assert changed_by_others(load(defined_app), mine)
    assert saving.save(defined_app, mine) is None
    assert mine.conflict
    assert mine.theirs is not None
    assert mine.theirs.updated_by == "bea"
    assert "hours > 5" in text.text_of(mine)
    # "Save mine over it" overwrites the version that was shown, and no newer one.
    theirs.fields["form"][0]["rows"][0]["value"] = "6"
    saving.save(by(defined_app, Role.ANALYST, "bea"), theirs)
    assert saving.save(defined_app, mine, over=mine.theirs) is None
    assert saving.save(defined_app, mine, over=mine.theirs) is not None
    assert "hours > 5" in text.text_of(load(defined_app).get("device", "is_a"))


def test_taking_theirs_keeps_my_text(defined_app: App) -> None:
    mine, theirs = edit_of(defined_app, IS_A), edit_of(defined_app, IS_A)
    theirs.description = "Theirs."
    saving.save(defined_app, theirs)
    mine.description = "Mine."
    assert saving.save(defined_app, mine) is None
    saving.take_theirs(defined_app, mine)
    assert mine.description == "Theirs."
    assert "Mine." in mine.set_aside[0]
    assert not mine.dirty
    assert not mine.conflict


def test_a_definition_deleted_meanwhile_can_be_saved_again(defined_app: App) -> None:
    ref = Ref("device", "numbers", Kind.FEATURE)
    edit = edit_of(defined_app, ref)
    edit.description = "Again."
    saving.delete(defined_app, ref)
    assert saving.save(defined_app, edit) is None
    assert edit.theirs is None
    saved = saving.save_deleted(defined_app, edit)
    assert saved is not None
    assert saved.definition.description == "Again."


def test_a_copy_is_new_and_needs_an_unused_name(defined_app: App) -> None:
    found = load(defined_app).get("device", "long")
    edit = begin_copy(found, "long")
    assert edit.dirty
    with pytest.raises(BadInput, match="already exists"):
        saving.save(defined_app, edit)
    edit.name = "longer"
    assert saving.save(defined_app, edit) is not None


# --- versions, retiring, deleting ----------------------------------------------------------------
def test_history_shows_changes_and_restores(defined_app: App) -> None:
    edit = edit_of(defined_app, LONG)
    edit.fields["sql"] += "\nHAVING count(*) > 1"
    saving.save(defined_app, edit)
    newest, first = history(defined_app, LONG)
    assert newest.changed == ("sql",)
    assert "+HAVING count(*) > 1" in newest.diff
    saving.restore(defined_app, LONG, first.version.version, expected=2)
    assert "HAVING" not in load(defined_app).get("device", "long").body.sql
    assert history(defined_app, LONG)[0].version.action == "restore"


def test_a_used_definition_is_retired_not_deleted(defined_app: App) -> None:
    assert removal(load(defined_app), LONG) == "used"
    with pytest.raises(BadInput, match=r"device\.is_a"):
        saving.delete(defined_app, LONG)
    saving.retire(defined_app, LONG)
    catalog = load(defined_app)
    assert opened(catalog, LONG).state == "retired"
    assert opened(catalog, IS_A).state == "broken"
    saving.activate(defined_app, LONG)
    assert opened(load(defined_app), IS_A).state == "active"


def test_a_deleted_definition_is_found_with_its_history(defined_app: App) -> None:
    ref = Ref("device", "numbers", Kind.FEATURE)
    assert removal(load(defined_app), ref) == "delete"
    saving.delete(defined_app, ref, expected=1)
    catalog = load(defined_app)
    assert open_ref(defined_app, catalog, "device.numbers") == ref
    assert opened(catalog, ref).state == "deleted"
    assert [p.version.action for p in history(defined_app, ref)] == ["delete", "create"]


def test_an_unreadable_definition_is_shown_and_fixed_as_yaml(defined_app: App) -> None:
    insert_by_hand(defined_app, "rule", "odd", {"index": "devices", "query": "SELECT 1"})
    ref = Ref("device", "odd", Kind.RULE)
    found = opened(load(defined_app), ref)
    assert found.state == "broken"
    assert "query" in found.problem
    edit = edit_of(defined_app, ref)
    assert "query: SELECT 1" in edit.fields["yaml"]
    edit.fields["yaml"] = "index: devices\nsql: SELECT mac_address FROM int_sessions\n"
    assert saving.save(defined_app, edit) is not None
    assert opened(load(defined_app), ref).state == "active"


def test_diff_is_empty_when_nothing_differs() -> None:
    assert text.diff("a\nb", "a\nb") == ""
    assert "-a" in text.diff("a\nb", "c\nb")


def test_dependents_wait_after_saving(defined_app: App) -> None:
    make_fresh(defined_app)
    before = progress(defined_app, LONG)
    assert before.asset is not None
    assert (before.asset.standing, before.unfinished) == ("fresh", [])
    assert not before.running
    edit = edit_of(defined_app, LONG)
    edit.fields["sql"] = edit.fields["sql"].replace("count(*)", "count(start_time)")
    saving.save(defined_app, edit)
    after = progress(defined_app, LONG)
    assert after.asset is not None
    assert (after.asset.standing, after.asset.why) == ("stale", "Its definition has changed.")
    waiting = {s.name for s in after.unfinished}
    assert waiting >= {"device/long", "device/is_a", "device/type", "device/chosen"}
    assert "device/numbers" not in waiting


def test_the_dependents_of_a_concept_are_its_definitions(defined_app: App) -> None:
    above = dependents(load(defined_app), Ref("", "device", Kind.CONCEPT))
    assert {ref.name for ref in above} >= {"devices", "is_a", "type"}


# --- files ---------------------------------------------------------------------------------------
def _zip(content: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return made.getvalue()


def _exported(app: App) -> dict[str, bytes]:
    data = files.exported(files.to_export(load(app)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_importing_an_export_changes_nothing(defined_app: App) -> None:
    content = _exported(defined_app)
    assert "device/rules/long.sql" in content
    plan = files.plan(defined_app, load(defined_app), [("x.zip", _zip(content))])
    assert (len(plan.planned), plan.changing, dict(plan.problems)) == (len(ALL), [], {})


@pytest.mark.parametrize("folder", ["", "backup/", "a/b/"])
def test_an_edited_export_is_imported_from_any_folder(defined_app: App, folder: str) -> None:
    content = _exported(defined_app)
    content["device/rules/long.sql"] += b"HAVING count(*) > 1\n"
    made = _zip({f"{folder}{name}": data for name, data in content.items()})
    plan = files.plan(defined_app, load(defined_app), [("x.ZIP", made)])
    (changing,) = plan.changing
    assert changing.outcome == "changed"
    assert "+HAVING count(*) > 1" in changing.diff
    done = files.import_planned(defined_app, plan)
    assert list(done.outcomes.values()).count("changed") == 1


def test_single_files_state_their_kind_and_name(defined_app: App) -> None:
    text = b"kind: rule\nconcept: device\nname: fresh\nindex: devices\n"
    uploads = [("mine.yml", text), ("mine.sql", b"SELECT mac_address FROM int_sessions")]
    plan = files.plan(defined_app, load(defined_app), uploads)
    assert not plan.problems
    assert [(str(p.draft.ref), p.outcome) for p in plan.planned] == [("device.fresh", "created")]


def test_broken_definitions_are_named_and_nothing_is_imported(defined_app: App) -> None:
    bad = b"kind: rule\nconcept: device\nname: bad\nindex: devices\nsql: DELETE FROM x\n"
    uploads = [("bad.yml", bad), ("odd.yml", b"kind: nonsense\n"), ("lone.sql", b"SELECT 1")]
    plan = files.plan(defined_app, load(defined_app), uploads)
    assert set(plan.problems) == {"device.bad", "odd.yml", "lone.sql"}
    with pytest.raises(BadInput):
        files.import_planned(defined_app, plan)


def test_a_new_concept_has_labels(defined_app: App) -> None:
    edit = begin_new(Kind.CONCEPT, "", load(defined_app))
    edit.name = "people"
    edit.fields["values"] = [{"name": "STAFF", "description": "", "parent": ""}]
    edit.fields["refines"] = "device.A"
    saved = saving.save(defined_app, edit)
    assert saved is not None
    assert isinstance(saved.definition.body, Concept)
    assert saved.definition.body.refines == "device.A"
