"""A small campus, and an MLflow store that is ready at once."""

from __future__ import annotations

import pytest

from tests.people.counts.campus import make
from tippers_dagster.settings import Settings, get_settings


@pytest.fixture
def campus(stack: Settings) -> Settings:
    """Two rooms, computed and labelled; no MLflow."""
    make(stack)
    return stack


@pytest.fixture
def logged(campus: Settings, own_mlflow: str) -> Settings:
    """The same, with its own MLflow store."""
    return get_settings()
