"""Definitions checked against the tables they read as those will be."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.sql.definitions import CHOSEN, DEVICES, LONG, catalog, rule, saved
from tippers_dagster.catalog import store
from tippers_dagster.catalog.catalog import draft_of
from tippers_dagster.catalog.kinds import Concept, Feature, Index, Kind
from tippers_dagster.catalog.model import Definition
from tippers_dagster.catalog.validate import validate
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.planned_schema import PlannedSchema, planned_schema_cache, sql_checks
from tippers_dagster.sql.preview import NotComputedYet
from tippers_dagster.sql.refusals import RefusedSQL

KEY = Column("mac_address", "text")

READER = rule("select l.mac_address, l.hours + 1 as more from long as l", "reader")
FURTHER = rule("select mac_address, more from device.reader where more > 2", "further")


def check(settings: Settings, definition: Definition, *others: Definition) -> object:
    """The columns of a definition, in a catalog with it and some others."""
    found = catalog(definition, *others)
    return PlannedSchema(settings, found).check(definition)


def long(sql: str) -> Definition:
    return rule(sql, "long")


def compute(settings: Settings, definition: Definition, columns: str) -> None:
    """A table with one row, as if it had been computed."""
    with warehouse_engine(settings).begin() as connection:
        connection.exec_driver_sql(
            f"CREATE SCHEMA IF NOT EXISTS rules; CREATE TABLE rules.{definition.ref.model_name} "
            f"AS SELECT 'm1'::text AS mac_address, {columns}"
        )


# --- single definitions --------------------------------------------------------------------------
def test_definitions_are_checked(campus: Settings) -> None:
    good = rule("select mac_address, sum(seconds) as s from int_sessions group by 1", "good")
    assert check(campus, good) == (KEY, Column("s", "numeric"))
    with pytest.raises(RefusedSQL, match="no column mac_address") as caught:
        check(campus, rule("select weekday from int_sessions"))
    assert caught.value.reason == "key"
    with pytest.raises(BadInput, match="no column mac_address"):
        check(campus, rule("select * from (select 1 as x) y"))
    with pytest.raises(BadInput, match="There is no column oops"):
        check(campus, rule("select mac_address, oops from devices"))

    index = saved(Kind.INDEX, "device", "rooms", Index(sql="select room_type from int_sessions"))
    with pytest.raises(RefusedSQL, match="no column mac_address"):
        check(campus, index)
    own_key = Index(sql="select room_type from int_sessions", key="room_type")
    index = saved(Kind.INDEX, "device", "rooms", own_key)
    assert check(campus, index) == (Column("room_type", "text"),)


def test_checks_for_the_catalog(campus: Settings) -> None:
    checks = sql_checks(campus, planned_schema_cache(campus))
    numbers = draft_of(catalog().get("device", "numbers"))
    assert set(checks.references[Kind.FEATURE](numbers, catalog())) == {"device.chosen"}
    bad = draft_of(rule("select mac_address, pg_sleep(1) as x from devices", "bad"))
    problems = validate(bad, catalog(), checks)
    assert [problem.message for problem in problems] == [
        "Line 1, column 21: The function pg_sleep() is not allowed."
    ]
    wrong = draft_of(rule("select mac_address, oops from devices", "wrong"))
    assert len(validate(wrong, catalog(), checks)) == 1


# --- inputs that are not computed ----------------------------------------------------------------
def test_inputs_need_not_be_computed(campus: Settings) -> None:
    assert check(campus, READER) == (KEY, Column("more", "numeric"))
    assert check(campus, FURTHER, READER) == (KEY, Column("more", "numeric"))
    every_type = long(
        "select mac_address, now() as t, '{a}'::text[] as l, interval '1 h' as i, "
        "'{}'::jsonb as j, 1::smallint as n, 'x'::char(3) as c from int_sessions"
    )
    columns = check(campus, rule("select * from long", "all_of_it"), every_type)
    assert columns == check(campus, every_type)


def test_errors_refer_to_the_users_text(campus: Settings) -> None:
    wrong = rule("select mac_address,\n  houres from device.long", "wrong")
    with pytest.raises(BadInput) as caught:
        check(campus, wrong)
    message, hint = caught.value.message, caught.value.hint or ""
    assert message == "Line 2, column 3: There is no column houres."
    assert "hours" in hint
    with pytest.raises(BadInput, match=r"Line 1, column 27: The database says: function upper"):
        check(campus, rule("select mac_address, upper(hours) as u from long", "wrong"))


def test_a_derived_index_has_the_key_of_its_parent(campus: Settings) -> None:
    feature = Feature(index="chosen", sql="select mac_address, 1 as n from chosen")
    assert check(campus, saved(Kind.FEATURE, "device", "ones", feature)) == (
        KEY,
        Column("n", "integer"),
    )
    feature = Feature(index="chosen", sql="select mac_address, label from chosen")
    with pytest.raises(BadInput, match="There is no column label"):
        check(campus, saved(Kind.FEATURE, "device", "ones", feature))


def test_unknown_columns_are_not_refused(campus: Settings) -> None:
    reads_labels = rule("select mac_address, label from labels.device__type", "by_label")
    assert check(campus, reads_labels) is None
    assert check(campus, rule("select * from by_label", "further"), reads_labels) is None


def test_a_broken_definition_breaks_its_readers(campus: Settings) -> None:
    wrong = long("select mac_address, oops as hours from int_sessions")
    with pytest.raises(BadInput, match=r"It reads device\.long, which does not work: Line 1, col"):
        check(campus, READER, wrong)


# --- inputs that have changed --------------------------------------------------------------------
NEW = long("select mac_address, 2 as minutes from int_sessions")
OF_NEW = rule("select mac_address, minutes from long", "of_new")


def test_the_changed_definition_is_used_instead_of_its_table(campus: Settings) -> None:
    compute(campus, LONG, "1.5 AS hours, 3::bigint AS sessions, 'office'::text AS room")
    assert check(campus, READER) == (KEY, Column("more", "numeric"))
    assert check(campus, OF_NEW, NEW) == (KEY, Column("minutes", "integer"))
    with pytest.raises(BadInput, match="There is no column hours"):
        check(campus, READER, NEW)


def test_a_preview_names_what_is_not_computed(campus: Settings) -> None:
    tables = PlannedSchema(campus, catalog(NEW, OF_NEW))
    with pytest.raises(NotComputedYet, match=r"device\.long has not been computed yet"):
        tables.preview(OF_NEW, 3)
    compute(campus, LONG, "1.5 AS hours")
    with pytest.raises(NotComputedYet, match=r"device\.long has changed since it was computed"):
        tables.preview(OF_NEW, 3)
    as_it_was = rule("select mac_address from long", "as_it_was")
    assert tables.preview(as_it_was, 3).rows.to_pylist() == [{"mac_address": "m1"}]
    with pytest.raises(BadInput, match="There is no column oops"):
        tables.preview(rule("select mac_address, oops from long", "wrong"), 3)


# --- saving --------------------------------------------------------------------------------------
def save(settings: Settings, *definitions: Definition) -> None:
    drafts = [draft_of(definition) for definition in definitions]
    store.save_all(
        settings, drafts, by="ada", checks=sql_checks(settings, planned_schema_cache(settings))
    )


@pytest.fixture
def stored(campus: Settings, bare: Settings) -> Settings:
    """The index, and rules that read it and each other; the project's files have none."""
    concept = saved(Kind.CONCEPT, "", "device", Concept())
    save(bare, concept, DEVICES, LONG, READER, FURTHER)
    return bare


def names(settings: Settings) -> Iterable[str]:
    return {ref.name for ref in store.load_catalog(settings).definitions}


def test_a_change_must_not_break_readers(stored: Settings) -> None:
    with pytest.raises(BadInput) as caught:
        save(stored, NEW)
    assert "This change would break other definitions" in caught.value.message
    assert "device.reader: Line 1, column 23: There is no column hours." in caught.value.message
    other_type = long("select mac_address, weekday > 5 as hours from int_sessions")
    with pytest.raises(BadInput, match=r"device\.reader: .*The database says"):
        save(stored, other_type)
    save(stored, long("select mac_address, seconds as hours, 1 as other from int_sessions"))


def test_indirect_readers_are_checked_too(stored: Settings) -> None:
    star = rule("select * from long", "reader")
    with pytest.raises(BadInput, match=r"device\.further: .*There is no column more"):
        save(stored, star)
    save(stored, long("select mac_address, 1 as hours, 2 as more from int_sessions"), star)
    with pytest.raises(BadInput, match=r"device\.further: .*There is no column more"):
        save(stored, long("select mac_address, 1 as hours from int_sessions"))


def test_definitions_can_be_changed_together(stored: Settings) -> None:
    compute(stored, LONG, "1.5 AS hours")
    reader = rule("select mac_address, minutes as more from long", "reader")
    save(stored, NEW, reader)
    assert store.load_catalog(stored).problems == {}


def test_definitions_that_were_already_broken_do_not_matter(stored: Settings) -> None:
    with warehouse_engine(stored).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE staging.int_sessions RENAME COLUMN seconds TO s")
    save(stored, long("select mac_address, s as hours from int_sessions"))
    assert "reader" in names(stored)
    assert CHOSEN.ref.name not in names(stored)
