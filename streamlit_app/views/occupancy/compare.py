"""Comparing two periods of a space, or several spaces."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pandas as pd
import streamlit as st

from streamlit_app.services.occupancy import Gap, Series, Window
from streamlit_app.ui import state
from streamlit_app.ui.charts import timeline
from streamlit_app.ui.messages import plain
from streamlit_app.ui.space_picker import full_name, matches, path
from streamlit_app.views.occupancy.shown import (
    Shown,
    bins,
    day,
    gap_frame,
    main_numbers,
    point_frame,
    read,
    show_gaps,
    span,
)

MOST_SPACES = 8
_NEAR = 200
_WITH = {"period": "Another period", "spaces": "Other spaces"}


def show(shown: Shown, window: Window, width: int) -> None:
    """Both ways of comparing."""
    key = "occupancy compare"
    st.session_state[key] = state.one_of("with", list(_WITH), "period")
    how = st.segmented_control(
        "Compare with",
        list(_WITH),
        format_func=_WITH.__getitem__,
        key=key,
        required=True,
        on_change=lambda: state.put(**{"with": st.session_state[key]}),
    )
    (_periods if how == "period" else _spaces)(shown, window, width)


# --- periods -------------------------------------------------------------------------------------
def _periods(shown: Shown, window: Window, width: int) -> None:
    other = _other(window)
    now, then = (
        read(shown.settings, (shown.space,), w.start, w.end, width)[0] for w in (window, other)
    )
    moved = replace(then, local=then.local + int((window.start - other.start).total_seconds()))
    names = {span(window): now, span(other): moved}
    _draw(shown, names, window, width, [*now.gaps, *moved.gaps])
    for name, one, when in (("This", now, window), ("The other", then, other)):
        st.markdown(main_numbers(name, one.figures, when, width))
    _difference(now, then)
    show_gaps(now.figures, now.gaps)
    show_gaps(then.figures, then.gaps)


def _other(window: Window) -> Window:
    """The period that it is compared with, as long; whole weeks earlier unless chosen."""
    key = "occupancy other"
    weeks = -(-window.length // dt.timedelta(7))
    usual = (window.start - dt.timedelta(7 * int(weeks))).date()
    try:
        begin = dt.date.fromisoformat(state.get("other"))
    except ValueError:
        begin = usual
    if not 1990 <= begin.year < 2100:
        begin = usual
    st.session_state[key] = begin
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.date_input(
            "The other begins on",
            key=key,
            on_change=lambda: state.put(other=st.session_state[key].isoformat()),
            min_value=dt.date(1990, 1, 1),
            max_value=dt.date(2099, 12, 31),
            format="YYYY-MM-DD",
            width=170,
        )
        year = (window.start - dt.timedelta(364)).date()
        for label, date in (("The weeks before", usual), ("A year before", year)):
            st.button(label, on_click=lambda d=date: state.put(other=d.isoformat()), key=label)
    if begin.weekday() != window.start.weekday():
        st.caption(
            f":material/info: {day(begin)} is another day of the week than {day(window.start)}: "
            "weekends do not lie on weekends."
        )
    start = dt.datetime.combine(begin, window.start.time())
    return Window(start, start + window.length)


def _difference(now: Series, then: Series) -> None:
    a, b = now.figures.mean, then.figures.mean
    if a is None or not b:
        return
    word = "more" if a >= b else "fewer"
    st.markdown(f"On average **{abs(a / b - 1):.0%} {word}** devices than in the other period.")


# --- spaces --------------------------------------------------------------------------------------
def _spaces(shown: Shown, window: Window, width: int) -> None:
    chosen = _choose(shown)
    spaces = tuple(dict.fromkeys([shown.space, *chosen]))
    found = read(shown.settings, spaces, window.start, window.end, width)
    labels = _labels(shown, spaces)
    named = {labels[one.space]: one for one in found}
    _draw(shown, named, window, width, [g for one in found for g in one.gaps])
    if len(spaces) == 1:
        st.info("Choose spaces to compare it with.", icon=":material/info:")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Space": name,
                    "Peak, devices": one.figures.peak,
                    "Peak at": one.figures.peak_at,
                    "Mean, devices": one.figures.mean,
                    "Bins not computed": one.figures.missing_bins,
                }
                for name, one in named.items()
            ]
        ),
        hide_index=True,
        column_config={
            "Peak, devices": st.column_config.NumberColumn(format="localized"),
            "Bins not computed": st.column_config.NumberColumn(format="localized"),
            "Mean, devices": st.column_config.NumberColumn(format="%.1f"),
            "Peak at": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        },
    )
    for one in found:
        if one.figures.missing_bins:
            st.caption(f"{plain(labels[one.space])}:")
            show_gaps(one.figures, one.gaps)


def _choose(shown: Shown) -> list[str]:
    """The spaces of the address, changed by a field that offers those near by or searched."""
    tree, key = shown.tree, "occupancy others"
    asked = [s for s in state.get("spaces").split("|") if s in tree and s != shown.space]
    asked = asked[: MOST_SPACES - 1]
    text = st.text_input("Find other spaces", key="occupancy find", placeholder="name, room or id")
    way = path(tree, shown.space)
    near = [*(tree.children(way[-2]) if len(way) > 1 else []), *tree.children(shown.space)]
    offered = matches(tree, text) or near[:_NEAR]
    options = dict.fromkeys([*asked, *(s for s in offered if s != shown.space)])
    st.session_state[key] = asked
    chosen: list[str] = st.multiselect(
        "Compare with",
        list(options),
        format_func=lambda s: full_name(tree, s),
        key=key,
        max_selections=MOST_SPACES - 1,
        on_change=lambda: state.put(spaces="|".join(st.session_state[key])),
        placeholder="Spaces near by, or those found",
    )
    return chosen


def _labels(shown: Shown, spaces: tuple[str, ...]) -> dict[str, str]:
    """Names that tell the spaces apart."""
    tree = shown.tree
    names = {s: tree.names[tree.index[s]] for s in spaces}
    same = {n for n in names.values() if list(names.values()).count(n) > 1}
    return {s: f"{n} ({s})" if n in same else n for s, n in names.items()}


def _draw(
    shown: Shown, named: dict[str, Series], window: Window, width: int, gaps: list[Gap]
) -> None:
    points, together = point_frame(named)
    chart = timeline(
        points,
        gap_frame(gaps),
        title=f"Devices in {bins(width)}",
        zone=shown.settings.timezone,
    )
    told = "; ".join(f"{name}: at most {one.figures.peak}" for name, one in named.items())
    st.altair_chart(chart, alt=f"Devices over time. {told}.")
    if together > 1:
        st.caption(
            f"Each point stands for {together:,} bins of {bins(width)}: the line is their mean, "
            "the band reaches from their lowest to their highest."
        )
