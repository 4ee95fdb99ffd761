"""`tippers connections`."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from tests.connections.conftest import PASSWORD, Other
from tippers_dagster.cli import connections as command
from tippers_dagster.connections import secrets, store
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings


def run(*words: str, given: str | None = None, fails: bool = False) -> str:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["connections", *words], input=given, env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert (done.exit_code != 0) == fails, done.output
    assert "p@ss" not in done.output
    return done.output


def test_from_nothing_to_a_synced_table(stack: Settings, other: Other) -> None:
    assert "no connections" in run("list")
    where = [f"--{name}={value}" for name, value in other.fields.items()]
    made = run("add", "registrar", *where, "--password-stdin", given=PASSWORD + "\n")
    assert "registrar works: postgresql" in made
    assert "enrolment" in run("tables", "registrar", "--columns")
    with pytest.raises(BadInput, match="any table"):
        run("sync", "registrar")
    chosen = run("choose", "registrar", "enrolment", "--cursor", "changed_at")
    assert "incrementally by changed_at, primary key id" in chosen
    run("choose", "registrar", "room")
    done = run("sync", "registrar", "--table", "enrolment")
    assert "100 rows" in done
    assert "cursor at 2025-01-05 04:00:00" in done
    shown = run("show", "registrar")
    assert "password      stored" in shown
    assert "room: in full; last synced: never" in shown
    assert "100 rows" in shown
    assert "registrar" in run("list")

    other.run("DROP TABLE room")
    assert "no table room" in run("sync", "registrar", fails=True)
    with pytest.raises(BadInput, match="nothing"):
        run("sync", "registrar", "--table", "nothing")

    assert "newest key: 1" in run("rotate")
    assert "removed" in run("leave-out", "registrar", "room")
    assert "deleted" in run("delete", "registrar")
    assert "no connections" in run("list")


def test_the_password_is_asked_for_and_kept(stack: Settings, other: Other) -> None:
    where = [f"--{name}={value}" for name, value in other.fields.items()]
    run("add", "registrar", *where, given=PASSWORD + "\n")
    run("edit", "registrar", "--sync-seconds", "60")
    body = store.get(stack, "registrar")
    assert body.sync_seconds == 60
    assert secrets.decrypt(stack, "registrar", body) == PASSWORD
    run("test", "registrar")
    wrong = run("edit", "registrar", "--password-stdin", given="other\n")
    assert "wrong user or password" in wrong
    run("test", "registrar", fails=True)
    with pytest.raises(BadInput, match="No change was given"):
        run("edit", "registrar")
    with pytest.raises(BadInput, match="no password"):
        run("edit", "registrar", "--password-stdin", given="\n")


def test_no_command_takes_a_password_as_an_argument() -> None:
    for name in ("add", "edit"):
        shown = run(name, "--help")
        assert "--password " not in shown
