"""The rendered project: complete or absent, parsed once, shared by all processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sql.definitions import DEVICES, LONG, NUMBERS, catalog, rule, use_bare_project
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Index, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import SettingsError
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.sql import project as module
from tippers_dagster.sql.project import DbtError, Project, rendered_project

HOSTILE = (
    "{{ env_var('TIPPERS_DBT_PASSWORD') }} {% raw %} {# x #} \"quoted\" 'too': - # |\nline 2 é"
)


@pytest.fixture
def bare(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Nothing is parsed yet."""
    shutil.rmtree(stack.home_path / "dbt")
    return use_bare_project(monkeypatch, tmp_path / "project")


def models(project: Project) -> set[str]:
    nodes = project.manifest["nodes"].values()
    return {n["name"] for n in nodes if n["resource_type"] == "model" and "__" in n["name"]}


def folders(settings: Settings) -> set[str]:
    return {p.name for p in (settings.home_path / "dbt").iterdir() if p.is_dir()}


def test_a_project_is_made_and_parsed_once(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    url = bare.database_url.get_secret_value()  # type: ignore[union-attr]
    monkeypatch.setenv("TIPPERS_DATABASE_URL", url.replace("postgres@", "postgres:s3cret-pw@"))
    get_settings.cache_clear()
    bare = get_settings()
    told = rule(LONG.body.sql, description=HOSTILE, owner=HOSTILE)  # type: ignore[attr-defined]
    project = rendered_project(bare, catalog(told))
    assert models(project) == {
        "device__devices", "device__long", "device__chosen", "device__numbers"
    }  # fmt: skip
    assert project.broken == {}
    # `dbt build --selector device` works for a saved concept too.
    assert project.manifest["selectors"].keys() == {"device", "level_1"}
    node = project.manifest["nodes"]["model.tippers.device__long"]
    assert node["description"] == HOSTILE
    assert node["config"]["meta"]["owner"] == HOSTILE
    assert (node["schema"], node["alias"]) == ("rules", "device__long")

    parsed_at = project.manifest_path.stat().st_mtime_ns
    again = rendered_project(bare, catalog(told))
    assert again == project
    assert again.manifest_path.stat().st_mtime_ns == parsed_at
    assert folders(bare) == {project.folder.name}

    files = [p for p in project.folder.rglob("*") if p.is_file()]
    assert not [p for p in files if b"s3cret-pw" in p.read_bytes()]

    # A change gives another folder, and dbt parses only the difference.
    changed = rendered_project(bare, catalog())
    assert changed.folder != project.folder
    assert project.folder.is_dir()


def test_an_unchanged_project_is_not_parsed_again(bare: Settings) -> None:
    folder = rendered_project(bare, catalog()).folder
    code = (
        "import sys\n"
        "from tests.sql.definitions import catalog\n"
        "from tippers_dagster.settings import get_settings\n"
        "from tippers_dagster.sql.project import rendered_project\n"
        "found = catalog(); found.problems\n"
        "before = set(sys.modules)\n"
        "project = rendered_project(get_settings(), found)\n"
        "assert not {'dbt', 'sqlglot', 'dagster'} & (set(sys.modules) - before)\n"
        "assert 'dbt' not in sys.modules\n"
        "print(project.folder)\n"
    )
    assert python(code).stdout.strip() == str(folder)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )


def test_concurrent_processes_get_the_same_complete_project(bare: Settings) -> None:
    code = (
        "from tests.sql.definitions import catalog\n"
        "from tippers_dagster.settings import get_settings\n"
        "from tippers_dagster.sql.project import rendered_project\n"
        "project = rendered_project(get_settings(), catalog())\n"
        "assert len(project.manifest['nodes']) > 10\n"
        "print(project.folder)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    found = {process.communicate(timeout=60)[0].strip() for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(found) == 1
    assert folders(bare) == {Path(found.pop()).name}


def test_definitions_that_dbt_cannot_parse_are_left_out_with_their_readers(
    bare: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "project" / "models" / "device"
    folder.mkdir()
    (folder / "device__made.sql").write_text("select * from {{ ref('nowhere') }}")
    git = Definition(Ref("device", "made", Kind.INDEX), Index(sql="..."), origin="git")
    user = rule("SELECT mac_address FROM made", name="user", index="made")
    base = catalog(user)
    found = Catalog([d for d in base.definitions.values() if d.ref != git.ref], [git])
    project = rendered_project(bare, found)
    assert {ref.name for ref in project.broken} == {"made", "user"}
    assert "nowhere" in project.broken[git.ref]
    assert project.broken[user.ref].startswith("It needs device.made")
    assert "device__long" in models(project)
    assert "device__made" not in models(project)


def test_a_saved_definition_replaces_the_hand_written_one(bare: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "project" / "models" / "device"
    folder.mkdir()
    (folder / "device__devices.sql").write_text("select 'by hand' as mac_address")
    (folder / "device__devices.yml").write_text("models: [{name: device__devices}]")
    git = Definition(DEVICES.ref, Index(sql="..."), origin="git")
    found = Catalog(catalog().definitions.values(), [git])
    sql = rendered_project(bare, found).manifest["nodes"]["model.tippers.device__devices"]
    assert "by hand" not in sql["raw_code"]
    only_git = Catalog([d for d in catalog().definitions.values() if d.ref != git.ref], [git])
    sql = rendered_project(bare, only_git).manifest["nodes"]["model.tippers.device__devices"]
    assert "by hand" in sql["raw_code"]


def test_a_broken_hand_written_project_is_reported(bare: Settings, tmp_path: Path) -> None:
    (tmp_path / "project" / "models" / "staging" / "bad.sql").write_text("{{ nonsense(")
    with pytest.raises(DbtError, match=r"bad\.sql"):
        rendered_project(bare, catalog())
    assert folders(bare) == set()


def test_a_missing_project_is_reported(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPPERS_DBT_PROJECT", "/nowhere")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="no dbt project"):
        rendered_project(get_settings(), Catalog())


def test_old_projects_are_removed_but_not_those_in_use(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = rendered_project(bare, catalog()).folder
    root = used.parent
    long_ago = time.time() - 2 * module.KEPT_SECONDS
    old = [root / f"{n:032x}" for n in range(5)]
    for n, folder in enumerate(old):
        folder.mkdir()
        os.utime(folder, (long_ago + n, long_ago + n))
    os.utime(used, (long_ago - 1, long_ago - 1))
    (root / ".new-1").mkdir()
    new = rendered_project(bare, catalog(without=[DEVICES]))
    assert folders(bare) == {used.name, new.folder.name, old[-1].name, old[-2].name}
    # Problems in the catalog are reported, and the definitions left out.
    assert {LONG.ref, NUMBERS.ref} <= set(new.broken)
    assert models(new) == set()
