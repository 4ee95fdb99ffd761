"""The deployment of ``defined.py``, all of it up to date; import the fixtures a test asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlit_app.services.app import App
from tests.streamlit_app.defined import computed, defined_app, make_fresh
from tippers_dagster.sql import project

__all__ = ["app", "computed", "defined_app", "fresh"]


@pytest.fixture
def app(defined_app: App, parsed_projects: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Nothing is run here: so the same definitions are parsed once for all tests."""
    monkeypatch.setattr(project, "connection_name", lambda settings: "")
    (defined_app.settings.home_path / "dbt").symlink_to(parsed_projects)
    return defined_app


@pytest.fixture
def fresh(app: App) -> App:
    """All of it computed from what it is now."""
    make_fresh(app)
    return app
