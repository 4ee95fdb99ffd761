"""A small concept, and an MLflow that is ready at once."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.labelling.small import World, fill
from tippers_dagster.settings import Settings, get_settings


@pytest.fixture
def world(stack: Settings) -> Iterator[World]:
    """The concept's tables, without labels yet and without MLflow."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = World(stack, instance)
        fill(made)
        yield made


@pytest.fixture
def logged(world: World, own_mlflow: str) -> World:
    """The same, with an MLflow of its own."""
    world.settings = get_settings()
    return world
