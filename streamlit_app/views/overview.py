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
from streamlit_app.services.occupancy import Log
from streamlit_app.services.overview import Building, Now
from streamlit_app.ui import pages
from streamlit_app.ui.cached import SAME, space_tree
from streamlit_app.ui.charts import ranked_bars, timeline
from streamlit_app.ui.messages import live, plain, told
from streamlit_app.views.at_work import show_troubles
from streamlit_app.views.levels import LOOK_SECONDS, show_levels
from streamlit_app.views.occupancy.shown import gap_frame, moment
from tippers_dagster.access.model import Person, Role
from tippers_dagster.campus.spaces.tracking import list_tracked
from tippers_dagster.campus.spaces.tree import NoSpaces, SpaceTree
from tippers_dagster.settings import Settings

SECONDS = 20
SHOWN_FAILURES = 5
WIDE, NARROW = 600, 410
"""Pixels of what stands side by side."""

ROOTS = 3
"""So many roots get a picture of their own; the others are in the list of the busiest."""


def render(app: App) -> None:
    """The page."""
    st.title("Overview")
    show_troubles(app)
    try:
        tree = space_tree(app.settings)
    except NoSpaces as error:
        _no_spaces(error)
        return
    if not list_tracked(app.settings):
        _nothing_tracked(tree)
        return
    _fresh(app, tree)
    # Side by side where there is room, else one below the other.
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=WIDE):
            _now(app, tree)
        with st.container(width=NARROW):
            _busiest(app, tree)
        with st.container(width=WIDE):
            _by_dagster(app)
        with st.container(width=NARROW):
            _rejected(app)


def _no_spaces(error: NoSpaces) -> None:
    st.info(
        f"**There is no campus yet.**  \n{plain(error.message)}  \n{plain(error.hint or '')}",
        icon=":material/info:",
    )


def _nothing_tracked(tree: SpaceTree) -> None:
    st.info(
        f"**Nothing is tracked yet.**  \nThe source has {len(tree):,} spaces. Track the whole "
        "campus, or a building, over some weeks: its occupancy is then computed and kept up to "
        "date by itself.",
        icon=":material/info:",
    )
    label = "Track a space"
    st.page_link(pages.page("tracking"), label=label, icon=":material/calendar_month:")


# --- how fresh -----------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _freshness(settings: Settings) -> service.Freshness:
    return service.freshness(settings, space_tree(settings))


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _last_hour(settings: Settings) -> tuple[dt.datetime, Log] | None:
    return service.last_hour(settings)


def _fresh(app: App, tree: SpaceTree) -> None:
    found, last = _freshness(app.settings), _last_hour(app.settings)
    zone = ZoneInfo(app.settings.timezone)
    boxes = st.container(horizontal=True)
    boxes.metric(
        "The log reaches",
        f"{last[1].end.day} {last[1].end:%b %Y}" if last else "not computed",
        border=True,
        help=f"The last session that is computed begins at {last[1].end:%H:%M}, local time"
        if last
        else None,
    )
    boxes.metric(
        "Spaces tracked",
        f"{found.spaces:,}",
        border=True,
        help=f"Of {len(tree):,}, below {found.roots:,} tracked roots",
    )
    boxes.metric(
        "Time chunks",
        f"{found.chunks:,}",
        border=True,
        help=f"From {found.first_chunk} to the one that begins on {found.last_chunk}",
    )
    boxes.metric(
        "Source last looked at",
        _ago(found.observed_at),
        border=True,
        help=f"Last computed: {_stamp(found.computed_at, zone)}; "
        f"last looked at: {_stamp(found.observed_at, zone)}",
    )


def _stamp(at: dt.datetime | None, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else "never"


def _ago(at: dt.datetime | None) -> str:
    if at is None:
        return "never"
    seconds = (dt.datetime.now(dt.UTC) - at).total_seconds()
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    return "just now"


# --- now -----------------------------------------------------------------------------------------
@st.cache_resource(ttl=SECONDS, max_entries=20, show_spinner=False, hash_funcs=SAME)
def _now_of(settings: Settings, space: str) -> Now | None:
    return service.now(settings, space)


def _now(app: App, tree: SpaceTree) -> None:
    st.subheader("Now, against past weeks")
    for root in tree.roots[:ROOTS]:
        name = tree.names[tree.index[root]]
        found = _now_of(app.settings, root)
        if found is None:
            st.info(
                "No sessions are computed yet; the progress is below.", icon=":material/pending:"
            )
            return
        if found.is_old and root == tree.roots[0]:
            st.caption(
                f":material/history: The log ends on {moment(found.log_end)}. What is told here is "
                "its last whole hour, not the present one."
            )
        st.markdown(_sentence(plain(name), found))
        st.altair_chart(_day_chart(app, found), alt=f"The last 24 hours of {name}, and usually")
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
    said = f"{name}, {when}: **{found.devices:,} devices**"
    usual = found.usually
    if usual is None:
        return f"{said}. No past week is computed to compare it with."
    weeks = sum(p is not None for p in found.past)
    if not usual:
        return f"{said}; usually none."
    change = found.devices / usual - 1
    word = "more" if change >= 0 else "fewer"
    return (
        f"{said}, {abs(change):.0%} {word} than the mean of the same hour of the past {weeks} "
        f"weeks ({usual:,.0f})."
    )


def _day_chart(app: App, found: Now) -> alt.LayerChart | alt.FacetChart:
    points = found.day.points().table.to_pandas()
    usual = points.assign(name="usually", mean=found.usual, low=found.usual, high=found.usual)
    both = pd.concat([points.assign(name="these 24 hours"), usual], ignore_index=True)
    return timeline(
        both,
        gap_frame(found.day.gaps),
        title="Devices in 1 h",
        zone=app.settings.timezone,
        height=260,
    )


# --- the busiest ---------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _buildings(settings: Settings, hour: dt.datetime, log: Log) -> list[Building]:
    return service.busiest(settings, space_tree(settings), hour, log)


def _busiest(app: App, tree: SpaceTree) -> None:
    st.subheader("Busiest")
    last = _last_hour(app.settings)
    if last is None:
        st.caption("Nothing is computed yet.")
        return
    found = _buildings(app.settings, *last)
    counted = [b for b in found if b.devices is not None]
    if not counted:
        st.caption("Nothing of this hour is computed yet.")
        return
    rows = pd.DataFrame([{"name": _named(b, found), "devices": b.devices} for b in counted])
    said = f"{counted[0].name} is the busiest, with {counted[0].devices:,} devices."
    chart = ranked_bars(rows, value="devices", name="name", title="Devices in 1 h")
    st.altair_chart(chart, alt=said)
    st.markdown(f"{moment(last[0])}: {plain(said)}")
    with st.container(horizontal=True):
        for one in counted:
            st.page_link(
                pages.page("occupancy"),
                label=plain(_named(one, found)),
                query_params={"space": one.space},
            )
    lacking = len(found) - len(counted)
    if lacking:
        st.caption(f"{lacking:,} more are not computed for this hour.")


def _named(one: Building, found: list[Building]) -> str:
    same = sum(b.name == one.name for b in found) > 1
    return f"{one.name} ({one.space})" if same else one.name


# --- how far, and what failed --------------------------------------------------------------------
@live(LOOK_SECONDS)
def _by_dagster(app: App) -> None:
    """What Dagster is asked for. To load it takes seconds, once: the page does not wait for it."""
    waited = "overview waited"
    if "dagster" not in sys.modules and not st.session_state.get(waited):
        st.session_state[waited] = True
        st.subheader("Progress")
        st.caption(":material/hourglass_empty: Asking Dagster …")
        return
    _progress(app)
    _failed(app)


def _progress(app: App) -> None:
    st.subheader("Progress")
    show_levels(app, key="overview")
    for run in service.running(app):
        st.page_link(
            pages.page("runs"),
            label=f"{run.state}: {plain(run.what)}",
            icon=":material/progress_activity:",
            query_params={"run": run.run_id},
        )


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _failed_runs(settings: Settings) -> list[service.FailedRun]:
    return service.failed_runs(App(settings, Person("the page", Role.VIEWER)))


def _failed(app: App) -> None:
    st.subheader("What failed")
    runs, assets = _failed_runs(app.settings), service.failed_assets(app.settings)
    if not runs and not assets:
        st.markdown(
            f":material/check_circle: No run failed in the last {service.FAILED_DAYS} days, and no "
            "definition waits for a retry."
        )
        return
    for asset in assets[:SHOWN_FAILURES]:
        again = "is tried again by itself" if asset.tries_again else "is not tried again by itself"
        first = (asset.why.strip().splitlines() or [""])[0]
        st.markdown(f":material/error: **{plain(asset.name)}** {again}: {plain(first[:300])}")
    if len(assets) > SHOWN_FAILURES:
        st.caption(f"And {len(assets) - SHOWN_FAILURES:,} more definitions.")
    if assets and app.person.may(Role.ANALYST):
        st.button("Retry the definitions", icon=":material/replay:", on_click=_retry, args=(app,))
    for failed in runs:
        first = (failed.why.strip().splitlines() or ["see its log"])[0]
        st.page_link(
            pages.page("runs"),
            label=f"{failed.run.created:%Y-%m-%d %H:%M} UTC, {plain(failed.run.what)}",
            icon=":material/error:",
            query_params={"run": failed.run.run_id},
        )
        st.caption(plain(first[:300]))


def _retry(app: App) -> None:
    with told():
        number = service.retry_definitions(app)
        st.toast(f"{number:,} definitions are tried again.", icon=":material/replay:")


# --- rejected ------------------------------------------------------------------------------------
@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _rejects(settings: Settings) -> service.Rejected:
    return service.rejected(settings)


def _rejected(app: App) -> None:
    st.subheader("Rejected rows")
    found = _rejects(app.settings)
    if not found.rows and not found.ingested and not found.left_out:
        st.markdown(":material/check_circle: Every row of the source could be used.")
        return
    if found.rows:
        st.markdown(
            f"**{found.rows:,}** of {found.of:,} rows of the source ({found.rows / found.of:.2%}) "
            "could not be used, and are in no count."
        )
    if found.reasons:
        table = pd.DataFrame(found.reasons.items(), columns=["Reason", "Rows"])
        st.dataframe(table, hide_index=True)
        if len(found.chunks) == service.RECENT_CHUNKS:
            st.caption(f"Reasons in the newest {len(found.chunks)} chunks that have any.")
    if found.ingested:
        rows = [(kind, reason, n) for (kind, reason), n in found.ingested.items()]
        st.caption("Of files that were ingested:")
        st.dataframe(pd.DataFrame(rows, columns=["File", "Reason", "Rows"]), hide_index=True)
    if found.left_out:
        st.markdown(f"Spaces left out because their ids cannot be used: **{found.left_out:,}**.")
    st.caption("`tippers rejects` lists them all.")
