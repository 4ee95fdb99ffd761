"""``tippers definitions`` on the project's definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.cli import definitions
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

NAME = "device.static_always_on"
REF = Ref("device", "static_always_on", Kind.LABELLING_FUNCTION)


def run(*words: str, exit_code: int = 0) -> str:
    app = typer.Typer()
    definitions.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["definitions", *words], env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == exit_code, done.output
    return done.output


def edited(stack: Settings, folder: Path, old: str, new: str) -> Path:
    """A file of the labelling function, changed."""
    text = run("show", NAME)
    assert old in text
    path = folder / "edited.yml"
    path.write_text(text.replace(old, new))
    return path


def test_list_and_show(stack: Settings) -> None:
    listed = run("list")
    assert "device.always_on" in listed
    assert "resident.student_irregular_hours" in listed  # not truncated without a terminal
    assert "cannot work" not in listed
    of_kind = run("list", "--kind", "label_model", "--concept", "people")
    assert "people.visitor_or_resident" in of_kind
    assert "device.device_type" not in of_kind
    assert "No definition found" in run("list", "--concept", "nobody")
    shown = run("show", "device.always_on")
    assert "# used by        device.static_always_on" in shown
    assert "index: " in shown
    assert "sql: |" in shown
    assert "history is in git" in run("show", NAME, "--history")
    with pytest.raises(BadInput, match=r"device\.always_on"):
        run("show", "device.alway_on")


def test_save_history_and_back(stack: Settings, tmp_path: Path) -> None:
    run(
        "save", str(edited(stack, tmp_path, ">= 15", ">= 16")), "--by", "ada", "--from-version", "0"
    )
    path = edited(stack, tmp_path, ">= 16", ">= 17")
    run("save", str(path), "--by", "bob", "--from-version", "1")
    path.write_text(path.read_text().replace(">= 17", ">= 18"))
    with pytest.raises(store.Conflict, match="saved by bob"):
        run("save", str(path), "--by", "cyd", "--from-version", "1")
    history = run("show", NAME, "--history")
    assert "bob" in history
    assert "conditions" in history
    assert ">= 16" in run("show", NAME, "--version", "1")
    assert "replaces" in run("show", NAME)
    assert "restored from version 1 (version 3)" in run("restore", NAME, "1")
    assert ">= 16" in run("show", NAME)
    assert "used again" in run("delete", NAME)
    assert ">= 15" in run("show", NAME)


def test_validate(stack: Settings, tmp_path: Path) -> None:
    assert "no problems found" in run("validate")
    assert "Checked: 1; no problems found" in run("validate", NAME)
    wrong = edited(stack, tmp_path, "STATIC", "TOASTER")
    said = run("validate", str(wrong), exit_code=1)
    assert f"{NAME}: TOASTER is not a label of the concept device" in said
    with pytest.raises(BadInput, match="TOASTER"):
        run("save", str(wrong))


def test_retire_and_activate(stack: Settings) -> None:
    said = run("retire", "device.always_on", "--by", "ada")
    assert "cannot work now: device.static_always_on" in said
    said = run("validate", exit_code=1)
    assert "device.always_on, which is retired" in said
    assert len(said.splitlines()) == 2
    assert "`tippers definitions validate` shows why" in run("list")
    assert "retired" in run("list", "--all", "--concept", "device")
    run("activate", "device.always_on")
    assert "no problems found" in run("validate")
    assert store.get(stack, Ref("device", "always_on", Kind.RULE)).origin == "git"


def test_export_and_import(stack: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert "Nothing is saved yet" in run("export", str(folder))
    run("export", str(folder), "--git")
    assert "0 files written" in run("export", str(folder), "--git")
    assert "no problems found" in run("validate", str(folder))
    path = folder / "device/labelling_functions/static_always_on.yml"
    path.write_text(path.read_text().replace(">= 15", ">= 14"))
    said = run("import", str(folder), "--by", "ada")
    assert "changed  device.static_always_on" in said
    assert store.get(stack, REF).version == 1
    assert "created" not in run("import", str(folder))
    assert store.get(stack, REF).version == 1
    # Now only saved definitions; the other files are left over, and removed with --prune.
    assert "--prune removes it" in run("export", str(folder))
    run("export", str(folder), "--prune")
    assert [p.name for p in folder.rglob("*.*")] == ["static_always_on.yml"]


def test_a_connection_is_checked_and_removed_by_its_own_commands(
    stack: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "mine" / "connections" / "shop.yml"
    file.parent.mkdir(parents=True)
    body = "dialect: postgresql\nhost: db.example.org\ndatabase: shop\nuser: reader\n"
    file.write_text(f"kind: connection\nname: shop\n{body}options: {{passfile: /etc/passwd}}\n")
    with pytest.raises(BadInput, match="passfile"):
        run("import", str(tmp_path / "mine"))
    file.write_text(f"kind: connection\nname: shop\n{body}")
    run("import", str(tmp_path / "mine"))
    for words in (["delete"], ["retire"], ["rename"]):
        with pytest.raises(BadInput, match="tippers connections delete shop"):
            run(*words, "connection.shop", *(["store"] if words == ["rename"] else []))
