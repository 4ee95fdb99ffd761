"""A small campus, and an MLflow that is ready at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.headcount.campus import make
from tests.labelling.conftest import mlflow_template
from tippers_dagster.settings import Settings, get_settings

__all__ = ["mlflow_template"]


@pytest.fixture
def campus(stack: Settings) -> Settings:
    """Two rooms, computed and labelled; no MLflow."""
    make(stack)
    return stack


@pytest.fixture
def logged(
    campus: Settings, mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The same, with an MLflow of its own."""
    file = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_template, file)
    monkeypatch.setenv("TIPPERS_MLFLOW_URL", f"sqlite:///{file}")
    get_settings.cache_clear()
    return get_settings()
