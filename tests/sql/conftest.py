"""A deployment whose dbt project has no definitions of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sql.definitions import use_bare_project
from tippers_dagster.settings import Settings


@pytest.fixture
def bare(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return use_bare_project(monkeypatch, tmp_path / "project")
