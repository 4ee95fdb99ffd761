"""What loading a log did."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import log_files as service
from streamlit_app.services.log_files import Loaded
from streamlit_app.services.words import day, moment
from streamlit_app.ui.messages import plain
from streamlit_app.ui.pages import page
from streamlit_app.views.log_files.tables import show_counts
from tippers_dagster.campus.intake.journal import IngestReport
from tippers_dagster.platform.small_tables import column_names
from tippers_dagster.platform.text import counted, shown
from tippers_dagster.settings import Settings

_SPACES = 10


def show(settings: Settings, loaded: Loaded) -> None:
    """The numbers, what was rejected and why, and what is out of date."""
    report = loaded.report
    if report.already:
        when = "" if report.when is None else f" on {in_words(settings, report.when)}"
        st.info(
            f"{plain(loaded.name)} was already loaded{when}, as ingest {report.ingest_id}. Nothing "
            "was loaded again.",
            icon=":material/info:",
        )
        return
    instead = ", in place of what it had loaded before" if loaded.replaces else ""
    st.success(
        f"{plain(loaded.name)} was loaded as ingest {report.ingest_id}{instead}.",
        icon=":material/check_circle:",
    )
    with st.container(horizontal=True):
        st.metric("Rows read", f"{report.rows:,}", border=True)
        if report.left_out:
            st.metric(
                "Rows left out",
                f"{report.left_out:,}",
                border=True,
                help="Rows that do not count, by `where` in the mapping.",
            )
        st.metric("Rows rejected", f"{report.rejected.total():,}", border=True)
        st.metric("Rows taken", f"{report.taken:,}", border=True)
        st.metric("Sessions loaded", f"{report.loaded:,}", border=True)
    for text in _sentences(settings, loaded):
        st.markdown(text)
    again = f"then read the log again: `tippers ingest again {report.ingest_id} --file FILE`"
    show_counts(service.reasons_table(report.rejected), report.unknown_access_points, again)
    undo = f"`tippers ingest undo {report.ingest_id}` removes what was loaded."
    rejects = "`tippers rejects` lists the rejected rows. " if report.rejected else ""
    st.caption(f"{rejects}{undo}")
    if report.dates:
        until = max(report.dates) + dt.timedelta(1)
        st.page_link(
            page("tracking"),
            label="Track spaces over these days",
            icon=":material/calendar_month:",
            query_params={"from": min(report.dates).isoformat(), "to": until.isoformat()},
        )


def in_words(settings: Settings, when: dt.datetime) -> str:
    """An instant as local time."""
    return moment(when.astimezone(ZoneInfo(settings.timezone)).replace(tzinfo=None))


def _sentences(settings: Settings, loaded: Loaded) -> list[str]:
    report = loaded.report
    found = [f"{plain(name)}: {plain(value)}." for name, value in report.details.items()]
    if report.dates:
        first, last = min(report.dates), max(report.dates)
        span = day(first) if first == last else f"{day(first)} to {day(last)}"
        found.append(f"{counted(len(report.dates), 'day')} with sessions: {span}.")
    if loaded.outdated:
        chunks = counted(len(loaded.outdated), settings.chunk)
        are = "is" if len(loaded.outdated) == 1 else "are"
        found.append(f"The occupancy of {chunks} {are} out of date. Automation recomputes it.")
    if report.unplaced:
        found.append(_unplaced(report))
    if report.ignored:
        found.append(f"Columns that were not read: {plain(column_names(report.ignored))}.")
    return found


def _unplaced(report: IngestReport) -> str:
    spaces = report.unplaced.most_common()
    named = ", ".join(f"{shown(space)} ({count:,})" for space, count in spaces[:_SPACES])
    more = f" and {len(spaces) - _SPACES:,} more" if len(spaces) > _SPACES else ""
    total = counted(report.unplaced.total(), "session")
    return f"{total} are not counted until these spaces are loaded: {plain(named)}{more}."
