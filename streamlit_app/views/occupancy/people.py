"""A space's people, estimated from its devices, with an interval."""

from __future__ import annotations

import datetime as dt
from functools import partial

import streamlit as st

from streamlit_app.services import people as service
from streamlit_app.services.exports import MIME
from streamlit_app.services.occupancy.export import file_name
from streamlit_app.services.occupancy.local_time import from_seconds
from streamlit_app.services.occupancy.window import SCREEN_POINTS, Window
from streamlit_app.services.people import PeopleInSpace, Summary
from streamlit_app.services.words import bin_width, moment, span
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS
from streamlit_app.ui.charts import ink, timeline
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import page
from streamlit_app.views.occupancy.context import (
    SECONDS,
    Context,
    gap_frame,
    log_span,
    show_gaps,
)
from streamlit_app.views.people_counts import nothing_yet
from tippers_dagster.people.counts.reading import Made
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.platform.table_files import Format
from tippers_dagster.settings import Settings


def show(context: Context, window: Window, width: int) -> None:
    """People and devices over time, with the main numbers."""
    made = _chosen(context)
    if made is None:
        return
    with st.spinner("Counting people ..."):
        found = _people_in_space(
            context.settings,
            context.space,
            window.start,
            window.end,
            width,
            made.name,
            made.version,
        )
    devices = found.devices
    numbers = service.summary(found)
    if numbers is None:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(devices.figures, devices.gaps)
        return
    _numbers(context, found, numbers)
    sentence = _sentence(context, found, numbers, window, width)
    bins_per_point = _chart(context, found, width, sentence)
    st.markdown(sentence)
    _explain(context, made, numbers, bins_per_point, width)
    _downloads(context, window, width, made)
    show_gaps(devices.figures, devices.gaps)


@st.cache_data(ttl=SECONDS, max_entries=4, show_spinner=False, hash_funcs=HASH_FUNCS)
def _people_counts(settings: Settings) -> dict[str, Made | None]:
    return service.people_counts(settings)


@st.cache_resource(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=HASH_FUNCS)
def _people_in_space(
    settings: Settings,
    space: str,
    start: dt.datetime,
    end: dt.datetime,
    width: int,
    name: str,
    version: str,
) -> PeopleInSpace:
    """``version`` is part of the cache key only."""
    made = service.people_counts(settings)[name]
    assert made is not None
    window = Window(start, end)
    return service.people_in_space(settings, space, window, width, made, log_span(settings))


def _chosen(context: Context) -> Made | None:
    """The selected people count; None, with an explanation on the page, without any."""
    defined = _people_counts(context.settings)
    made = {name: found for name, found in defined.items() if found is not None}
    if not made:
        nothing_yet(defined)
        return None
    names = list(made)
    name = st.selectbox(
        "People count",
        names,
        index=names.index(state.one_of("by", names, names[0])),
        key="occupancy_people_count",
        format_func=lambda n: f"{n}: {service.counted_in_words(made[n].body)}",
        width=420,
    )
    state.put(by=name)
    return made[name]


def _numbers(context: Context, found: PeopleInSpace, numbers: Summary) -> None:
    calibrated = found.made.evaluation
    with st.container(horizontal=True):
        st.metric(
            "Peak, people",
            f"{numbers.peak:,.0f}",
            border=True,
            help="No interval is known"
            if numbers.low is None
            else f"{found.made.body.confidence:.0%} interval: {numbers.low:,} to {numbers.high:,}",
        )
        st.metric("Mean, people", f"{numbers.mean:,.1f}", border=True)
        if numbers.known:
            st.metric(
                "Mean, known people",
                f"{numbers.known:,.1f}",
                border=True,
                help="Known by the user names of their sessions: counted, not estimated",
            )
        st.metric("Mean, devices", f"{numbers.devices:,.1f}", border=True)
        if context.capacity:
            st.metric(
                "Utilisation at peak",
                f"{numbers.peak / context.capacity:.0%}",
                border=True,
                help=f"People per place, with a capacity of {context.capacity:,.0f}; "
                f"{numbers.mean / context.capacity:.0%} on average",
            )
        if calibrated is None:
            st.metric("Calibration", "none", border=True, help=found.made.reason)
        else:
            st.metric(
                "Typical error",
                f"±{calibrated.calibrated.mae:.1f} people",
                border=True,
                help=f"Mean absolute error on {calibrated.rows:,} held-out head counts",
            )


def _sentence(
    context: Context, found: PeopleInSpace, numbers: Summary, window: Window, width: int
) -> str:
    """The sentence beside the chart, in Markdown."""
    at = from_seconds(found.devices.local[numbers.at])
    interval = (
        ""
        if numbers.low is None
        else f"; {found.made.body.confidence:.0%} interval: {numbers.low:,} to {numbers.high:,}"
    )
    return (
        f"{plain(context.name)}, {span(window)}: peak of about **{numbers.peak:,.0f}** people in "
        f"{bin_width(width)} ({moment(at)}{interval}), mean {numbers.mean:,.1f} people and "
        f"{numbers.devices:,.1f} devices."
    )


def _chart(context: Context, found: PeopleInSpace, width: int, sentence: str) -> int:
    points, bins_per_point = service.points(found, SCREEN_POINTS // 2)
    chart = timeline(
        points,
        gap_frame(found.devices.gaps),
        title=f"People and devices in {bin_width(width)}",
        zone=context.settings.timezone,
        capacity=context.capacity,
        ink=ink(),
    )
    st.altair_chart(chart, alt=sentence.replace("*", "").replace("\\", ""))
    return bins_per_point


def _explain(
    context: Context, made: Made, numbers: Summary, bins_per_point: int, width: int
) -> None:
    parts = [plain(service.quality_in_words(made))]
    if numbers.known:
        parts.append(
            f"On average {numbers.known:,.1f} people are known by their user names and counted "
            "exactly; only the others are estimated, from their devices."
        )
    if made.calibration is None:
        if made.body.by is not None:
            parts.append(
                "Each device with these labels counts as one person. The band covers errors of the "
                "labels only, not people without such a device."
            )
    else:
        parts.append(
            f"The band contains the true number in about {made.body.confidence:.0%} of bins, for "
            "spaces and hours like those with head counts."
        )
    if bins_per_point > 1:
        parts.append(
            f"Each point of the chart is the mean of {bins_per_point:,} bins of {bin_width(width)}."
        )
    parts.append("A bin counts everybody who was there at any time during it.")
    link = asset_link(context.settings, f"people_count/{made.name}")
    parts.append(f"[{plain(made.name)} in Dagster]({link})")
    st.caption(" ".join(parts))
    st.page_link(
        page("people"),
        label="Head counts and calibration",
        icon=":material/person_check:",
        query_params={"count": made.name},
    )


def _downloads(context: Context, window: Window, width: int, made: Made) -> None:
    kind: Format
    with st.popover("Download people", icon=":material/download:"):
        for kind in ("csv", "parquet"):
            st.download_button(
                {"csv": "CSV", "parquet": "Parquet"}[kind],
                partial(service.export, context.app, context.space, window, width, made.name, kind),
                file_name=f"people_{file_name(context.tree, context.space, window, width, kind)}",
                mime=MIME[kind],
                key=f"people download {kind}",
                on_click="ignore",
            )
