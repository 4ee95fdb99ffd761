"""dbt as a child process: it ends with its parent, and statements have a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import sqlalchemy as sa

from tests.sql.definitions import catalog, fill_source, rule
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.sql.environment import dbt_environment
from tippers_dagster.sql.project import rendered_project
from tippers_dagster.sql.running import dbt_run

SLOW = rule(
    "SELECT mac_address, (SELECT count(*) FROM generate_series(1, 100000) a, "
    "generate_series(1, 1000000) b) AS n FROM devices",
    name="slow",
)
ARGUMENTS = ["run", "--select", "+device__slow"]


def busy(settings: Settings) -> bool:
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%1000000%' "
        "AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    with warehouse_engine(settings).connect() as connection:
        return bool(connection.scalar(query))


def until(wanted: bool, settings: Settings) -> None:
    deadline = time.monotonic() + 40
    while busy(settings) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def dbt_of(process: psutil.Process) -> psutil.Process:
    """The dbt that a process runs; it is forked from a template."""
    (dbt,) = (
        forked
        for template in process.children()
        if "template.py" in " ".join(template.cmdline())
        for forked in template.children()
    )
    return dbt


@pytest.mark.slow
def test_dbt_does_not_outlive_its_parent(bare: Settings) -> None:
    fill_source(bare)
    rendered_project(bare, catalog(SLOW))
    code = (
        "from tests.sql.definitions import catalog\n"
        "from tests.sql.test_running import ARGUMENTS, SLOW\n"
        "from tippers_dagster.settings import get_settings\n"
        "from tippers_dagster.sql.project import rendered_project\n"
        "from tippers_dagster.sql.running import dbt_run\n"
        "project = rendered_project(get_settings(), catalog(SLOW))\n"
        "with dbt_run(get_settings(), project, ARGUMENTS, project.manifest['nodes']) as run:\n"
        "    list(run.results())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(True, bare)
    child = dbt_of(psutil.Process(parent.pid))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until(False, bare)
    child.wait(20)


@pytest.mark.slow
def test_it_is_stopped_when_its_output_is_no_longer_read(bare: Settings) -> None:
    fill_source(bare)
    project = rendered_project(bare, catalog(SLOW))
    with dbt_run(bare, project, ARGUMENTS, project.manifest["nodes"]) as run:
        for result in run.results():
            assert result.status == "success"
            if result.unique_id.endswith("device__devices"):
                break
        until(True, bare)
    until(False, bare)
    assert not list((bare.home_path / "dbt" / "runs").iterdir())


@pytest.mark.slow
def test_the_server_cancels_queries_of_a_killed_dbt(bare: Settings) -> None:
    fill_source(bare)
    project = rendered_project(bare, catalog(SLOW))
    with dbt_run(bare, project, ARGUMENTS, project.manifest["nodes"]) as run:
        results = run.results()
        while not next(results).unique_id.endswith("device__devices"):
            continue
        until(True, bare)
        run._process.kill()
        until(False, bare)


@pytest.mark.slow
def test_a_statement_is_stopped_at_the_limit(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_MODEL_TIMEOUT_SECONDS", "1")
    get_settings.cache_clear()
    settings = get_settings()
    fill_source(settings)
    project = rendered_project(settings, catalog(SLOW))
    with dbt_run(settings, project, ARGUMENTS, project.manifest["nodes"]) as run:
        statuses = {r.unique_id.split(".")[-1]: r.status for r in run.results()}
        assert statuses["device__devices"] == "success"
        assert "statement timeout" in run.messages()["model.tippers.device__slow"]
        assert "statement timeout" in (run.error() or "")


def test_url_parameters_reach_dbt(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    url = "postgresql://ada:p%40ss@db.example.org:6543/campus?sslmode=verify-full&sslrootcert=/ca"
    monkeypatch.setenv("TIPPERS_SQL_ENGINE", "postgres")
    monkeypatch.setenv("TIPPERS_DATABASE_URL", url)
    monkeypatch.setenv("TIPPERS_BUILDER_URL", url.replace("//ada:p%40ss", "//bob:b%40b"))
    get_settings.cache_clear()
    home = stack.home_path
    found = dbt_environment(get_settings(), home, home / "target")
    assert found["TIPPERS_DBT_HOST"] == "db.example.org"
    assert found["TIPPERS_DBT_PORT"] == "6543"
    assert found["TIPPERS_DBT_USER"] == "bob"
    assert found["TIPPERS_DBT_PASSWORD"] == "b@b"
    assert found["TIPPERS_DBT_DATABASE"] == "campus"
    assert (found["PGSSLMODE"], found["PGSSLROOTCERT"]) == ("verify-full", "/ca")
    assert "statement_timeout=3600000" in found["PGOPTIONS"]
