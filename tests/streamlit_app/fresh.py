"""The deployment of ``defined.py``, all of it up to date; import the fixtures a test asks for."""

from __future__ import annotations

import pytest

from streamlit_app.services.app import App
from tests.streamlit_app.defined import computed, defined_app, make_fresh

__all__ = ["app", "computed", "defined_app", "fresh"]


@pytest.fixture
def app(defined_app: App) -> App:
    """All of it computed once."""
    return defined_app


@pytest.fixture
def fresh(defined_app: App) -> App:
    """All of it computed from what it is now."""
    make_fresh(defined_app)
    return defined_app
