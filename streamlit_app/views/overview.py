"""Overview: the campus at a glance."""

from __future__ import annotations

import datetime as dt
import sys
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import overview as service
from streamlit_app.services.app import App
from streamlit_app.services.occupancy.computed import Log
from streamlit_app.services.overview import Building, Now
from streamlit_app.services.words import moment
from streamlit_app.ui import pages
from streamlit_app.ui.cached import HASH_FUNCS, space_tree
from streamlit_app.ui.charts import ranked_bars, timeline
from streamlit_app.ui.messages import live, plain, show_errors
from streamlit_app.views.automation import warn_about_automation
from streamlit_app.views.identities import show_identities
from streamlit_app.views.levels import REFRESH_SECONDS, show_levels
from streamlit_app.views.occupancy.context import gap_frame
from tippers_dagster.access.model import Person, Role
from tippers_dagster.campus.spaces.tracking import list_tracked
from tippers_dagster.campus.spaces.tree import NoSpaces, SpaceTree
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

SECONDS = 20
MAX_FAILURES = 5
WIDE, NARROW = 600, 410
"""Widths of the two columns in pixels."""

MAX_ROOTS = 3
"""Roots with their own chart; the others only appear in the list of the busiest spaces."""


def render(app: App) -> None:
    """The page."""
    st.title("Overview")
    warn_about_automation(app)
    try:
        tree = space_tree(app.settings)
    except NoSpaces as error:
        _no_spaces(error)
        return
    if not list_tracked(app.settings):
        _nothing_tracked(tree)
        return
    _show_freshness(app, tree)
    # Side by side if there is room, or else one below the other.
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=WIDE):
            _now(app, tree)
        with st.container(width=NARROW):
            _busiest(app, tree)
        with st.container(width=WIDE):
            _by_dagster(app)
        with st.container(width=NARROW):
            _rejected(app)
    show_identities(app)


def _no_spaces(error: NoSpaces) -> None:
    st.info(
        f"**There is no campus yet.**  \n{plain(error.message)}  \n{plain(error.hint or '')}",
        icon=":material/info:",
    )


def _nothing_tracked(tree: SpaceTree) -> None:
    st.info(
        f"**Nothing is tracked yet.**  \nThe source has {counted(len(tree), 'space')}. Track the "
        "whole campus or a building over some weeks: its occupancy is then computed and kept up "
        "to date automatically.",
        icon=":material/info:",
    )
    label = "Track a space"
    st.page_link(pages.page("tracking"), label=label, icon=":material/calendar_month:")


# --- freshness -----------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _freshness(settings: Settings) -> service.Freshness:
    return service.freshness(settings, space_tree(settings))


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _last_hour(settings: Settings) -> tuple[dt.datetime, Log] | None:
    return service.last_hour(settings)


def _show_freshness(app: App, tree: SpaceTree) -> None:
    found, last = _freshness(app.settings), _last_hour(app.settings)
    zone = ZoneInfo(app.settings.timezone)
    boxes = st.container(horizontal=True)
    boxes.metric(
        "Log ends",
        f"{last[1].end.day} {last[1].end:%b %Y}" if last else "not computed",
        border=True,
        help=f"The last computed session begins at {last[1].end:%H:%M}, local time"
        if last
        else None,
    )
    boxes.metric(
        "Spaces tracked",
        f"{found.spaces:,}",
        border=True,
        help=f"Of {counted(len(tree), 'space')} in the source; tracked through "
        f"{counted(found.roots, 'chosen space')} and all spaces inside",
    )
    chunk = app.settings.chunk
    boxes.metric(
        f"{chunk.capitalize()}s tracked",
        f"{found.chunks:,}",
        border=True,
        help=f"From {found.first_chunk} to the {chunk} that begins on {found.last_chunk}",
    )
    boxes.metric(
        "Source last checked",
        _ago(found.observed_at),
        border=True,
        help=f"Checked for changes: {_stamp(found.observed_at, zone)}. Counts last computed: "
        f"{_stamp(found.computed_at, zone)}",
    )


def _stamp(at: dt.datetime | None, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else "never"


def _ago(at: dt.datetime | None) -> str:
    if at is None:
        return "never"
    seconds = (dt.datetime.now(dt.UTC) - at).total_seconds()
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{counted(int(seconds // size), name)} ago"
    return "just now"


# --- now and usually -----------------------------------------------------------------------------
@st.cache_resource(ttl=SECONDS, max_entries=20, show_spinner=False, hash_funcs=HASH_FUNCS)
def _now_of(settings: Settings, space: str) -> Now | None:
    return service.now(settings, space)


def _now(app: App, tree: SpaceTree) -> None:
    st.subheader("Now and usually")
    for root in tree.roots[:MAX_ROOTS]:
        name = tree.names[tree.index[root]]
        found = _now_of(app.settings, root)
        if found is None:
            st.info(
                "No sessions are computed yet. See the progress below.", icon=":material/pending:"
            )
            return
        if found.is_old and root == tree.roots[0]:
            st.caption(
                f":material/history: The log ends on {moment(found.log_end)}. Showing the last "
                "complete hour in the log."
            )
        st.markdown(_sentence(plain(name), found))
        st.altair_chart(
            _day_chart(app, found), alt=f"Devices in {name}: the last 24 hours, and usually"
        )
        st.page_link(
            pages.page("occupancy"),
            label=f"Explore {plain(name)}",
            icon=":material/groups:",
            query_params={"space": root},
        )


def _sentence(name: str, found: Now) -> str:
    when = f"{moment(found.hour)} to {found.hour + service.HOUR:%H:%M}"
    if found.devices is None:
        return f"{name}, {when}: not computed."
    devices = f"{name}, {when}: **{counted(found.devices, 'device')}**"
    usual = found.usually
    if usual is None:
        return f"{devices}. No past week is computed to compare with."
    if not usual:
        return f"{devices}; usually none."
    change = found.devices / usual - 1
    word = "more" if change >= 0 else "fewer"
    weeks = counted(sum(p is not None for p in found.past), "past week")
    return (
        f"{devices}, {abs(change):.0%} {word} than in the same hour of {weeks} (mean {usual:,.0f})."
    )


def _day_chart(app: App, found: Now) -> alt.LayerChart | alt.FacetChart:
    points = found.day.points().table.to_pandas()
    usual = points.assign(name="usually", mean=found.usual, low=found.usual, high=found.usual)
    both = pd.concat([points.assign(name="last 24 hours"), usual], ignore_index=True)
    return timeline(
        both,
        gap_frame(found.day.gaps),
        title="Devices in 1 h",
        zone=app.settings.timezone,
        height=260,
    )


# --- the busiest ---------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _buildings(settings: Settings, hour: dt.datetime, log: Log) -> list[Building]:
    return service.busiest(settings, space_tree(settings), hour, log)


def _busiest(app: App, tree: SpaceTree) -> None:
    st.subheader("Busiest")
    last = _last_hour(app.settings)
    if last is None:
        st.caption("Nothing is computed yet.")
        return
    found = _buildings(app.settings, *last)
    computed = [(b, b.devices) for b in found if b.devices is not None]
    if not computed:
        st.caption("This hour is not computed yet.")
        return
    rows = pd.DataFrame([{"name": _label(b, found), "devices": n} for b, n in computed])
    first, devices = computed[0]
    sentence = f"{first.name} is busiest, with {counted(devices, 'device')}."
    chart = ranked_bars(rows, value="devices", name="name", title="Devices in 1 h")
    st.altair_chart(chart, alt=sentence)
    st.markdown(f"{moment(last[0])}: {plain(sentence)}")
    with st.container(horizontal=True):
        for one, _ in computed:
            st.page_link(
                pages.page("occupancy"),
                label=plain(_label(one, found)),
                query_params={"space": one.space},
            )
    missing = len(found) - len(computed)
    if missing:
        st.caption(f"Not computed for this hour: {counted(missing, 'space')} more.")


def _label(one: Building, found: list[Building]) -> str:
    same = sum(b.name == one.name for b in found) > 1
    return f"{one.name} ({one.space})" if same else one.name


# --- progress and failures -----------------------------------------------------------------------
@live(REFRESH_SECONDS)
def _by_dagster(app: App) -> None:
    """The part that needs Dagster; the page does not wait the seconds that its import takes."""
    waited = "overview waited"
    if "dagster" not in sys.modules and not st.session_state.get(waited):
        st.session_state[waited] = True
        st.subheader("Progress")
        st.caption(":material/hourglass_empty: Loading …")
        return
    _progress(app)
    _failures(app)


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _definitions(settings: Settings) -> str:
    return service.definitions_in_words(App(settings, Person("the page", Role.VIEWER)))


def _progress(app: App) -> None:
    st.subheader("Progress")
    show_levels(app, key="overview")
    st.caption(plain(_definitions(app.settings)))
    for run in service.running(app):
        st.page_link(
            pages.page("runs"),
            label=f"{run.state}: {plain(run.what)}",
            icon=":material/progress_activity:",
            query_params={"run": run.run_id},
        )


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _failed_runs(settings: Settings) -> list[service.FailedRun]:
    return service.failed_runs(App(settings, Person("the page", Role.VIEWER)))


def _failures(app: App) -> None:
    st.subheader("Failures")
    runs, assets = _failed_runs(app.settings), service.failed_assets(app.settings)
    if not runs and not assets:
        st.markdown(
            f":material/check_circle: No run failed in the last {service.FAILED_DAYS} days, and no "
            "definition is waiting for a retry."
        )
        return
    for asset in assets[:MAX_FAILURES]:
        retry = "will be retried" if asset.will_retry else "will not be retried automatically"
        first = (asset.error.strip().splitlines() or [""])[0]
        st.markdown(f":material/error: **{plain(asset.name)}** {retry}: {plain(first[:300])}")
    if len(assets) > MAX_FAILURES:
        st.caption(f"And {counted(len(assets) - MAX_FAILURES, 'more definition')}.")
    if assets and app.person.may(Role.ANALYST):
        st.button("Retry definitions", icon=":material/replay:", on_click=_retry, args=(app,))
    for failed in runs:
        first = (failed.error.strip().splitlines() or ["see its log"])[0]
        st.page_link(
            pages.page("runs"),
            label=f"{failed.run.created:%Y-%m-%d %H:%M} UTC, {plain(failed.run.what)}",
            icon=":material/error:",
            query_params={"run": failed.run.run_id},
        )
        st.caption(plain(first[:300]))


def _retry(app: App) -> None:
    with show_errors():
        number = service.retry_definitions(app)
        st.toast(f"Retrying {counted(number, 'definition')}.", icon=":material/replay:")


# --- rejected ------------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _rejects(settings: Settings) -> service.Rejected:
    return service.rejected(settings)


def _rejected(app: App) -> None:
    st.subheader("Rejected rows")
    found = _rejects(app.settings)
    if not found.rows and not found.ingested and not found.left_out:
        st.markdown(":material/check_circle: No rows were rejected.")
        return
    if found.rows:
        st.markdown(
            f"**{found.rows:,}** of {counted(found.of, 'source row')} "
            f"({found.rows / found.of:.2%}) cannot be used and are not counted."
        )
    if found.reasons:
        table = pd.DataFrame(found.reasons.items(), columns=["Reason", "Rows"])
        st.dataframe(table, hide_index=True)
        if len(found.chunks) == service.REJECT_CHUNKS:
            st.caption(
                f"From the newest {len(found.chunks)} {app.settings.chunk}s with rejected rows."
            )
    if found.ingested:
        rows = [(kind, reason, n) for (kind, reason), n in found.ingested.items()]
        st.caption("Rejected rows of ingested files:")
        st.dataframe(pd.DataFrame(rows, columns=["File", "Reason", "Rows"]), hide_index=True)
    if found.left_out:
        st.markdown(f"Spaces left out because their ids cannot be used: **{found.left_out:,}**.")
    st.caption("`tippers rejects` lists all of them.")
