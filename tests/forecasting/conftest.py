"""Two rooms of a campus over five weeks, and an MLflow store that is ready at once."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.forecasting.small import World, make
from tippers_dagster.settings import Settings, get_settings


@pytest.fixture
def world(stack: Settings) -> Iterator[World]:
    """Computed occupancy without forecasts; no MLflow."""
    make(stack)
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(stack, instance)


@pytest.fixture
def logged(world: World, own_mlflow: str) -> World:
    """The same, with its own MLflow store."""
    world.settings = get_settings()
    return world
