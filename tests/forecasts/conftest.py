"""Two rooms of a campus over five weeks, and an MLflow that is ready at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.forecasts.small import World, make
from tests.labelling.conftest import mlflow_template
from tippers_dagster.settings import Settings, get_settings

__all__ = ["mlflow_template"]


@pytest.fixture
def world(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Occupancy, all of it computed, and nothing forecast yet; no MLflow, no other processes."""
    monkeypatch.setenv("TIPPERS_THREADS", "1")
    get_settings.cache_clear()
    settings = get_settings()
    make(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(settings, instance)


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
