"""A space's devices by the labels that a label model gives them."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from streamlit_app.services import labelled as service
from streamlit_app.services.labelled import Part, Source
from streamlit_app.services.occupancy import Series, Window
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME
from streamlit_app.ui.charts import stacked
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import page
from streamlit_app.views.occupancy.shown import (
    SECONDS,
    Shown,
    bins,
    gap_frame,
    log_span,
    point_frame,
    show_gaps,
    span,
)
from tippers_dagster.people.by_label.reading import UNLABELLED
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.settings import Settings


def show(shown: Shown, window: Window, width: int) -> None:
    """The parts over time, with their numbers."""
    sources = {source.by: source for source in _sources(shown.settings)}
    if not sources:
        _nothing_yet()
        return
    models = list(sources)
    model = st.selectbox(
        "Labels of",
        models,
        index=models.index(state.one_of("model", models, models[0])),
        format_func=lambda by: sources[by].title,
        key="occupancy_label_model",
        width=420,
    )
    state.put(model=model)
    with st.spinner("Counting devices by label ..."):
        split = _split(shown.settings, shown.space, window.start, window.end, width, model)
    parts = service.parts(split)
    any_label = next(iter(split.values()))
    if not parts:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(any_label.figures, any_label.gaps)
        return
    said = f"{shown.name}, {span(window)}, on average: {service.in_words(parts) or 'nobody'}."
    points, together = point_frame(split)
    title = f"Devices in {bins(width)}"
    zone = shown.settings.timezone
    chart = stacked(points, gap_frame(any_label.gaps), title=title, zone=zone)
    st.altair_chart(chart, alt=said)
    st.markdown(plain(said))
    _table(parts)
    _say_how(shown, together, sources[model], width)
    show_gaps(any_label.figures, any_label.gaps)


def chosen(settings: Settings) -> str | None:
    """The label model or classifier that the page splits by; None: there is none."""
    models = [source.by for source in _sources(settings)]
    return state.one_of("model", models, models[0]) if models else None


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _sources(settings: Settings) -> list[Source]:
    return service.sources(settings)


@st.cache_resource(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=SAME)
def _split(
    settings: Settings, space: str, start: dt.datetime, end: dt.datetime, width: int, model: str
) -> dict[str, Series]:
    return service.split(settings, space, Window(start, end), width, model, log_span(settings))


def _nothing_yet() -> None:
    st.info(
        "No label model has labelled devices yet. Define one, with its index of devices, rules and "
        "labelling functions; when it is materialised, occupancy can be split by its labels.",
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


def _say_how(shown: Shown, together: int, source: Source, width: int) -> None:
    told = (
        f"Counted with the labels that {plain(source.by)} gives now. Every device counts "
        "under one label, so the parts add up to all devices, exactly; "
        f"{UNLABELLED} are those that the {source.kind} does not know or cannot decide on."
    )
    if together > 1:
        told += (
            f" Each point of the chart is the mean of {together:,} bins of {bins(width)}; "
            "the table is of all bins."
        )
    link = asset_link(shown.settings, source.asset)
    st.caption(f"{told} [{plain(source.asset)} in Dagster]({link})")
