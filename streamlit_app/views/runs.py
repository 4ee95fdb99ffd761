"""Runs: the list of Dagster's runs, and one run in full."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import runs as service
from streamlit_app.services.app import App
from streamlit_app.services.runs import Details, Page, Run
from streamlit_app.ui import state
from streamlit_app.ui.messages import live, plain
from streamlit_app.ui.notes import attempt, show_note
from streamlit_app.views.automation import warn_about_automation
from tippers_dagster.access.model import Role
from tippers_dagster.platform.dagster.addresses import run_link

ICONS = {
    "waiting": ":material/hourglass_empty:",
    "running": ":material/progress_activity:",
    "succeeded": ":material/check_circle:",
    "failed": ":material/error:",
    "cancelled": ":material/cancel:",
}
SPANS = {"": None, "1": 1, "7": 7, "30": 30}
"""Days, by the value in the address."""

SPAN_WORDS = {
    "": "any time",
    "1": "in the last day",
    "7": "in the last 7 days",
    "30": "in the last 30 days",
}
_PAGE = 25
"""Runs per page."""

_NOTE = "runs.note"


def render(app: App) -> None:
    """The run that the address names, or the list."""
    run_id = state.get("run")
    if run_id:
        _one(app, run_id)
    else:
        _all(app)


# --- the list ------------------------------------------------------------------------------------
def _all(app: App) -> None:
    st.title("Runs")
    warn_about_automation(app)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search",
            value=state.get("q"),
            placeholder="Asset, partition, person or run id",
            key="runs.q",
            on_change=_from_start,
            width=300,
        )
        span = st.selectbox(
            "Created",
            list(SPANS),
            index=list(SPANS).index(state.one_of("days", list(SPANS), "") or ""),
            format_func=SPAN_WORDS.__getitem__,
            key="runs.days",
            on_change=_from_start,
            width=180,
        )
        with st.container(width=460):  # wide enough for two rows of pills
            states = st.pills(
                "State",
                list(service.STATES),
                selection_mode="multi",
                default=[s for s in state.get("state").split(",") if s in service.STATES],
                key="runs.state",
                on_change=_from_start,
            )
    state.put(q=text, state=",".join(states), days=span)
    _list(app, text, tuple(states), SPANS[span])


@live(3)
def _list(app: App, text: str, states: tuple[str, ...], days: int | None) -> None:
    cursors: list[str] = st.session_state.setdefault("runs.cursors", [])
    page = service.find(
        app,
        states=states,
        text=text,
        days=days,
        cursor=cursors[-1] if cursors else None,
        limit=_PAGE,
    )
    _summary(service.counts(app))
    if not page.runs:
        _nothing(bool(text or states or days))
        return
    _table(app, page)
    _pages(cursors, page)


def _summary(counts: dict[str, int]) -> None:
    if any(counts.values()):
        listed = ", ".join(f"{n:,} {state}" for state, n in counts.items() if n)
        st.caption(f"All runs: {listed}.")


def _nothing(filtered: bool) -> None:
    if filtered:
        st.info("No matching runs.", icon=":material/search_off:")
        return
    with st.container(border=True):
        st.markdown(
            "**Nothing has run yet.** While `tippers up` is running, runs start automatically once "
            "a space is tracked or a definition is saved."
        )


def _table(app: App, page: Page) -> None:
    now = dt.datetime.now(dt.UTC)
    zone = ZoneInfo(app.settings.timezone)
    chosen = st.dataframe(
        [_row(run, now, zone) for run in page.runs],
        hide_index=True,
        width="stretch",
        on_select="rerun",
        selection_mode="single-row",
        key=f"runs.table {page.runs[0].run_id}",
        column_config={"Seconds": st.column_config.NumberColumn(format="localized")},
    )
    st.caption("Select a row to see its steps and log.")
    rows = chosen["selection"]["rows"]
    if rows and rows[0] < len(page.runs):
        state.put(run=page.runs[rows[0]].run_id)
        st.rerun(scope="app")


def _row(run: Run, now: dt.datetime, zone: ZoneInfo) -> dict[str, object]:
    seconds = run.seconds(now)
    return {
        "State": f"{_sign(run.state)} {run.state}",
        "Assets": run.what,
        "Partitions": run.part,
        "Started by": run.by,
        "Created": run.created.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
        "Seconds": None if seconds is None else round(seconds, 1),
        "Run": run.run_id[:8],
    }


def _sign(run_state: str) -> str:
    """A sign beside the word, as tables cannot show icons."""
    signs = {"waiting": "…", "running": "▶", "succeeded": "✓", "failed": "✗", "cancelled": "■"}
    return signs.get(run_state, "")


def _pages(cursors: list[str], page: Page) -> None:
    if not cursors and page.cursor is None:
        return
    with st.container(horizontal=True):
        st.button(
            "Newest", disabled=not cursors, on_click=cursors.clear, icon=":material/first_page:"
        )
        st.button(
            "Older",
            disabled=page.cursor is None,
            on_click=cursors.append,
            args=(page.cursor,),
            icon=":material/navigate_next:",
        )


def _from_start() -> None:
    st.session_state["runs.cursors"] = []


# --- one run -------------------------------------------------------------------------------------
def _one(app: App, run_id: str) -> None:
    st.title("Run")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All runs", on_click=_back, icon=":material/arrow_back:")
        st.link_button("In Dagster", run_link(app.settings, run_id), icon=":material/open_in_new:")
    show_note(_NOTE)
    _details(app, run_id)


@live(2)
def _details(app: App, run_id: str) -> None:
    found = service.details(app, run_id)
    _facts(app, found.run)
    if found.reason:
        st.error(plain(found.reason), icon=":material/error:")
    _actions(app, found.run)
    _steps(found)
    _log(app, found)


def _facts(app: App, run: Run) -> None:
    zone = ZoneInfo(app.settings.timezone)
    st.markdown(f"{ICONS.get(run.state, '')} **{run.state}** · {plain(run.what)}")
    seconds = run.seconds(dt.datetime.now(dt.UTC))
    partitions = "partition" if len(run.partitions) == 1 else "partitions"
    facts = [
        f"{partitions} {run.part}" if run.part else "",
        f"started by {run.by}" if run.by else "",
        f"created {run.created.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "" if seconds is None else f"duration {seconds:,.1f} s",
        f"run {run.run_id}",
    ]
    st.caption(plain(" · ".join(filter(None, facts))))
    if len(run.assets) > 3:
        with st.expander(f"{len(run.assets):,} assets"):
            st.text("\n".join(run.assets))


def _actions(app: App, run: Run) -> None:
    if not app.person.may(Role.ANALYST):
        return
    if run.unfinished:
        st.button(
            "Cancel",
            on_click=attempt,
            args=(_NOTE, _cancel, app, run),
            icon=":material/stop_circle:",
        )
    elif run.assets:
        label = "Run again" if run.state == "succeeded" else "Try again"
        st.button(
            label, on_click=attempt, args=(_NOTE, _repeat, app, run), icon=":material/replay:"
        )


def _steps(found: Details) -> None:
    if not found.steps:
        return
    done = sum(step.seconds is not None for step in found.steps)
    with st.expander(
        f"Steps: {done:,} of {len(found.steps):,} finished", expanded=len(found.steps) < 8
    ):
        st.dataframe(
            [{"Step": s.name, "State": s.state, "Seconds": s.seconds} for s in found.steps],
            hide_index=True,
            width="stretch",
            column_config={"Seconds": st.column_config.NumberColumn(format="%.1f")},
        )


def _log(app: App, found: Details) -> None:
    zone = ZoneInfo(app.settings.timezone)
    st.subheader("Latest log entries")
    lines = [
        f"{line.at.astimezone(zone):%H:%M:%S} {line.level:<8}{line.step and f'[{line.step}] '}"
        f"{line.message}"
        for line in found.log
    ]
    st.code("\n".join(lines) or "No log entries yet.", language=None, height=360)


def _cancel(app: App, run: Run) -> str:
    service.cancel(app, run.run_id)
    return "The run is stopping. Results that it has already computed are kept."


def _repeat(app: App, run: Run) -> str:
    state.put(run=service.repeat(app, run.run_id))
    return "Started again: this is the new run."


def _back() -> None:
    state.put(run=None)
