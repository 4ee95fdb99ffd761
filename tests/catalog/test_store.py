from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tippers_dagster.catalog import files, store
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Connection, Kind, Rule
from tippers_dagster.catalog.model import Draft
from tippers_dagster.catalog.validate import Checks, validate
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

from .conftest import REPOSITORY, device, draft, function, people, ref

RULE = ref("device.always_on")


@pytest.fixture
def filled(deployment: Settings) -> Settings:
    """Both levels, saved by ada."""
    store.save_all(deployment, [*device(), *people()], by="ada")
    return deployment


def rule(sql: str = "SELECT mac_address, 2 AS hours", **changes: str) -> Draft:
    given = draft("rule", "device.always_on", index="devices", sql=sql)
    return replace(given, **changes)  # type: ignore[arg-type]


def put_into_files(project: Path, *drafts: Draft) -> None:
    for given in drafts:
        for path, content in files.render(given).items():
            (project / "definitions" / path).parent.mkdir(parents=True, exist_ok=True)
            (project / "definitions" / path).write_bytes(content)


def test_save_get_list(deployment: Settings) -> None:
    assert store.list_definitions(deployment) == []
    outcome = store.save_all(deployment, [*device(), *people()], by="ada")
    assert set(outcome.values()) == {"created"}
    found = store.get(deployment, RULE)
    assert (found.version, found.updated_by, found.origin) == (1, "ada", "catalog")
    assert found.body == Rule(index="devices", sql="SELECT mac_address, 1 AS hours")
    of_device = store.list_definitions(deployment, concept="device")
    assert {d.ref.name for d in of_device} >= {"device", "devices", "always_on"}
    rules = store.list_definitions(deployment, kind=Kind.RULE)
    assert [str(d.ref) for d in rules] == ["device.always_on", "people.span"]
    assert store.find(deployment, "device.always_on") == RULE
    assert store.find(deployment, "concept.device") == ref("device", "concept")
    with pytest.raises(BadInput, match=r"mean device\.always_on"):
        store.find(deployment, "device.always_onn")


def test_versions_and_restoring(filled: Settings) -> None:
    store.save(filled, rule(), by="bob", expected_version=1)
    store.save(filled, rule(description=" new words "), by="cyd")
    assert store.save(filled, rule(description="new words"), by="dee").version == 3
    newest, second, first = store.history(filled, RULE)
    assert [v.action for v in (newest, second, first)] == ["change", "change", "create"]
    assert (second.changed_by, newest.description) == ("bob", "new words")
    assert store.changed_fields(first, second) == ["sql"]
    assert store.changed_fields(second, newest) == ["description"]
    back = store.restore(filled, RULE, 1, by="eve")
    assert (back.version, back.body) == (4, device()[2].body)
    assert store.history(filled, RULE)[0].action == "restore"
    with pytest.raises(BadInput, match="no version 9"):
        store.restore(filled, RULE, 9, by="eve")


def test_the_second_of_two_authors_gets_a_conflict(filled: Settings) -> None:
    store.save(filled, rule(), by="bob", expected_version=1)
    with pytest.raises(store.Conflict, match=r"saved by bob on .* version 1") as caught:
        store.save(filled, rule("SELECT 3"), by="cyd", expected_version=1)
    assert caught.value.current is not None
    assert caught.value.current.version == 2
    # The same content is not a conflict.
    assert store.save(filled, rule(), by="cyd", expected_version=1).version == 2
    with pytest.raises(store.Conflict, match="started from an unsaved state"):
        store.save(filled, rule("SELECT 3"), by="cyd", expected_version=0)
    with pytest.raises(store.Conflict):
        store.retire(filled, RULE, by="cyd", expected_version=1)
    store.save(filled, draft("feature", "device.f", index="devices", sql="s"), by="ada")
    store.delete(filled, ref("device.f", "feature"), by="bob")
    with pytest.raises(store.Conflict, match="deleted by bob"):
        store.save(
            filled,
            draft("feature", "device.f", index="devices", sql="t"),
            by="ada",
            expected_version=1,
        )


def test_names_are_unique_in_their_concept(filled: Settings) -> None:
    with pytest.raises(BadInput, match="is already a rule"):
        store.save(filled, draft("feature", "device.always_on", index="devices", sql="s"), by="a")
    store.save(filled, draft("rule", "people.always_on", index="people", sql="s"), by="a")


@pytest.mark.parametrize(
    "written",
    ["device.Bad", "device.a__b", "device." + "a" * 49, "d" * 40 + "." + "a" * 40, "labels.x"],
)
def test_invalid_names(filled: Settings, written: str) -> None:
    with pytest.raises(BadInput):
        store.save(filled, draft("index", written, sql="SELECT 1"), by="a")


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_characters_that_cannot_be_stored(filled: Settings, text: str) -> None:
    with pytest.raises(BadInput, match="cannot be stored"):
        store.save(filled, rule(description=text), by="a")


def test_any_other_text_is_stored_exactly(filled: Settings) -> None:
    sql = "SELECT 'é\r\n\t“𝄞”\u2028\x85' -- {{ ref }} :index_values %s"
    store.save(filled, rule(sql), by="a")
    body = store.get(filled, RULE).body
    assert isinstance(body, Rule)
    assert body.sql == sql


def test_definitions_that_cannot_work_are_not_saved(filled: Settings) -> None:
    with pytest.raises(BadInput, match=r"no index device\.gone"):
        store.save(filled, draft("rule", "device.x", index="gone", sql="s"), by="a")
    narrow = draft("concept", "device", values=[{"name": "STATIC"}, {"name": "LAPTOP"}])
    with pytest.raises(BadInput, match="would break other definitions") as caught:
        store.save(filled, narrow, by="a")
    assert "device.votes_phone: PHONE is not a label" in caught.value.message
    assert store.get(filled, narrow.ref).version == 1


def test_all_or_none(filled: Settings) -> None:
    good = draft("rule", "device.good", index="devices", sql="s")
    bad = draft("rule", "device.bad", index="gone", sql="s")
    with pytest.raises(BadInput, match=r"device\.bad"):
        store.save_all(filled, [good, bad], by="a")
    assert good.ref not in store.load_catalog(filled).definitions
    outcome = store.save_all(filled, [good, *device()], by="a")
    assert [o for o in outcome.values() if o != "unchanged"] == ["created"]


def test_deleting_used_definitions(filled: Settings) -> None:
    with pytest.raises(BadInput, match=r"votes_laptop, .*votes_phone, .*votes_static") as caught:
        store.delete(filled, RULE, by="a")
    assert "retire" in (caught.value.hint or "")
    with pytest.raises(BadInput, match="cannot be renamed"):
        store.rename(filled, RULE, "other", by="a")
    with pytest.raises(BadInput, match=r"device\.always_on"):
        store.delete(filled, ref("device", "concept"), by="a")
    free = ref("people.short_span", "labelling_function")
    renamed = store.rename(filled, free, "brief_span", by="a")
    assert renamed.ref.name == "brief_span"
    with pytest.raises(BadInput):
        store.get(filled, free)
    assert store.delete(filled, renamed.ref, by="a").ref == renamed.ref
    # Its history stays, and it can be restored.
    assert store.find(filled, "people.brief_span") == renamed.ref
    assert store.restore(filled, renamed.ref, 1, by="a").version == 3


def test_retiring_and_activating(filled: Settings) -> None:
    assert store.retire(filled, RULE, by="bob").status == "retired"
    catalog = store.load_catalog(filled)
    assert RULE not in catalog.definitions
    reason = catalog.problems[ref("device.votes_static", "labelling_function")]
    assert reason == "It needs device.always_on, which is retired."
    assert RULE in {d.ref for d in store.list_definitions(filled, retired=True)}
    assert store.retire(filled, RULE, by="bob").version == 2
    store.activate(filled, RULE, by="bob")
    assert store.load_catalog(filled).problems == {}
    assert [v.action for v in store.history(filled, RULE)] == ["activate", "retire", "create"]


def test_definitions_of_the_files(deployment: Settings, project: Path) -> None:
    put_into_files(project, *[d for d in device() if not d.ref.kind.has_sql])
    models = project / "models" / "device"
    models.mkdir(parents=True)
    (models / "device__devices.sql").write_text("select mac_address from {{ ref('int_sessions') }}")
    (models / "device__devices.yml").write_text(
        "models:\n  - name: device__devices\n    description: All devices.\n    config:\n"
        "      meta: {kind: index, concept: device, name: devices, owner: ada, key: mac_address}\n"
    )
    (models / "device__always_on.sql").write_text(
        "select 1 from {{ ref('device__other') }} where a in {{ entities('device__devices') }}"
    )
    (models / "device__always_on.yml").write_text(
        "models:\n  - name: device__always_on\n    config:\n"
        "      meta: {kind: rule, concept: device, name: always_on, index: devices}\n"
    )
    catalog = store.load_catalog(deployment)
    assert catalog.unusable == {}
    assert catalog.get("device", "devices").origin == "git"
    assert catalog.problems[RULE] == "There is no definition device.other."
    (models / "device__always_on.sql").write_text("select * from {{ ref('device__devices') }}")
    assert store.load_catalog(deployment).problems == {}

    changed = store.save(deployment, rule(), by="bob", expected_version=0)
    assert store.load_catalog(deployment).shadowed == {RULE}
    assert (changed.version, changed.origin) == (1, "catalog")
    assert store.delete(deployment, RULE, by="bob") == changed
    assert store.get(deployment, RULE).origin == "git"
    with pytest.raises(BadInput, match="is in the project's files"):
        store.delete(deployment, RULE, by="bob")

    store.retire(deployment, RULE, by="bob")
    assert RULE in store.load_catalog(deployment).retired
    assert store.activate(deployment, RULE, by="bob").origin == "git"
    assert store.load_catalog(deployment).problems == {}


def test_a_broken_file_or_row_breaks_only_itself(filled: Settings, project: Path) -> None:
    put_into_files(project, function("people.from_files", "VISITOR", "span"))
    place = project / "definitions" / "people" / "labelling_functions"
    (place / "bad.yml").write_text("rule: span\nlabelz: [VISITOR]\n")
    (place / "worse.yml").write_text("a: [\n")
    (place / "Not-A-Name.yml").write_text("")
    with warehouse_engine(filled).begin() as connection:
        connection.execute(
            sa.text("""UPDATE tippers.definition SET body = '{"rows": 1}' WHERE name = 'span'""")
        )
        connection.execute(
            sa.text(
                "UPDATE tippers.definition SET kind = 'x' WHERE concept = '' AND name = 'people'"
            )
        )
    catalog = store.load_catalog(filled)
    assert "labelz: unknown field" in catalog.problems[ref("people.bad", "labelling_function")]
    assert "line 2" in catalog.problems[ref("people.worse", "labelling_function")]
    assert "sql: required" in catalog.problems[ref("people.span")]
    assert list(catalog.unusable) == [
        "definitions/people/labelling_functions/Not-A-Name.yml",
        "concept.people",
    ]
    assert catalog.get("device", "always_on").ref not in catalog.problems
    assert store.delete(filled, ref("people.short_span", "labelling_function"), by="a")


def test_deeper_checks_are_called(filled: Settings) -> None:
    asked: list[str] = []

    def validator(given: Draft, catalog: Catalog) -> None:
        asked.append(str(given.ref))
        assert catalog.get("device", given.ref.name).body == given.body
        assert isinstance(given.body, Rule)
        if "pg_sleep" in given.body.sql:
            raise BadInput("pg_sleep is not allowed.", "Leave it out.")

    checks = Checks({Kind.RULE: validator}, {Kind.RULE: lambda _, __: ["device.devices"]})
    store.save(filled, rule(), by="a", checks=checks)
    store.save(filled, rule(), by="a", checks=checks)
    assert asked == ["device.always_on"]
    assert store.get(filled, RULE).reads == ("device.devices",)
    with pytest.raises(BadInput, match="not allowed"):
        store.save(filled, rule("SELECT pg_sleep(1)"), by="a", checks=checks)
    catalog = store.load_catalog(filled)
    (problem,) = validate(rule("SELECT pg_sleep(1)"), catalog, checks)
    assert (problem.message, problem.hint) == ("pg_sleep is not allowed.", "Leave it out.")
    assert validate(rule("SELECT pg_sleep(1)"), catalog, checks, deep=False) == []
    circle = Checks({}, {Kind.RULE: lambda _, __: ["device.device_type"]})
    with pytest.raises(BadInput, match="depends on itself"):
        store.save(filled, rule("SELECT 5"), by="a", checks=circle)


def connection(**changes: object) -> Draft:
    given = {"dialect": "postgresql", "host": "h", "database": "d", "user": "u"} | changes
    return draft("connection", "registrar", **given)


def test_a_password_stays_with_its_server(deployment: Settings) -> None:
    store.save(deployment, connection(password="token"), by="a")

    def password() -> str | None:
        body = store.get(deployment, connection().ref).body
        assert isinstance(body, Connection)
        return body.password

    assert store.save(deployment, connection(), by="a").version == 1
    store.save(deployment, connection(sync_seconds=60), by="a")
    assert password() == "token"
    store.save(deployment, connection(host="elsewhere"), by="a")
    assert password() is None


def test_the_author_is_required(deployment: Settings) -> None:
    with pytest.raises(BadInput, match="author of the change"):
        store.save(deployment, device()[0], by=" ")


def test_one_of_many_threads_wins(filled: Settings) -> None:
    def attempt(number: int) -> bool:
        try:
            store.save(filled, rule(f"SELECT {number}"), by=f"t{number}", expected_version=1)
        except store.Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(attempt, range(10, 18)))
    assert won.count(True) == 1
    assert store.get(filled, RULE).version == 2


SAVER = """
import sys
from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import Kind, Rule
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.settings import get_settings
for i in range(5):
    body = Rule(index="devices", sql=f"{sys.argv[1]} {i}")
    draft = Draft(Ref("device", "always_on", Kind.RULE), body)
    store.save(get_settings(), draft, by=sys.argv[1])
"""


def test_processes_write_one_after_the_other(filled: Settings) -> None:
    commands = [[sys.executable, "-c", SAVER, name] for name in ("one", "two")]
    running = [subprocess.Popen(c, env=os.environ, cwd=REPOSITORY) for c in commands]
    assert [process.wait(60) for process in running] == [0, 0]
    versions = [v.version for v in store.history(filled, RULE)]
    assert versions == list(range(11, 0, -1))
    assert store.get(filled, RULE).version == 11
