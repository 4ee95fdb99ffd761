"""`tippers dbt` runs dbt on the definitions as they are, and is as dbt is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.sql.definitions import MACS, fill_source, use_bare_project
from tippers_dagster.cli import main
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Done:
    """The exit status of a command, and its output."""

    status: int
    output: str
    errors: str


Dbt = Callable[..., Done]


@pytest.fixture
def dbt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dbt:
    """`tippers dbt` in another folder; the command itself in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tippers", "dbt", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capfd.readouterr())

    return run


def test_its_help_is_that_of_dbt(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", "dbt", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0
    assert "Usage: dbt" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["lake", pytest.param("warehouse", marks=pytest.mark.second_engine)]
)
def test_it_runs_dbt_on_the_definitions(
    target: str, dbt: Dbt, stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = use_bare_project(monkeypatch, tmp_path / "project")
    fill_source(settings)
    done = dbt("ls", "--select", "stg_space+", "--resource-type", "model")
    assert done.status == 0, done.output + done.errors
    assert "tippers.staging.int_sessions" in done.output
    assert "stg_faculty_data" not in done.output

    done = dbt("build", "--select", "+int_sessions", "--target", target)
    assert done.status == 0, done.output + done.errors
    assert "leaked" not in done.output + done.errors
    show = ("show", "--inline", "select count(*) as n from {{ ref('int_sessions') }}")
    done = dbt(*show, f"--target={target}")
    assert f"| {3 * len(MACS)} |" in done.output, done.output + done.errors

    done = dbt("docs", "generate", "--target", target)
    assert done.status == 0, done.output + done.errors
    made = json.loads((settings.home_path / "dbt" / "target" / "catalog.json").read_text())
    assert "model.tippers.int_sessions" in made["nodes"]
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "logs").exists()

    # What dbt refuses is refused, with its status.
    assert dbt("ls", "--select", "state:modified").status == 2
