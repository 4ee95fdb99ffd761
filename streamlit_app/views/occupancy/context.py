"""Shared by all views of the page: the selected space, and reads that are cached briefly."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.occupancy import computed, series
from streamlit_app.services.occupancy.computed import Extent, Log
from streamlit_app.services.occupancy.series import Figures, Gap, Series
from streamlit_app.services.occupancy.window import SCREEN_POINTS, Window
from streamlit_app.services.words import bin_width, moment, span
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS
from streamlit_app.ui.charts import milliseconds
from tippers_dagster.campus.spaces.facts import UNKNOWN, Facts
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.reading import Count
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

VIEWS = {
    "time": "Over time",
    "week": "Usual week",
    "compare": "Compare",
    "people": "People",
    "labels": "By label",
    "inside": "Spaces inside",
    "floor": "Floor",
}
COUNTED = ("time", "week", "compare", "inside")
"""Views that can count people where they are known."""
SECONDS = 15
"""How long reads are cached."""


@dataclass(frozen=True, eq=False)
class Context:
    """The selected space and its surroundings.

    ``known``: facts about spaces, by id. ``first``: the window when the address has none.
    ``count``: what is counted.
    """

    app: App
    tree: SpaceTree
    known: Mapping[str, Facts]
    space: str
    first: Window
    count: Count = "devices"

    @property
    def unit(self) -> str:
        """What is counted, in words."""
        return "devices" if self.count == "devices" else "people and other devices"

    @property
    def settings(self) -> Settings:
        """The deployment's settings."""
        return self.app.settings

    @property
    def name(self) -> str:
        """The name of the space."""
        return self.tree.names[self.tree.index[self.space]]

    @property
    def view(self) -> str:
        """The selected view, a key of ``VIEWS``."""
        return state.one_of("view", list(VIEWS), "time") or "time"

    @property
    def capacity(self) -> float | None:
        """The capacity of the space in people: from the address, or else from the source."""
        try:
            given = float(state.get("capacity"))
        except ValueError:
            given = 0.0
        return given if 0 < given < 1e9 else self.known.get(self.space, UNKNOWN).capacity


# --- cached reads --------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, max_entries=500, show_spinner=False, hash_funcs=HASH_FUNCS)
def first_window(settings: Settings, space: str) -> Window | None:
    """The default window of a space; None when nothing is computed for it."""
    extent = extent_of(settings, space)
    return computed.default_window(settings, extent) if extent else None


@st.cache_data(ttl=SECONDS, max_entries=500, show_spinner=False, hash_funcs=HASH_FUNCS)
def extent_of(settings: Settings, space: str) -> Extent | None:
    """From the first to the last computed chunk of a space."""
    return computed.extents(settings, [space]).get(space)


@st.cache_resource(ttl=SECONDS, max_entries=200, show_spinner=False, hash_funcs=HASH_FUNCS)
def read(
    settings: Settings,
    spaces: tuple[str, ...],
    start: dt.datetime,
    end: dt.datetime,
    width: int,
    count: Count = "devices",
) -> list[Series]:
    """The counts of some spaces; do not modify them, as they are shared."""
    return series.series(settings, spaces, Window(start, end), width, log_span(settings), count)


@st.cache_data(ttl=SECONDS, max_entries=500, show_spinner=False, hash_funcs=HASH_FUNCS)
def are_people_known(settings: Settings, space: str, window: Window) -> bool:
    """Whether any person is known in a space on the days of a window."""
    return series.are_people_known(settings, space, window)


@st.cache_data(ttl=SECONDS, max_entries=4, show_spinner=False, hash_funcs=HASH_FUNCS)
def log_span(settings: Settings) -> Log | None:
    """The time that the log spans: counts outside are unknown."""
    return computed.log_span(settings)


# --- sentences -----------------------------------------------------------------------------------
def main_numbers(name: str, figures: Figures, window: Window, width: int) -> str:
    """The sentence beside a chart; ``name`` is already Markdown."""
    if figures.peak is None or figures.peak_at is None or figures.mean is None:
        return f"{name}, {span(window)}: not computed."
    return (
        f"{name}, {span(window)}: peak of **{peak_in_words(figures)}** in {bin_width(width)} "
        f"({moment(figures.peak_at)}), mean {mean_in_words(figures)}."
    )


def peak_in_words(figures: Figures) -> str:
    """The peak, in devices, or in people and other devices."""
    peak, people = figures.peak or 0, figures.peak_people
    if people is None:
        return counted(peak, "device")
    return f"{counted(people, 'person', 'people')} and {counted(peak - people, 'other device')}"


def peak_parts(figures: Figures) -> dict[str, int]:
    """What the peak consists of."""
    peak, people = figures.peak or 0, figures.peak_people
    if people is None:
        return {"Devices": peak}
    return {series.KNOWN: people, series.OTHERS: peak - people}


def mean_in_words(figures: Figures) -> str:
    """The mean; of people and of other devices apart."""
    return mean_of(figures.mean or 0, figures.mean_people)


def mean_of(mean: float, people: float | None) -> str:
    """A mean, of which so many are people; None: devices are counted."""
    if people is None:
        return f"{mean:,.1f}"
    return f"{people:,.1f} people and {mean - people:,.1f} other devices"


def what_is_counted(context: Context) -> str:
    """What people and other devices are; empty when devices are counted."""
    if context.count == "devices":
        return ""
    return (
        "People known by user name count once, whatever they carry. Other devices are those whose "
        "user is not known; a person may carry several of them."
    )


def show_gaps(figures: Figures, gaps: list[Gap]) -> None:
    """Warn about missing bins, and say that they are unknown rather than empty."""
    if not figures.missing_bins:
        return
    named = "; ".join(span(Window(g.start, g.end)) for g in gaps[:5])
    more = f" and {len(gaps) - 5:,} more" if len(gaps) > 5 else ""
    st.warning(
        f"No data for {named}{more}: not computed, or outside the log. These times are shaded in "
        "charts, empty in downloads and left out of means. They are unknown, not zero.",
        icon=":material/pending:",
    )


# --- tables --------------------------------------------------------------------------------------
FIGURE_FORMATS = {
    **dict.fromkeys(
        ("Peak, devices", "Peak, people", "Peak, other devices"),
        st.column_config.NumberColumn(format="localized"),
    ),
    **dict.fromkeys(
        ("Mean, devices", "Mean, people", "Mean, other devices"),
        st.column_config.NumberColumn(format="%.1f"),
    ),
    "Peak at": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
}
"""The formats of the columns of ``figure_columns``."""


def figure_columns(figures: Figures, context: Context) -> dict[str, object]:
    """The main numbers as columns of a table."""
    peak, mean = figures.peak, figures.mean
    if context.count == "devices":
        return {"Peak, devices": peak, "Peak at": figures.peak_at, "Mean, devices": mean}
    people, mean_people = figures.peak_people, figures.mean_people
    return {
        "Peak, people": people,
        "Peak, other devices": None if peak is None or people is None else peak - people,
        "Peak at": figures.peak_at,
        "Mean, people": mean_people,
        "Mean, other devices": (
            None if mean is None or mean_people is None else mean - mean_people
        ),
    }


# --- tables for charts ---------------------------------------------------------------------------
def point_frame(named: Mapping[str, Series]) -> tuple[pd.DataFrame, int]:
    """The points of several named series, and the number of bins in the coarsest point."""
    frames, bins_per_point = [], 1
    for name, one in named.items():
        points = one.points(SCREEN_POINTS // max(1, len(named) // 2))
        frames.append(points.table.to_pandas().assign(name=name))
        bins_per_point = max(bins_per_point, points.bins_per_point)
    return pd.concat(frames, ignore_index=True), bins_per_point


def gap_frame(gaps: list[Gap]) -> pd.DataFrame:
    """Gaps as a table for a chart."""
    rows = [(milliseconds(g.start), milliseconds(g.end)) for g in gaps]
    return pd.DataFrame(rows, columns=["time", "until"])
