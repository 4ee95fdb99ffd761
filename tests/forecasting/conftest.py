"""Two rooms of a campus over five weeks, and an MLflow that is ready at once."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.forecasting.small import World, make
from tippers_dagster.settings import Settings, get_settings


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
def logged(world: World, own_mlflow: str) -> World:
    """The same, with an MLflow of its own."""
    world.settings = get_settings()
    return world
