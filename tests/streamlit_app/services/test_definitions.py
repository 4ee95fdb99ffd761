"""Listing, forms, saving, conflicts, versions, files: what the page of definitions does."""

from __future__ import annotations

import io
import zipfile

import pytest

from streamlit_app.services import definition_files as files
from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from tests.graph.small import ALL
from tests.streamlit_app.defined import by, computed, defined_app, insert_by_hand, make_fresh
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.catalog.kinds import Concept, Kind, LabellingFunction
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput

__all__ = ["computed", "defined_app"]

LONG = Ref("device", "long", Kind.RULE)
IS_A = Ref("device", "is_a", Kind.LABELLING_FUNCTION)


def opened(app: App, ref: Ref) -> forms.Work:
    found = service.opened(service.load(app), ref).definition
    assert found is not None
    return forms.begin(found)


# --- the list ------------------------------------------------------------------------------------
def test_rows_tell_state_and_why(defined_app: App) -> None:
    insert_by_hand(defined_app, "rule", "unsound", {"index": "nowhere", "sql": "SELECT 1"})
    rows = {str(r.ref): r for r in service.rows(service.load(defined_app))}
    assert rows["device.long"].state == "active"
    assert rows["device.long"].users == 3
    assert rows["device.unsound"].state == "cannot work"
    assert "nowhere" in rows["device.unsound"].why


def test_filters_search_all_words_and_kinds(defined_app: App) -> None:
    rows = service.rows(service.load(defined_app))
    assert {r.ref.name for r in service.filtered(rows, "device IS_")} == {"is_a", "is_b"}
    only = service.filtered(rows, kinds=[Kind.RULE], concepts=["device"])
    assert {r.ref.name for r in only} == {"long", "days"}
    assert service.filtered(rows, states=["retired"]) == []


def test_unknown_name_is_told_with_those_like_it(defined_app: App) -> None:
    with pytest.raises(BadInput) as told:
        service.open_ref(defined_app, service.load(defined_app), "device.longg")
    assert "device.long" in (told.value.hint or "")


# --- forms ---------------------------------------------------------------------------------------
def test_every_form_gives_back_what_was_opened(defined_app: App) -> None:
    for made in ALL:
        work = opened(defined_app, made.ref)
        assert not work.dirty
        assert forms.same(forms.draft(work), made)


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

    fields = forms.condition_to_fields(Condition(when=when, label="A"))
    assert fields is not None
    del fields["as_read"]
    given = {"mode": "form", "form": [fields]}
    (back,) = forms.conditions_of(given)
    assert _shape(parse_expression(back.when)) == _shape(parse_expression(when))


def _shape(node: object) -> str:
    import re

    return re.sub(r"place=Place\([^)]*\)", "", repr(node))


def test_what_the_form_cannot_say_opens_as_expressions() -> None:
    body = LabellingFunction(
        rule="long", labels=("A",), conditions=({"when": "hours / 2 > 3", "label": "A"},)
    )
    assert forms.fields_of(body, Kind.LABELLING_FUNCTION)["mode"] == "expression"


def test_switching_takes_over_and_forgets_nothing(defined_app: App) -> None:
    fields = opened(defined_app, IS_A).fields
    assert forms.switch(fields, "expression") is None
    assert fields["expression"] == [{"when": "hours > 3", "label": "A"}]
    fields["expression"][0]["when"] = "hours / 2 > 3"
    told = forms.switch(fields, "form")
    assert told is not None
    assert fields["mode"] == "expression"
    assert fields["expression"][0]["when"] == "hours / 2 > 3"
    forms.switch(fields, "python")
    fields["python"] = "def labeling_function(row): return A"
    forms.switch(fields, "expression")
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
def test_new_ones_have_their_parent(
    defined_app: App, kind: Kind, parent: str, field: str, value: object
) -> None:
    work = forms.begin_new(kind, "device", service.load(defined_app), parent)
    assert work.fields[field] == value
    assert not work.dirty


def test_nonsense_parent_is_passed_over(defined_app: App) -> None:
    catalog = service.load(defined_app)
    assert forms.begin_new(Kind.RULE, "device", catalog, "a.b.c").fields["index"] == ""
    assert forms.begin_new(Kind.RULE, "device", catalog, "device.is_a").fields["index"] == ""


def test_incomplete_forms_say_what_is_missing(defined_app: App) -> None:
    catalog = service.load(defined_app)
    work = forms.begin_new(Kind.LABELLING_FUNCTION, "device", catalog)
    work.name = "new_one"
    for filled, message in (
        ({}, "rule"),
        ({"rule": "long"}, "labels"),
        ({"rule": "long", "labels": ["A"]}, "votes for no label"),
    ):
        work.fields.update(filled)
        with pytest.raises(BadInput, match=message):
            forms.draft(work)


def test_tree_of_labels_is_indented_and_survives_circles() -> None:
    def value(name: str, parent: str = "") -> dict[str, str]:
        return {"name": name, "description": "", "parent": parent}

    lines = forms.tree_lines([value("A"), value("B", "A"), value("C", "D"), value("D", "C")])
    assert lines[:2] == ["A", "    B"]
    assert sorted(line.strip() for line in lines) == ["A", "B", "C", "D"]


def test_functions_of_other_indexes_are_not_offered(defined_app: App) -> None:
    catalog = service.load(defined_app)
    assert forms.function_choices(catalog, "device", "devices", []) == ["also_b", "is_a", "is_b"]
    assert forms.function_choices(catalog, "device", "chosen", []) == []


# --- saving --------------------------------------------------------------------------------------
def test_save_makes_a_version_by_its_author(defined_app: App) -> None:
    work = opened(defined_app, LONG)
    work.description = "How long."
    saved = service.save(defined_app, work)
    assert saved is not None
    assert (saved.definition.version, saved.definition.updated_by) == (2, "ada")
    assert saved.reloaded.state == "nothing_running"
    assert not work.dirty
    assert work.expected == 2


def test_wrong_sql_is_refused_and_nothing_saved(defined_app: App) -> None:
    work = opened(defined_app, LONG)
    work.fields["sql"] = "DROP TABLE tippers.definition"
    with pytest.raises(BadInput):
        service.save(defined_app, work)
    assert work.dirty
    assert service.load(defined_app).get("device", "long").version == 1


def test_viewers_may_not_write(defined_app: App) -> None:
    viewer = by(defined_app, Role.VIEWER)
    work = opened(defined_app, LONG)
    acts = (
        lambda: service.save(viewer, work),
        lambda: service.retire(viewer, LONG),
        lambda: service.activate(viewer, LONG),
        lambda: service.delete(viewer, LONG),
        lambda: service.rename(viewer, LONG, "longer"),
        lambda: service.restore(viewer, LONG, 1),
        lambda: files.import_planned(viewer, files.Plan()),
    )
    for act in acts:
        with pytest.raises(NotAllowed):
            act()


def test_analysts_may_not_touch_connections(defined_app: App) -> None:
    with pytest.raises(NotAllowed):
        service.retire(defined_app, Ref("", "payroll", Kind.CONNECTION))
    content = b"dialect: postgresql\nhost: db\ndatabase: x\nuser: y\n"
    made = _zip({"connections/payroll.yml": content})
    plan = files.plan(defined_app, service.load(defined_app), [("a.zip", made)])
    assert not plan.problems
    with pytest.raises(NotAllowed):
        files.import_planned(defined_app, plan)


def test_two_people_nothing_is_lost(defined_app: App) -> None:
    mine, theirs = opened(defined_app, IS_A), opened(defined_app, IS_A)
    theirs.fields["form"][0]["rows"][0]["value"] = "4"
    assert service.save(by(defined_app, Role.ANALYST, "bea"), theirs) is not None
    mine.fields["form"][0]["rows"][0]["value"] = "5"
    assert service.changed_by_others(service.load(defined_app), mine)
    assert service.save(defined_app, mine) is None
    assert mine.conflict
    assert mine.theirs is not None
    assert mine.theirs.updated_by == "bea"
    assert "hours > 5" in forms.text_of(mine)
    # Saved over what was shown, and over nothing newer.
    theirs.fields["form"][0]["rows"][0]["value"] = "6"
    service.save(by(defined_app, Role.ANALYST, "bea"), theirs)
    assert service.save(defined_app, mine, over=mine.theirs) is None
    assert service.save(defined_app, mine, over=mine.theirs) is not None
    assert "hours > 5" in forms.text_of(service.load(defined_app).get("device", "is_a"))


def test_taking_theirs_puts_mine_aside(defined_app: App) -> None:
    mine, theirs = opened(defined_app, IS_A), opened(defined_app, IS_A)
    theirs.description = "Theirs."
    service.save(defined_app, theirs)
    mine.description = "Mine."
    assert service.save(defined_app, mine) is None
    service.take_theirs(defined_app, mine)
    assert mine.description == "Theirs."
    assert "Mine." in mine.aside[0]
    assert not mine.dirty
    assert not mine.conflict


def test_deleted_meanwhile_can_be_saved_anew(defined_app: App) -> None:
    ref = Ref("device", "numbers", Kind.FEATURE)
    work = opened(defined_app, ref)
    work.description = "Again."
    service.delete(defined_app, ref)
    assert service.save(defined_app, work) is None
    assert work.theirs is None
    saved = service.save_deleted(defined_app, work)
    assert saved is not None
    assert saved.definition.description == "Again."


def test_a_copy_is_new_and_names_are_not_taken_twice(defined_app: App) -> None:
    found = service.load(defined_app).get("device", "long")
    work = forms.begin_copy(found, "long")
    assert work.dirty
    with pytest.raises(BadInput, match="already"):
        service.save(defined_app, work)
    work.name = "longer"
    assert service.save(defined_app, work) is not None


# --- versions, retiring, deleting ----------------------------------------------------------------
def test_history_shows_changes_and_restores(defined_app: App) -> None:
    work = opened(defined_app, LONG)
    work.fields["sql"] += "\nHAVING count(*) > 1"
    service.save(defined_app, work)
    newest, first = service.history(defined_app, LONG)
    assert newest.changed == ("sql",)
    assert "+HAVING count(*) > 1" in newest.diff
    service.restore(defined_app, LONG, first.version.version, expected=2)
    assert "HAVING" not in service.load(defined_app).get("device", "long").body.sql
    assert service.history(defined_app, LONG)[0].version.action == "restore"


def test_used_ones_are_retired_not_deleted(defined_app: App) -> None:
    assert service.removal(service.load(defined_app), LONG) == "used"
    with pytest.raises(BadInput, match=r"device\.is_a"):
        service.delete(defined_app, LONG)
    service.retire(defined_app, LONG)
    catalog = service.load(defined_app)
    assert service.opened(catalog, LONG).state == "retired"
    assert service.opened(catalog, IS_A).state == "cannot work"
    service.activate(defined_app, LONG)
    assert service.opened(service.load(defined_app), IS_A).state == "active"


def test_deleted_ones_are_found_with_their_history(defined_app: App) -> None:
    ref = Ref("device", "numbers", Kind.FEATURE)
    assert service.removal(service.load(defined_app), ref) == "delete"
    service.delete(defined_app, ref, expected=1)
    catalog = service.load(defined_app)
    assert service.open_ref(defined_app, catalog, "device.numbers") == ref
    assert service.opened(catalog, ref).state == "deleted"
    assert [p.version.action for p in service.history(defined_app, ref)] == ["delete", "create"]


def test_unreadable_ones_are_shown_and_mended_as_text(defined_app: App) -> None:
    insert_by_hand(defined_app, "rule", "odd", {"index": "devices", "query": "SELECT 1"})
    ref = Ref("device", "odd", Kind.RULE)
    found = service.opened(service.load(defined_app), ref)
    assert found.state == "cannot work"
    assert "query" in found.problem
    work = opened(defined_app, ref)
    assert "query: SELECT 1" in work.fields["yaml"]
    work.fields["yaml"] = "index: devices\nsql: SELECT mac_address FROM int_sessions\n"
    assert service.save(defined_app, work) is not None
    assert service.opened(service.load(defined_app), ref).state == "active"


def test_diff_is_empty_when_nothing_differs() -> None:
    assert service.diff("a\nb", "a\nb") == ""
    assert "-a" in service.diff("a\nb", "c\nb")


def test_saving_is_followed_up_the_pipeline(defined_app: App) -> None:
    make_fresh(defined_app)
    before = service.watch(defined_app, LONG)
    assert before.asset is not None
    assert (before.asset.standing, before.unfinished) == ("fresh", [])
    assert not before.runs
    work = opened(defined_app, LONG)
    work.fields["sql"] = work.fields["sql"].replace("count(*)", "count(start_time)")
    service.save(defined_app, work)
    after = service.watch(defined_app, LONG)
    assert after.asset is not None
    assert (after.asset.standing, after.asset.why) == ("stale", "Its definition has changed.")
    waiting = {s.name for s in after.unfinished}
    assert waiting >= {"device/long", "device/is_a", "device/type", "device/chosen"}
    assert "device/numbers" not in waiting


def test_a_concept_is_followed_by_what_is_in_it(defined_app: App) -> None:
    above = service.reading(service.load(defined_app), Ref("", "device", Kind.CONCEPT))
    assert {ref.name for ref in above} >= {"devices", "is_a", "type"}


# --- files ---------------------------------------------------------------------------------------
def _zip(content: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return made.getvalue()


def _exported(app: App) -> dict[str, bytes]:
    data = files.exported(files.to_export(service.load(app)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_what_was_exported_changes_nothing(defined_app: App) -> None:
    content = _exported(defined_app)
    assert "device/rules/long.sql" in content
    plan = files.plan(defined_app, service.load(defined_app), [("x.zip", _zip(content))])
    assert (len(plan.planned), plan.changing, dict(plan.problems)) == (len(ALL), [], {})


@pytest.mark.parametrize("folder", ["", "backup/", "a/b/"])
def test_an_edited_export_is_imported_from_any_folder(defined_app: App, folder: str) -> None:
    content = _exported(defined_app)
    content["device/rules/long.sql"] += b"HAVING count(*) > 1\n"
    made = _zip({f"{folder}{name}": data for name, data in content.items()})
    plan = files.plan(defined_app, service.load(defined_app), [("x.ZIP", made)])
    (changing,) = plan.changing
    assert changing.outcome == "changed"
    assert "+HAVING count(*) > 1" in changing.diff
    done = files.import_planned(defined_app, plan)
    assert list(done.outcomes.values()).count("changed") == 1


def test_single_files_say_what_they_are(defined_app: App) -> None:
    text = b"kind: rule\nconcept: device\nname: fresh\nindex: devices\n"
    uploads = [("mine.yml", text), ("mine.sql", b"SELECT mac_address FROM int_sessions")]
    plan = files.plan(defined_app, service.load(defined_app), uploads)
    assert not plan.problems
    assert [(str(p.draft.ref), p.outcome) for p in plan.planned] == [("device.fresh", "created")]


def test_what_cannot_work_is_named_and_nothing_imported(defined_app: App) -> None:
    bad = b"kind: rule\nconcept: device\nname: bad\nindex: devices\nsql: DELETE FROM x\n"
    uploads = [("bad.yml", bad), ("odd.yml", b"kind: nonsense\n"), ("lone.sql", b"SELECT 1")]
    plan = files.plan(defined_app, service.load(defined_app), uploads)
    assert set(plan.problems) == {"device.bad", "odd.yml", "lone.sql"}
    with pytest.raises(BadInput):
        files.import_planned(defined_app, plan)


def test_a_concept_with_labels_is_new(defined_app: App) -> None:
    work = forms.begin_new(Kind.CONCEPT, "", service.load(defined_app))
    work.name = "people"
    work.fields["values"] = [{"name": "STAFF", "description": "", "parent": ""}]
    work.fields["refines"] = "device.A"
    saved = service.save(defined_app, work)
    assert saved is not None
    assert isinstance(saved.definition.body, Concept)
    assert saved.definition.body.refines == "device.A"
