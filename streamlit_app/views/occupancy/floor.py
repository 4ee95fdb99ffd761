"""All spaces of a floor at one moment of a day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import streamlit as st

from streamlit_app.services import occupancy as service
from streamlit_app.services.occupancy import Floor, Window
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME, space_facts, space_tree
from streamlit_app.ui.charts import dots, ink, tiles
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.shown import SECONDS, Shown, bins, day, log_span
from tippers_dagster.settings import Settings

PICK = "floor_space"
_WIDTH = 900
_CHARACTER, _LINE = 1 / 125, 1 / 24
"""What a letter takes of a chart's width and height; only labels that fit are written."""


def show(shown: Shown, window: Window, width: int) -> None:
    """The floor at the chosen time."""
    date = _date(window)
    floor = _floor(shown.settings, shown.space, date)
    if not floor.computed.any():
        st.info(f"Nothing is computed on {day(date)}.", icon=":material/pending:")
        return
    at = _time(floor)
    said = _sentence(shown, floor, at)
    rows = _rows(floor, at, shown.space)
    title = f"Devices in {bins(_WIDTH)}"
    most = float(np.where(floor.computed, floor.counts, 0).max())
    draw = dots if floor.by_coordinates else tiles
    picked = st.altair_chart(
        draw(rows, most=most, title=title, select=PICK, ink=ink()),
        key=f"floor of {shown.space}",
        on_select="rerun",
        selection_mode=PICK,
        alt=said.replace("*", "").replace("\\", ""),
    )
    st.markdown(said)
    _say_what(floor)
    chosen = picked.selection.get(PICK) or []
    if chosen and chosen[0]["space"] != shown.space:
        state.put(space=str(chosen[0]["space"]))
        st.rerun(scope="app")


@st.cache_data(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=SAME)
def _floor(settings: Settings, space: str, date: dt.date) -> Floor:
    tree, known = space_tree(settings), space_facts(settings)
    return service.floor(settings, tree, known, space, date, _WIDTH, log_span(settings))


def _date(window: Window) -> dt.date:
    """A day of the window: the address's, else the last full one that is no weekend."""
    days = [window.start.date() + dt.timedelta(i) for i in range(min(window.length.days, 400))]
    days = days or [window.start.date()]
    usual = next((d for d in reversed(days) if d.weekday() < 5), days[-1])
    try:
        chosen = dt.date.fromisoformat(state.get("day"))
    except ValueError:
        chosen = usual
    key = "floor day"
    st.session_state[key] = chosen if days[0] <= chosen <= days[-1] else usual
    st.date_input(
        "Day",
        key=key,
        min_value=days[0],
        max_value=days[-1],
        on_change=lambda: state.put(day=st.session_state[key].isoformat()),
        format="YYYY-MM-DD",
        width=170,
    )
    return st.session_state[key]


def _time(floor: Floor) -> int:
    """Which bin of the day: the address's, else the busiest."""
    totals = np.where(floor.computed, floor.counts, 0).sum(axis=0)
    texts = [f"{t:%H:%M}" for t in floor.times]
    texts = [t if texts.index(t) == i else f"{t} again" for i, t in enumerate(texts)]
    key = "floor time"
    asked = state.get("at")
    st.session_state[key] = asked if asked in texts else texts[int(np.argmax(totals))]
    st.select_slider(
        "Time of the day",
        texts,
        key=key,
        on_change=lambda: state.put(at=st.session_state[key]),
        help="With the slider in focus, the arrow keys move it by a quarter of an hour.",
    )
    return texts.index(st.session_state[key])


def _rows(floor: Floor, at: int, space: str) -> pd.DataFrame:
    rows = []
    for i, (one, name) in enumerate(zip(floor.spaces, floor.names, strict=True)):
        x, y, width, height = floor.places[i]
        known = bool(floor.computed[i, at])
        count = int(floor.counts[i, at])
        told = f"{count:,}" if known else "not computed"
        rows.append(
            {
                "space": one,
                "name": f"{name} (this one)" if one == space else name,
                "count": count if known else None,
                "told": told,
                "known": known,
                "label": _label(name, told, width, height),
                "x": x,
                "y": y,
                "x2": x + width,
                "y2": y + height,
            }
        )
    return pd.DataFrame(rows)


def _label(name: str, told: str, width: float, height: float) -> str:
    letters = int(width / _CHARACTER) - 1
    lines = int(height / _LINE)
    if letters < 4 or not lines:
        return ""
    short = name if len(name) <= letters else f"{name[: letters - 1]}…"
    if lines == 1:
        both = f"{name} {told}"
        return both if len(both) <= letters else short
    return f"{short}\n{told}" if len(told) <= letters else short


def _sentence(shown: Shown, floor: Floor, at: int) -> str:
    known = np.flatnonzero(floor.computed[:, at])
    when = f"{day(floor.times[at])}, {floor.times[at]:%H:%M}"
    if not known.size:
        return f"{when}: nothing is computed."
    best = known[np.argmax(floor.counts[known, at])]
    empty = int((floor.counts[known, at] == 0).sum())
    return (
        f"{when}: the busiest is **{plain(floor.names[best])}** with "
        f"{floor.counts[best, at]:,} devices; {empty:,} of {known.size:,} spaces are empty."
    )


def _say_what(floor: Floor) -> None:
    where = (
        "Spaces stand where the source's coordinates place them."
        if floor.by_coordinates
        else "The source has no coordinates for all of them: a tile is as large as the day's peak "
        "of its space."
    )
    st.caption(
        f"{where} Stronger colour is fuller; grey is not computed. Select a space to go to it."
    )
