"""A small concept, and an MLflow that is ready at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.labelling.small import World, fill
from tippers_dagster.settings import Settings, get_settings


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with MLflow's tables to copy: making them takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def world(stack: Settings) -> Iterator[World]:
    """The concept's tables, nothing of it labelled yet; no MLflow."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = World(stack, instance)
        fill(made)
        yield made


@pytest.fixture
def logged(
    world: World, mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """The same, with an MLflow of its own."""
    file = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_template, file)
    monkeypatch.setenv("TIPPERS_MLFLOW_URL", f"sqlite:///{file}")
    get_settings.cache_clear()
    world.settings = get_settings()
    return world
