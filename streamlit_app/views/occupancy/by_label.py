"""A space's devices, split by the labels of a label model or classifier."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from streamlit_app.services import labelled as service
from streamlit_app.services.labelled import Part, Source
from streamlit_app.services.occupancy.series import Series
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import bin_width, span
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS
from streamlit_app.ui.charts import stacked
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import page
from streamlit_app.views.occupancy.context import (
    SECONDS,
    Context,
    gap_frame,
    log_span,
    point_frame,
    show_gaps,
)
from tippers_dagster.people.by_label.reading import UNLABELLED
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.settings import Settings


def show(context: Context, window: Window, width: int) -> None:
    """Devices per label over time, with the main numbers."""
    sources = {source.by: source for source in _sources(context.settings)}
    if not sources:
        _nothing_yet()
        return
    models = list(sources)
    model = st.selectbox(
        "Labels from",
        models,
        index=models.index(state.one_of("model", models, models[0])),
        format_func=lambda by: sources[by].title,
        key="occupancy_label_model",
        width=420,
    )
    state.put(model=model)
    with st.spinner("Counting devices by label ..."):
        split = _split(context.settings, context.space, window.start, window.end, width, model)
    parts = service.parts(split)
    any_label = next(iter(split.values()))
    if not parts:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(any_label.figures, any_label.gaps)
        return
    shares = service.in_words(parts) or "no devices"
    sentence = f"{context.name}, {span(window)}, on average: {shares}."
    points, bins_per_point = point_frame(split)
    title = f"Devices in {bin_width(width)}"
    zone = context.settings.timezone
    chart = stacked(points, gap_frame(any_label.gaps), title=title, zone=zone)
    st.altair_chart(chart, alt=sentence)
    st.markdown(plain(sentence))
    _table(parts)
    _explain(context, bins_per_point, sources[model], width)
    show_gaps(any_label.figures, any_label.gaps)


def chosen(settings: Settings) -> str | None:
    """The label model or classifier that splits the page's counts; None without any."""
    models = [source.by for source in _sources(settings)]
    return state.one_of("model", models, models[0]) if models else None


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _sources(settings: Settings) -> list[Source]:
    return service.sources(settings)


@st.cache_resource(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=HASH_FUNCS)
def _split(
    settings: Settings, space: str, start: dt.datetime, end: dt.datetime, width: int, model: str
) -> dict[str, Series]:
    return service.split(settings, space, Window(start, end), width, model, log_span(settings))


def _nothing_yet() -> None:
    st.info(
        "No label model has labelled devices yet. Define an index of devices, rules, labelling "
        "functions and a label model; once it is materialised, occupancy can be split by its "
        "labels.",
        icon=":material/label:",
    )
    st.page_link(page("pipeline"), label="Pipeline", icon=":material/account_tree:")


def _table(parts: list[Part]) -> None:
    st.dataframe(
        [
            {
                "Label": p.label,
                "Share": p.share,
                "Mean, devices": p.mean,
                "Peak, devices": p.peak,
                "Peak at": p.peak_at,
            }
            for p in parts
        ],
        hide_index=True,
        column_config={
            "Share": st.column_config.NumberColumn(format="percent"),
            "Peak, devices": st.column_config.NumberColumn(format="localized"),
            "Mean, devices": st.column_config.NumberColumn(format="%.1f"),
            "Peak at": st.column_config.DatetimeColumn(format="ddd D MMM YYYY, HH:mm"),
        },
    )


def _explain(context: Context, bins_per_point: int, source: Source, width: int) -> None:
    text = (
        f"Counted with the current labels of {plain(source.by)}. Every device counts under one "
        f"label, so the parts add up to all devices. Devices that it does not know, or cannot "
        f"decide on, are {UNLABELLED}."
    )
    if bins_per_point > 1:
        text += (
            f" Each point of the chart is the mean of {bins_per_point:,} bins of "
            f"{bin_width(width)}; the table covers every bin."
        )
    link = asset_link(context.settings, source.asset)
    st.caption(f"{text} [{plain(source.asset)} in Dagster]({link})")
