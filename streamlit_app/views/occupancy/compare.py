"""Comparing two periods of a space, or several spaces."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pandas as pd
import streamlit as st

from streamlit_app.services.occupancy.series import Gap, Series
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import bin_width, day, span
from streamlit_app.ui import state
from streamlit_app.ui.charts import timeline
from streamlit_app.ui.messages import plain
from streamlit_app.ui.space_picker import full_name, matches, path
from streamlit_app.views.occupancy.context import (
    FIGURE_FORMATS,
    Context,
    figure_columns,
    gap_frame,
    main_numbers,
    peak_in_words,
    point_frame,
    read,
    show_gaps,
    what_is_counted,
)

MAX_SPACES = 8
_MAX_NEARBY = 200
_WITH = {"period": "Another period", "spaces": "Other spaces"}


def show(context: Context, window: Window, width: int) -> None:
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
    (_periods if how == "period" else _spaces)(context, window, width)


# --- periods -------------------------------------------------------------------------------------
def _periods(context: Context, window: Window, width: int) -> None:
    other = _other(window)
    now, then = (
        read(context.settings, (context.space,), w.start, w.end, width, context.count)[0]
        for w in (window, other)
    )
    moved = replace(then, local=then.local + int((window.start - other.start).total_seconds()))
    names = {span(window): now, span(other): moved}
    _draw(context, names, window, width, [*now.gaps, *moved.gaps])
    for name, one, when in (("This period", now, window), ("Comparison period", then, other)):
        st.markdown(main_numbers(name, one.figures, when, width))
    _difference(context, now, then)
    show_gaps(now.figures, now.gaps)
    show_gaps(then.figures, then.gaps)


def _other(window: Window) -> Window:
    """The comparison period, of the same length; by default whole weeks earlier."""
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
            "Comparison period begins",
            key=key,
            on_change=lambda: state.put(other=st.session_state[key].isoformat()),
            min_value=dt.date(1990, 1, 1),
            max_value=dt.date(2099, 12, 31),
            format="YYYY-MM-DD",
            width=170,
        )
        year = (window.start - dt.timedelta(364)).date()
        for label, date in (("Previous weeks", usual), ("A year earlier", year)):
            st.button(label, on_click=lambda d=date: state.put(other=d.isoformat()), key=label)
    if begin.weekday() != window.start.weekday():
        st.caption(
            f":material/info: {day(begin)} and {day(window.start)} are different days of the week, "
            "so weekends do not line up."
        )
    start = dt.datetime.combine(begin, window.start.time())
    return Window(start, start + window.length)


def _difference(context: Context, now: Series, then: Series) -> None:
    a, b = now.figures.mean, then.figures.mean
    if a is None or not b:
        return
    word = "more" if a >= b else "fewer"
    st.markdown(
        f"On average **{abs(a / b - 1):.0%} {word}** {context.unit} than in the comparison period."
    )


# --- spaces --------------------------------------------------------------------------------------
def _spaces(context: Context, window: Window, width: int) -> None:
    chosen = _choose(context)
    spaces = tuple(dict.fromkeys([context.space, *chosen]))
    found = read(context.settings, spaces, window.start, window.end, width, context.count)
    labels = _labels(context, spaces)
    named = {labels[one.space]: one for one in found}
    _draw(context, named, window, width, [g for one in found for g in one.gaps])
    if len(spaces) == 1:
        st.info("Choose spaces to compare with.", icon=":material/info:")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Space": name,
                    **figure_columns(one.figures, context),
                    "Bins not computed": one.figures.missing_bins,
                }
                for name, one in named.items()
            ]
        ),
        hide_index=True,
        column_config={
            "Bins not computed": st.column_config.NumberColumn(format="localized"),
            **FIGURE_FORMATS,
        },
    )
    for one in found:
        if one.figures.missing_bins:
            st.caption(f"{plain(labels[one.space])}:")
            show_gaps(one.figures, one.gaps)


def _choose(context: Context) -> list[str]:
    """The spaces in the address, and a field to change them that offers nearby or found spaces."""
    tree, key = context.tree, "occupancy others"
    selected = [s for s in state.get("spaces").split("|") if s in tree and s != context.space]
    selected = selected[: MAX_SPACES - 1]
    text = st.text_input("Find other spaces", key="occupancy find", placeholder="name, room or id")
    way = path(tree, context.space)
    near = [*(tree.children(way[-2]) if len(way) > 1 else []), *tree.children(context.space)]
    offered = matches(tree, text) or near[:_MAX_NEARBY]
    options = dict.fromkeys([*selected, *(s for s in offered if s != context.space)])
    st.session_state[key] = selected
    chosen: list[str] = st.multiselect(
        "Compare with",
        list(options),
        format_func=lambda s: full_name(tree, s),
        key=key,
        max_selections=MAX_SPACES - 1,
        on_change=lambda: state.put(spaces="|".join(st.session_state[key])),
        placeholder="Nearby spaces, or those found",
    )
    return chosen


def _labels(context: Context, spaces: tuple[str, ...]) -> dict[str, str]:
    """Names of the spaces, with their ids where names are the same."""
    tree = context.tree
    names = {s: tree.names[tree.index[s]] for s in spaces}
    same = {n for n in names.values() if list(names.values()).count(n) > 1}
    return {s: f"{n} ({s})" if n in same else n for s, n in names.items()}


def _draw(
    context: Context, named: dict[str, Series], window: Window, width: int, gaps: list[Gap]
) -> None:
    points, bins_per_point = point_frame(named)
    chart = timeline(
        points,
        gap_frame(gaps),
        title=f"{context.unit.capitalize()} in {bin_width(width)}",
        zone=context.settings.timezone,
    )
    peaks = "; ".join(f"{name}: {_peak_text(one)}" for name, one in named.items())
    st.altair_chart(chart, alt=f"{context.unit.capitalize()} over time. {peaks}.")
    texts = [what_is_counted(context)]
    if bins_per_point > 1:
        texts.append(
            f"Each point covers {bins_per_point:,} bins of {bin_width(width)}: the line is their "
            "mean, the band their range from lowest to highest."
        )
    st.caption(" ".join(filter(None, texts)))


def _peak_text(one: Series) -> str:
    return "not computed" if one.figures.peak is None else f"peak {peak_in_words(one.figures)}"
