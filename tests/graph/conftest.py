"""A deployment with a small source and a small set of saved definitions on two levels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.small import Small
from tests.sql.definitions import fill_source, use_bare_project
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import Settings, get_settings


@pytest.fixture
def bare(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TIPPERS_RETRY_DELAY_SECONDS", "0")
    monkeypatch.setenv("TIPPERS_REFRESH_SECONDS", "0")
    monkeypatch.setenv("TIPPERS_REFRESH_DEFAULT", "on change")
    use_bare_project(monkeypatch, tmp_path / "project")
    fill_source(get_settings())
    return get_settings()


@pytest.fixture
def bare_folder(bare: Settings) -> Path:
    """The folder of the deployment's own dbt project."""
    assert bare.dbt_project is not None
    return bare.dbt_project


@pytest.fixture
def small(bare: Settings) -> Iterator[Small]:
    with dagster_instance(bare) as instance:
        yield Small(bare, instance)
