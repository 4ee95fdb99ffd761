"""What all parts of the page share."""

from __future__ import annotations

from dataclasses import dataclass

from streamlit_app.services.app import App
from streamlit_app.services.forecasts import Defined
from streamlit_app.ui import state
from streamlit_app.views.occupancy.shown import bins, day, moment
from tippers_dagster.campus.spaces.tree import SpaceTree

__all__ = ["VIEWS", "Shown", "bins", "day", "model_words", "moment", "space_key", "width_of"]

VIEWS = {"ahead": "Expected", "tested": "Past forecasts", "models": "Models"}

WORDS = {
    "seasonal_naive": "last week again",
    "past_weeks": "same hour of past weeks",
    "zero": "zero",
    "seasonal_smoothing": "seasonal smoothing",
    "mstl": "MSTL",
    "lightgbm": "LightGBM",
    "prophet": "Prophet",
    "transformer": "transformer",
}


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown: a space of a forecaster, with some days of the past."""

    app: App
    tree: SpaceTree
    forecaster: Defined
    space: str
    days: int
    width: int

    @property
    def view(self) -> str:
        """Which part."""
        return state.one_of("view", list(VIEWS), "ahead") or "ahead"

    @property
    def name(self) -> str:
        """Of the space, as it stands in the source."""
        at = self.tree.index.get(self.space)
        return self.space if at is None else self.tree.names[at]


def space_key(forecaster: str) -> str:
    """Of the widget that chooses the space."""
    return f"forecasts_space {forecaster}"


def model_words(name: str) -> str:
    """A model as people call it."""
    return WORDS.get(name, name.replace("_", " "))


def width_of(chosen: Defined) -> int:
    """Seconds of a forecaster's bins."""
    assert chosen.body is not None  # it can work
    return chosen.body.interval_seconds
