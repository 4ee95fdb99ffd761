from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from tippers_dagster.catalog import files, store
from tippers_dagster.catalog.handwritten import project_source, read_handwritten
from tippers_dagster.catalog.kinds import Index, Kind, Rule
from tippers_dagster.catalog.plain_sql import PlainSql
from tippers_dagster.catalog.tables import definition
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

from .conftest import REPOSITORY, draft, ref

LEVELS = {"device": 1, "people": 2, "resident": 3, "student": 4}


def test_the_four_levels_are_there_at_once(stack: Settings) -> None:
    catalog = store.load_catalog(stack)
    assert catalog.unusable == {}
    assert catalog.problems == {}
    assert {concept: catalog.level(concept) for concept in LEVELS} == LEVELS
    assert catalog.labels("device") == ("STATIC", "LAPTOP", "PHONE")
    below = {catalog.get("device", "devices").ref}
    for found in catalog.order:
        if below & set(catalog.dependencies(found)):
            below.add(found)
    assert catalog.get("student", "degree").ref in below


def test_models_are_shown_as_plain_sql(stack: Settings) -> None:
    bodies = [d.body for d in store.load_catalog(stack).definitions.values()]
    texts = [body.sql for body in bodies if isinstance(body, Rule | Index)]
    assert len(texts) > 30
    assert not [text for text in texts if "{{" in text or "{%" in text]
    assert any("in (select mac_address from device.devices)" in text for text in texts)


def test_export_and_import_of_all_saves_nothing(stack: Settings, tmp_path: Path) -> None:
    every = store.list_definitions(stack)
    files.export(tmp_path / "all", every)
    outcome = store.save_all(stack, files.read_folder(tmp_path / "all"), by="ada")
    assert set(outcome.values()) == {"unchanged"}
    assert len(outcome) == len(every)
    with warehouse_engine(stack).connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(definition)) == 0


def test_a_threshold_is_changed_by_saving_a_definition_of_the_same_name(stack: Settings) -> None:
    name = ref("device.static_always_on", "labelling_function")
    given = store.get(stack, name)
    assert given.origin == "git"
    changed = draft(
        "labelling_function",
        str(name),
        **given.body.model_dump(exclude={"conditions"}),
        conditions=[{"when": "mean_hours >= 20", "label": "STATIC"}],
    )
    store.save(stack, changed, by="ada", expected_version=0)
    catalog = store.load_catalog(stack)
    assert catalog.definitions[name].body == changed.body
    assert catalog.problems == {}
    store.delete(stack, name, by="ada")
    assert store.get(stack, name) == given


def test_a_model_with_other_dbt_features_is_unchanged() -> None:
    plain = PlainSql(REPOSITORY / "dbt_project", "UTC")
    assert plain("select * from {{ ref('int_sessions') }}\n\n\n") == "select * from int_sessions"
    assert "time '09:00'" in plain("select {{ within_hours('09:00', '17:00') }}")
    assert plain("select '{{ var('timezone') }}'") == "select 'UTC'"
    for text in ("{{ run_query('x') }}", "{% snapshot a %}{% endsnapshot %}", "{{ 1 + 'a' }}"):
        assert plain(text) == text


META = "kind: rule, concept: device, name: r, index: devices"


@pytest.mark.parametrize(
    ("name", "meta", "said"),
    [
        ("device__r", META.replace("rule", "rool"), "no kind 'rool'"),
        ("device__q", META, "must be named device__r"),
        ("device__r", META.replace("name: r", "name: R"), "is not a name"),
        ("device__r", META.replace("concept: device, ", ""), "needs a concept"),
        ("device__r", "kind: label_model, concept: device, name: r", "no device__r.sql"),
    ],
)
def test_models_with_wrong_properties_are_named(
    project: Path, deployment: Settings, name: str, meta: str, said: str
) -> None:
    (project / "models").mkdir()
    (project / "models" / "device__r.sql").write_text("select 1")
    (project / "models" / "r.yml").write_text(
        f"models:\n- name: {name}\n  config:\n    meta: {{{meta}}}\n"
    )
    found = read_handwritten(deployment)
    assert found.definitions == ()
    ((place, reason),) = found.unusable.items()
    assert place == f"models/r.yml: {name}"
    assert said in reason


def test_a_duplicate_name_is_reported(project: Path, deployment: Settings) -> None:
    for given in (
        draft("feature", "device.a", index="i", sql="s"),
        draft("classifier", "device.a", index="i", label_model="m", features=["f"]),
    ):
        for path, content in files.render(given).items():
            (project / "definitions" / path).parent.mkdir(parents=True, exist_ok=True)
            (project / "definitions" / path).write_bytes(content)
    found = read_handwritten(deployment)
    assert len(found.definitions) == 1
    assert "another definition device.a" in next(iter(found.unusable.values()))


def test_the_project_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_source(get_settings()) == REPOSITORY / "dbt_project"
    monkeypatch.setenv("TIPPERS_DBT_PROJECT", str(tmp_path))
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="no dbt project"):
        project_source(get_settings())


def test_500_saved_definitions_load(stack: Settings, tmp_path: Path) -> None:
    """In addition to those in the files, which have not been read before."""
    copy = tmp_path / "project"
    shutil.copytree(REPOSITORY / "dbt_project", copy, ignore=shutil.ignore_patterns("target"))
    rules = [
        draft("rule", f"device.r{i}", index="devices", sql=f"SELECT mac_address, {i} AS hours")
        for i in range(500)
    ]
    store.save_all(stack, rules, by="ada")
    fresh = stack.model_copy(update={"dbt_project": copy})
    catalog = store.load_catalog(fresh)
    assert catalog.problems == {}
    assert len(catalog.of_kind(Kind.RULE)) > 500
