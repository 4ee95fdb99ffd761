"""Shared by all views of the page: the selected forecaster and space, and model names."""

from __future__ import annotations

from dataclasses import dataclass

from streamlit_app.services.app import App
from streamlit_app.services.forecasts import Defined
from streamlit_app.ui import state
from tippers_dagster.campus.spaces.tree import SpaceTree

VIEWS = {"ahead": "Forecast", "tested": "Past forecasts", "models": "Models"}

MODEL_NAMES = {
    "seasonal_naive": "Same time last week",
    "past_weeks": "Average of past weeks",
    "zero": "Always empty",
    "seasonal_smoothing": "Seasonal smoothing",
    "mstl": "MSTL",
    "lightgbm": "LightGBM",
    "prophet": "Prophet",
    "transformer": "Transformer",
}


@dataclass(frozen=True, eq=False)
class Context:
    """The selected forecaster, space, days of history and bin width in seconds."""

    app: App
    tree: SpaceTree
    forecaster: Defined
    space: str
    days: int
    width: int

    @property
    def view(self) -> str:
        """The selected view, a key of ``VIEWS``."""
        return state.one_of("view", list(VIEWS), "ahead") or "ahead"

    @property
    def unit(self) -> str:
        """What is forecast: ``devices`` or ``people``."""
        assert self.forecaster.body is not None  # checked: the forecaster has no problem
        return self.forecaster.body.counts

    @property
    def name(self) -> str:
        """The name of the space."""
        at = self.tree.index.get(self.space)
        return self.space if at is None else self.tree.names[at]


def space_key(forecaster: str) -> str:
    """The key of the widget that selects the space."""
    return f"forecasts_space {forecaster}"


def model_name(name: str) -> str:
    """The display name of a model."""
    return MODEL_NAMES.get(name, name.replace("_", " ").capitalize())


def typical_error(mae: float, unit: str) -> str:
    """A mean absolute error: ``±14 devices``, ``±0.4 people``."""
    return f"±{mae:,.0f} {unit}" if mae >= 10 else f"±{mae:,.1f} {unit}"


def width_of(chosen: Defined) -> int:
    """A forecaster's bin width in seconds."""
    assert chosen.body is not None  # checked: the forecaster has no problem
    return chosen.body.interval_seconds
