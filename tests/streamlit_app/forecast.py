"""A hall with two rooms over five weeks and its forecaster, backtested; import the fixture."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
import streamlit as st

from streamlit_app.services.app import App
from tests.forecasting.small import BODY, World, make
from tippers_dagster.access.model import Person, Role
from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.settings import Settings

PLAIN = BODY.model_copy(update={"models": ("zero",)})
"""With the models only that every one must beat: there is nothing to train."""


@pytest.fixture
def forecast_app(stack: Settings) -> Iterator[App]:
    """The forecaster ``hall`` is saved and computed; an analyst asks."""
    _forget_pages()
    make(stack)
    draft = Draft(Ref("", "hall", Kind.FORECASTER), PLAIN, "The hall, a week ahead")
    store.save_all(stack, [draft], by="ada")
    compute(stack)
    yield App(stack, Person("ada", Role.ANALYST))
    _forget_pages()


def compute(settings: Settings, **changes: object) -> None:
    """Materialise backtest and forecast, by a changed definition perhaps."""
    body = PLAIN.model_copy(update=changes)
    with dg.DagsterInstance.ephemeral() as instance:
        assert World(settings, instance, body).run().success


def _forget_pages() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()
