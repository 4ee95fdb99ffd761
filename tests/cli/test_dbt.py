"""`tippers dbt` runs dbt on the definitions as they are, and is as dbt is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sql.definitions import MACS, fill_source, use_bare_project
from tippers_dagster.settings import Settings


def dbt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", "dbt", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_its_help_is_that_of_dbt(tmp_path: Path) -> None:
    done = dbt("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: dbt" in done.stdout


@pytest.mark.slow
def test_it_runs_dbt_on_the_definitions_with_both_engines(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = use_bare_project(monkeypatch, tmp_path / "project")
    fill_source(settings)
    done = dbt("ls", "--select", "stg_space+", "--resource-type", "model", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tippers.staging.int_sessions" in done.stdout
    assert "stg_faculty_data" not in done.stdout

    for target in ("lake", "warehouse"):
        done = dbt("build", "--select", "+int_sessions", "--target", target, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        show = ("show", "--inline", "select count(*) as n from {{ ref('int_sessions') }}")
        done = dbt(*show, f"--target={target}", cwd=tmp_path)
        assert f"| {3 * len(MACS)} |" in done.stdout, done.stdout + done.stderr

    done = dbt("docs", "generate", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((settings.home_path / "dbt" / "target" / "catalog.json").read_text())
    assert "model.tippers.int_sessions" in made["nodes"]
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "logs").exists()

    # What dbt refuses is refused, with its status.
    assert dbt("ls", "--select", "state:modified", cwd=tmp_path).returncode == 2
