"""What all parts of the page share: what is shown, and reads that are kept for a moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from streamlit_app.services import occupancy as service
from streamlit_app.services.app import App
from streamlit_app.services.occupancy import Extent, Figures, Gap, Log, Series, Window
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME
from streamlit_app.ui.charts import milliseconds
from tippers_dagster.campus.spaces.facts import UNKNOWN, Facts
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.settings import Settings

VIEWS = {
    "time": "Over time",
    "week": "Usual week",
    "compare": "Compare",
    "people": "People",
    "labels": "By label",
    "inside": "What is inside",
    "floor": "Floor",
}
SECONDS = 15
"""What was read is shown again for so long."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown. ``first``: the window when the address has none."""

    app: App
    tree: SpaceTree
    known: Mapping[str, Facts]
    space: str
    first: Window

    @property
    def settings(self) -> Settings:
        """Of the deployment."""
        return self.app.settings

    @property
    def name(self) -> str:
        """Of the space, as it stands in the source."""
        return self.tree.names[self.tree.index[self.space]]

    @property
    def view(self) -> str:
        """Which part is shown."""
        return state.one_of("view", list(VIEWS), "time") or "time"

    @property
    def capacity(self) -> float | None:
        """People that the space is made for: as the address says, else as the source does."""
        try:
            given = float(state.get("capacity"))
        except ValueError:
            given = 0.0
        return given if 0 < given < 1e9 else self.known.get(self.space, UNKNOWN).capacity


# --- reads that are kept for a moment ------------------------------------------------------------
@st.cache_data(ttl=SECONDS, max_entries=500, show_spinner=False, hash_funcs=SAME)
def first_window(settings: Settings, space: str) -> Window | None:
    """The window of a space to begin with; None when nothing of it is computed."""
    extent = extent_of(settings, space)
    return service.default_window(settings, extent) if extent else None


@st.cache_data(ttl=SECONDS, max_entries=500, show_spinner=False, hash_funcs=SAME)
def extent_of(settings: Settings, space: str) -> Extent | None:
    """From the first to the last computed chunk of a space."""
    return service.extents(settings, [space]).get(space)


@st.cache_resource(ttl=SECONDS, max_entries=200, show_spinner=False, hash_funcs=SAME)
def read(
    settings: Settings, spaces: tuple[str, ...], start: dt.datetime, end: dt.datetime, width: int
) -> list[Series]:
    """The counts of some spaces; not to be changed."""
    return service.series(settings, spaces, Window(start, end), width, log_span(settings))


@st.cache_data(ttl=SECONDS, max_entries=4, show_spinner=False, hash_funcs=SAME)
def log_span(settings: Settings) -> Log | None:
    """What the log spans: of what is before and after nothing is known."""
    return service.log_span(settings)


# --- words ---------------------------------------------------------------------------------------
def bins(width: int) -> str:
    """A width in words: ``15 min``, ``4 h``."""
    if width % 86400 == 0:
        return "1 day" if width == 86400 else f"{width // 86400} days"
    return f"{width // 3600} h" if width % 3600 == 0 else f"{width // 60} min"


def moment(when: dt.datetime) -> str:
    """A local time in words."""
    return f"{when:%a} {when.day} {when:%b %Y, %H:%M}"


def span(window: Window) -> str:
    """A window in words, its last day included."""
    last = window.end - dt.timedelta(microseconds=1)
    if window.start.time() == dt.time() == window.end.time():
        if window.start.date() == last.date():
            return day(window.start)
        return f"{day(window.start)} to {day(last)}"
    return f"{moment(window.start)} to {moment(window.end)}"


def day(when: dt.date) -> str:
    """A date in words."""
    return f"{when:%a} {when.day} {when:%b %Y}"


def main_numbers(name: str, figures: Figures, window: Window, width: int) -> str:
    """The sentence beside a chart. ``name`` is Markdown already."""
    if figures.peak is None or figures.peak_at is None or figures.mean is None:
        return f"{name}: nothing is computed from {span(window)}."
    return (
        f"{name}, {span(window)}: at most **{figures.peak:,}** devices in {bins(width)} "
        f"({moment(figures.peak_at)}), {figures.mean:,.1f} on average."
    )


def show_gaps(figures: Figures, gaps: list[Gap]) -> None:
    """Say what is missing, and that it is not nothing."""
    if not figures.missing_bins:
        return
    named = "; ".join(span(Window(g.start, g.end)) for g in gaps[:5])
    more = f" and {len(gaps) - 5:,} more" if len(gaps) > 5 else ""
    st.warning(
        f"Nothing is known of {named}{more}: not computed, or outside the log. It is shaded in "
        "charts, empty in downloads and in no mean; it does not mean that nobody was there.",
        icon=":material/pending:",
    )


# --- tables of charts ----------------------------------------------------------------------------
def point_frame(named: Mapping[str, Series]) -> tuple[pd.DataFrame, int]:
    """Points of several series under their names, and how many bins the coarsest point has."""
    frames, together = [], 1
    for name, one in named.items():
        points = one.points(service.SCREEN_POINTS // max(1, len(named) // 2))
        frames.append(points.table.to_pandas().assign(name=name))
        together = max(together, points.together)
    return pd.concat(frames, ignore_index=True), together


def gap_frame(gaps: list[Gap]) -> pd.DataFrame:
    """Gaps as a chart takes them."""
    rows = [(milliseconds(g.start), milliseconds(g.end)) for g in gaps]
    return pd.DataFrame(rows, columns=["time", "until"])
