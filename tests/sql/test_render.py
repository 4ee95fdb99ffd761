"""Definitions rendered as dbt models."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.sql.definitions import CHOSEN, DEVICES, LONG, NUMBERS, bare_project, catalog, rule, saved
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Connection, ConnectionTable, Index, Kind
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.render import MACRO, Rendered, literal, render


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TIPPERS_DBT_PROJECT", str(bare_project(tmp_path / "project")))
    return get_settings()


def rendered(settings: Settings, found: Catalog, declared: set[tuple[str, str]] = frozenset()):  # type: ignore[assignment]
    assert not found.problems, found.problems
    return render(found, NameTable.of(found, settings), declared, settings.sql_engine)


def model(files: Rendered, name: str) -> dict:
    (found,) = yaml.safe_load(files.files[f"models/saved/device/device__{name}.yml"])["models"]
    return found


def test_every_sql_definition_becomes_a_model(settings: Settings) -> None:
    files = rendered(settings, catalog())
    names = ("chosen", "devices", "long", "numbers")
    assert set(files.files) == {"models/saved/sources.yml", MACRO} | {
        f"models/saved/device/device__{n}.{suffix}" for n in names for suffix in ("sql", "yml")
    }
    assert not files.broken


def test_a_model_has_its_metadata(settings: Settings) -> None:
    found = model(rendered(settings, catalog()), "long")
    assert found["description"] == LONG.description
    config = found["config"]
    assert config["schema"] == "rules"
    assert config["tags"] == ["concept_device", "level_1", "rule"]
    assert config["indexes"] == [{"columns": ["mac_address"]}]
    assert config["meta"]["index"] == "device.devices"
    assert config["meta"]["key"] == "mac_address"
    tests = found["columns"][0]["data_tests"]
    assert tests[:2] == ["key_present", "one_row_per_entity"]
    assert tests[2]["only_entities_of_index"]["arguments"] == {"index": "ref('device__devices')"}


def test_index_values_become_a_subquery_in_models(settings: Settings) -> None:
    sql = rendered(settings, catalog()).files["models/saved/device/device__long.sql"]
    assert "{{ ref('int_sessions') }}" in sql
    assert "{{ ref('device__devices') }}" in sql
    assert ":index_values" not in sql


def test_a_derived_index_calls_the_macro(settings: Settings) -> None:
    files = rendered(settings, catalog())
    sql = files.files["models/saved/device/device__chosen.sql"]
    assert "parent='device__devices'" in sql
    assert "label_model='device__type'" in sql
    assert "labels=['A']" in sql
    assert "minimum_confidence=0.6" in sql
    meta = model(files, "chosen")["config"]["meta"]
    assert meta["parent"] == "device.devices"
    assert meta["label_model"] == "device.type"


def test_label_models_are_sources_unless_they_are_declared(settings: Settings) -> None:
    (source,) = yaml.safe_load(rendered(settings, catalog()).files["models/saved/sources.yml"])[
        "sources"
    ]
    assert (source["name"], source["tables"][0]["name"]) == ("labels", "device__type")
    again = rendered(settings, catalog(), {("labels", "device__type")})
    assert "models/saved/sources.yml" not in again.files


def test_tables_of_connections_are_sources(settings: Settings) -> None:
    body = Connection(dialect="sqlite", database="x", tables=(ConnectionTable(name="people"),))
    connection = saved(Kind.CONNECTION, "", "hr", body)
    known = rule("SELECT mac AS mac_address FROM connection_hr.people", name="known")
    files = rendered(settings, catalog(connection, known)).files
    sources = yaml.safe_load(files["models/saved/sources.yml"])["sources"]
    assert {"name": "connection_hr", "schema": "connection_hr", "tables": [{"name": "people"}]} in (
        sources
    )
    assert "source('connection_hr', 'people')" in files["models/saved/device/device__known.sql"]


def test_refused_definitions_break_their_readers(settings: Settings) -> None:
    wrong = saved(Kind.INDEX, "device", "devices", Index(sql="DELETE FROM int_sessions"))
    files = rendered(settings, catalog(wrong))
    assert {ref.name for ref in files.broken} >= {"devices", "long", "chosen", "numbers"}
    assert files.broken[NUMBERS.ref].startswith("It needs device.")
    assert not [path for path in files.files if path.endswith(".sql") and path != MACRO]


def test_a_broken_rule_does_not_affect_others(settings: Settings) -> None:
    files = rendered(settings, catalog(rule("SELECT * FROM no_such_table", name="wrong")))
    assert [ref.name for ref in files.broken] == ["wrong"]
    assert "no_such_table" in next(iter(files.broken.values()))
    assert f"models/saved/device/{DEVICES.ref.model_name}.sql" in files.files


def test_the_same_definitions_give_the_same_text(settings: Settings) -> None:
    assert rendered(settings, catalog()) == rendered(settings, catalog())
    assert CHOSEN.ref.model_name in str(rendered(settings, catalog()).files)


@pytest.mark.parametrize(
    "text", ["plain", "{{ x }}", "{% raw %}", "{# c #}", "{{{", "{{%", "a { b", "}}", "%}", ""]
)
def test_no_text_is_interpreted_as_jinja(text: str) -> None:
    jinja2 = pytest.importorskip("jinja2")
    assert jinja2.Template(literal(text)).render() == text


def test_what_was_saved_for_the_other_engine_says_what_to_change(stack: Settings) -> None:
    hours = rule("SELECT mac_address, sum(seconds) / 3600 AS hours FROM int_sessions GROUP BY 1")
    found = catalog(hours)
    for engine, broken in (("postgres", False), ("duckdb", True)):
        settings = stack.model_copy(update={"sql_engine": engine})
        names = NameTable.of(found, settings)
        reasons = render(found, names, (), settings.sql_engine).broken
        assert (hours.ref in reasons) == broken
    assert "sum(...)::double precision" in reasons[hours.ref]
