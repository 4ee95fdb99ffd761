"""All spaces of a floor at one moment of a day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import streamlit as st

from streamlit_app.services.occupancy import children
from streamlit_app.services.occupancy.children import Floor
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import bin_width, day
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS, space_facts, space_tree
from streamlit_app.ui.charts import dots, ink, tiles
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.context import SECONDS, Context, log_span
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

PICK = "floor_space"
_WIDTH = 900
_LETTER_WIDTH, _LINE_HEIGHT = 1 / 125, 1 / 24
"""Size of a letter as a share of the chart's width and height; labels that do not fit are cut."""


def show(context: Context, window: Window, width: int) -> None:
    """The floor at the chosen time."""
    date = _date(window)
    floor = _floor(context.settings, context.space, date)
    if not floor.computed.any():
        st.info(f"Nothing is computed for {day(date)}.", icon=":material/pending:")
        return
    at = _time(floor)
    sentence = _sentence(floor, at)
    rows = _rows(floor, at, context.space)
    title = f"Devices in {bin_width(_WIDTH)}"
    peak = float(np.where(floor.computed, floor.counts, 0).max())
    draw = dots if floor.by_coordinates else tiles
    picked = st.altair_chart(
        draw(rows, max_count=peak, title=title, select=PICK, ink=ink()),
        key=f"floor of {context.space}",
        on_select="rerun",
        selection_mode=PICK,
        alt=sentence.replace("*", "").replace("\\", ""),
    )
    st.markdown(sentence)
    _explain(floor)
    chosen = picked.selection.get(PICK) or []
    if chosen and chosen[0]["space"] != context.space:
        state.put(space=str(chosen[0]["space"]))
        st.rerun(scope="app")


@st.cache_data(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=HASH_FUNCS)
def _floor(settings: Settings, space: str, date: dt.date) -> Floor:
    tree, known = space_tree(settings), space_facts(settings)
    return children.floor(settings, tree, known, space, date, _WIDTH, log_span(settings))


def _date(window: Window) -> dt.date:
    """The day in the address, or else the last weekday of the window."""
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
    """The index of the bin in the address, or else of the day's busiest bin."""
    totals = np.where(floor.computed, floor.counts, 0).sum(axis=0)
    texts = [f"{t:%H:%M}" for t in floor.times]
    # When clocks go back, an hour of local times occurs twice.
    texts = [t if texts.index(t) == i else f"{t} again" for i, t in enumerate(texts)]
    key = "floor time"
    requested = state.get("at")
    st.session_state[key] = requested if requested in texts else texts[int(np.argmax(totals))]
    st.select_slider(
        "Time of day",
        texts,
        key=key,
        on_change=lambda: state.put(at=st.session_state[key]),
        help="The arrow keys move a focused slider by 15 minutes.",
    )
    return texts.index(st.session_state[key])


def _rows(floor: Floor, at: int, space: str) -> pd.DataFrame:
    rows = []
    for i, (one, name) in enumerate(zip(floor.spaces, floor.names, strict=True)):
        x, y, width, height = floor.places[i]
        known = bool(floor.computed[i, at])
        count = int(floor.counts[i, at])
        count_text = f"{count:,}" if known else "not computed"
        rows.append(
            {
                "space": one,
                "name": f"{name} (this space)" if one == space else name,
                "count": count if known else None,
                "count_text": count_text,
                "known": known,
                "label": _label(name, count_text, width, height),
                "x": x,
                "y": y,
                "x2": x + width,
                "y2": y + height,
            }
        )
    return pd.DataFrame(rows)


def _label(name: str, count_text: str, width: float, height: float) -> str:
    letters = int(width / _LETTER_WIDTH) - 1
    lines = int(height / _LINE_HEIGHT)
    if letters < 4 or not lines:
        return ""
    short = name if len(name) <= letters else f"{name[: letters - 1]}…"
    if lines == 1:
        both = f"{name} {count_text}"
        return both if len(both) <= letters else short
    return f"{short}\n{count_text}" if len(count_text) <= letters else short


def _sentence(floor: Floor, at: int) -> str:
    known = np.flatnonzero(floor.computed[:, at])
    when = f"{day(floor.times[at])}, {floor.times[at]:%H:%M}"
    if not known.size:
        return f"{when}: not computed."
    best = known[np.argmax(floor.counts[known, at])]
    empty = int((floor.counts[known, at] == 0).sum())
    return (
        f"{when}: **{plain(floor.names[best])}** is busiest, with "
        f"{counted(int(floor.counts[best, at]), 'device')}; {empty:,} of "
        f"{counted(known.size, 'space')} {'is' if empty == 1 else 'are'} empty."
    )


def _explain(floor: Floor) -> None:
    where = (
        "Spaces are placed by the source's coordinates."
        if floor.by_coordinates
        else "The source does not have coordinates for all spaces: tiles are sized by the day's "
        "peak."
    )
    st.caption(
        f"{where} Stronger colour means more devices; grey means not computed. Select a space to "
        "open it."
    )
