"""A space's people, estimated from its devices, with how sure that is."""

from __future__ import annotations

import datetime as dt
from functools import partial

import streamlit as st

from streamlit_app.services import people as service
from streamlit_app.services.occupancy import MIME, SCREEN_POINTS, Format, Window, file_name
from streamlit_app.services.people import InSpace, Summary
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME
from streamlit_app.ui.charts import ink, timeline
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import page
from streamlit_app.views.occupancy.shown import (
    SECONDS,
    Shown,
    bins,
    gap_frame,
    log_span,
    moment,
    show_gaps,
    span,
)
from tippers_dagster.people.counts.reading import Made
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.settings import Settings


def show(shown: Shown, window: Window, width: int) -> None:
    """People and devices over time, with the main numbers."""
    made = _chosen(shown)
    if made is None:
        return
    with st.spinner("Counting people ..."):
        found = _in_space(
            shown.settings, shown.space, window.start, window.end, width, made.name, made.version
        )
    devices = found.devices
    numbers = service.summary(found)
    if numbers is None:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(devices.figures, devices.gaps)
        return
    _numbers(shown, found, numbers)
    said = _said(shown, found, numbers, window, width)
    together = _chart(shown, found, width, said)
    st.markdown(said)
    _say_how(shown, made, together, width)
    _downloads(shown, window, width, made)
    show_gaps(devices.figures, devices.gaps)


@st.cache_data(ttl=SECONDS, max_entries=4, show_spinner=False, hash_funcs=SAME)
def _people_counts(settings: Settings) -> dict[str, Made | None]:
    return service.people_counts(settings)


@st.cache_resource(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=SAME)
def _in_space(
    settings: Settings,
    space: str,
    start: dt.datetime,
    end: dt.datetime,
    width: int,
    name: str,
    version: str,
) -> InSpace:
    """``version``: what is kept is of this one."""
    made = service.people_counts(settings)[name]
    assert made is not None
    return service.in_space(settings, space, Window(start, end), width, made, log_span(settings))


def _chosen(shown: Shown) -> Made | None:
    """The people count that is shown; None, and the reason told, when there is none."""
    every = _people_counts(shown.settings)
    made = {name: found for name, found in every.items() if found is not None}
    if not made:
        _nothing_yet(list(every))
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


def _nothing_yet(defined: list[str]) -> None:
    if defined:
        st.info(
            f"{plain(', '.join(defined))}: not materialised yet. It follows the labels of devices; "
            "when these are there, people are counted by them.",
            icon=":material/pending:",
        )
        return
    st.info(
        "No people count is defined. Define one: it says which devices stand for people, and how "
        "their ratio is learned from head counts.",
        icon=":material/groups:",
    )
    st.page_link(page("definitions"), label="Definitions", icon=":material/edit_note:")


def _numbers(shown: Shown, found: InSpace, numbers: Summary) -> None:
    calibrated = found.made.evaluation
    with st.container(horizontal=True):
        between = "" if numbers.low is None else f"{numbers.low:,} to {numbers.high:,}"
        st.metric(
            "Peak, people",
            f"{numbers.peak:,.0f}",
            border=True,
            help=f"In the interval of {found.made.body.confidence:.0%}: {between}"
            if between
            else "Nothing tells how sure it is",
        )
        st.metric("Mean, people", f"{numbers.mean:,.1f}", border=True)
        st.metric("Mean, devices", f"{numbers.devices:,.1f}", border=True)
        if shown.capacity:
            st.metric(
                "Utilisation at peak",
                f"{numbers.peak / shown.capacity:.0%}",
                border=True,
                help=f"People for each of {shown.capacity:,.0f} places; "
                f"{numbers.mean / shown.capacity:.0%} on average",
            )
        if calibrated is None:
            st.metric("Calibration", "none", border=True, help=found.made.reason)
        else:
            st.metric(
                "Error, people",
                f"{calibrated.calibrated.mae:.2f}",
                border=True,
                help=f"Mean absolute error on {calibrated.rows:,} head counts held out",
            )


def _said(shown: Shown, found: InSpace, numbers: Summary, window: Window, width: int) -> str:
    """The sentence beside the chart, in Markdown."""
    at = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=int(found.devices.local[numbers.at]))
    between = "" if numbers.low is None else f", between {numbers.low:,} and {numbers.high:,}"
    return (
        f"{plain(shown.name)}, {span(window)}: at most about **{numbers.peak:,.0f}** people in "
        f"{bins(width)} ({moment(at)}{between}), {numbers.mean:,.1f} on average, with "
        f"{numbers.devices:,.1f} devices."
    )


def _chart(shown: Shown, found: InSpace, width: int, said: str) -> int:
    points, together = service.points(found, SCREEN_POINTS // 2)
    chart = timeline(
        points,
        gap_frame(found.devices.gaps),
        title=f"People and devices in {bins(width)}",
        zone=shown.settings.timezone,
        capacity=shown.capacity,
        ink=ink(),
    )
    st.altair_chart(chart, alt=said.replace("*", "").replace("\\", ""))
    return together


def _say_how(shown: Shown, made: Made, together: int, width: int) -> None:
    told = [plain(service.quality_in_words(made))]
    if made.calibration is None:
        if made.body.by is not None:
            told.append(
                "The devices with these labels are taken for people as they are; the band says how "
                "sure their labels are, and nothing of people without such a device."
            )
    else:
        told.append(
            f"The band holds the people of a bin in about {made.body.confidence:.0%} of the cases, "
            "where spaces and hours are like those that people were counted in."
        )
    if together > 1:
        told.append(f"Each point of the chart is the mean of {together:,} bins of {bins(width)}.")
    told.append("A bin counts everybody who was there at any time in it.")
    link = asset_link(shown.settings, f"people_count/{made.name}")
    told.append(f"[{plain(made.name)} in Dagster]({link})")
    st.caption(" ".join(told))
    st.page_link(
        page("people"),
        label="Head counts and calibration",
        icon=":material/person_check:",
        query_params={"count": made.name},
    )


def _downloads(shown: Shown, window: Window, width: int, made: Made) -> None:
    kind: Format
    with st.popover("Download people", icon=":material/download:"):
        for kind in ("csv", "parquet"):
            st.download_button(
                {"csv": "CSV", "parquet": "Parquet"}[kind],
                partial(service.export, shown.app, shown.space, window, width, made.name, kind),
                file_name=f"people_{file_name(shown.tree, shown.space, window, width, kind)}",
                mime=MIME[kind],
                key=f"people download {kind}",
                on_click="ignore",
            )
