"""The environment of Dagster's processes, and the files that configure Dagster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tippers_dagster.platform.dagster.environment import (
    dagster_environment,
    packaged_file,
    use_dagster_environment,
)
from tippers_dagster.settings import Settings, get_settings

REPOSITORY = Path(__file__).parents[3]


def test_dagster_accepts_the_whole_instance_file(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster import DagsterInstance

    for name, value in dagster_environment(stack).items():
        monkeypatch.setenv(name, value)
    with DagsterInstance.get() as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == stack.max_concurrent_runs + 1, "and a live one"
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 0
        assert not instance.telemetry_enabled
        assert "Postgres" in type(instance.event_log_storage).__name__


def test_variables_that_are_set_are_kept(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")
    monkeypatch.setenv("DAGSTER_HOME", "/another/project")
    environment = dagster_environment(stack)
    assert environment["DAGSTER_EVENT_BATCH_SIZE"] == "7"
    # Another project's instance must not receive this one's runs.
    assert environment["DAGSTER_HOME"] == str(stack.home_path / "dagster")


def test_an_older_instance_file_in_the_home_is_replaced(stack: Settings) -> None:
    dagster_environment(stack)
    target = stack.home_path / "dagster" / "dagster.yaml"
    target.write_text("telemetry: {enabled: true}\n")
    dagster_environment(stack)
    assert target.read_bytes() == packaged_file("dagster.yaml").read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["dagster.yaml"]


def test_children_have_the_same_settings(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from tippers_dagster.platform.postgres.databases import databases

    before = databases(stack)
    for name, value in dagster_environment(stack).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    assert databases(get_settings()) == before


def test_the_workspace_names_the_code_server_of_the_settings(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._core.workspace.config_schema import ensure_workspace_config

    for name, value in dagster_environment(stack).items():
        monkeypatch.setenv(name, value)
    path = packaged_file("workspace.yaml")
    found = ensure_workspace_config(yaml.safe_load(path.read_text()), str(path))
    assert found["load_from"] == [
        {
            "grpc_server": {
                "host": stack.code_server_host,
                "port": stack.code_server_port,
                "location_name": "tippers",
            }
        }
    ]


def test_dagsters_command_line_runs_in_this_environment(stack: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", "dagster", "run", "list", "--limit", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_this_process_reaches_the_storage(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import DagsterInstance

    for name in dagster_environment(stack):
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIPPERS_HOME", str(stack.home_path))
    use_dagster_environment(stack)
    with DagsterInstance.get() as instance:
        assert instance.get_runs() == []


def test_the_containers_instance_file_differs_only_in_its_logs() -> None:
    local = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    deployed = yaml.safe_load((REPOSITORY / "deploy" / "dagster.yaml").read_text())
    assert deployed.pop("compute_logs")["class"] == "S3ComputeLogManager"
    assert deployed == local


def test_the_containers_instance_file_is_valid(
    stack: Settings, s3: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster import DagsterInstance

    monkeypatch.setenv("TIPPERS_DAGSTER_YAML", str(REPOSITORY / "deploy" / "dagster.yaml"))
    monkeypatch.setenv("TIPPERS_BUCKET", "tippers")
    get_settings.cache_clear()
    for name, value in dagster_environment(get_settings()).items():
        monkeypatch.setenv(name, value)
    with DagsterInstance.get() as instance:
        assert type(instance.compute_log_manager).__name__ == "S3ComputeLogManager"
