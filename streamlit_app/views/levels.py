"""The progress of the tracked grid per level, for the overview and the tracking page."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import Progress
from streamlit_app.services.words import duration
from streamlit_app.ui.cached import HASH_FUNCS
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.ui.pages import page
from tippers_dagster.access.model import Person, Role
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

REFRESH_SECONDS = 2
"""How often the progress is read, for all sessions together."""


@st.cache_data(ttl=REFRESH_SECONDS - 0.1, show_spinner=False, hash_funcs=HASH_FUNCS)
def progress(settings: Settings) -> Progress:
    """The progress of the grid; everybody may see it, so it is read as a viewer."""
    return service.progress(App(settings, Person("the page", Role.VIEWER)))


def show_levels(app: App, *, key: str) -> None:
    """A progress bar per level, with the time left and failures; ``key``: unique per page."""
    found = progress(app.settings)
    if found.wanted == found.done:
        st.markdown(
            f":material/check_circle: Everything is up to date: {counted(found.done, 'partition')} "
            f"on {counted(len(found.levels), 'level')}."
        )
    for level in found.levels:
        link = asset_link(app.settings, level.asset)
        st.markdown(f"**[{level.asset}]({link})** — {service.LEVELS[level.asset]}")
        share = level.done / level.wanted if level.wanted else 1.0
        st.progress(share, text=_text(level.numbers, found.seconds_by_asset.get(level.asset)))
    _time_left(found)
    _failures(app, found, key)


def _text(numbers: tuple[int, int, int, int, int], seconds: float | None) -> str:
    wanted, done, running, stale, failed = numbers
    text = f"{done:,} of {wanted:,} up to date"
    if running:
        text += f" · :material/progress_activity: {running:,} running"
    if stale:
        text += f" · :material/hourglass_empty: {stale:,} waiting"
    if failed:
        text += f" · :material/error: {failed:,} failed"
    if (running or stale) and seconds is not None:
        text += f" · about {duration(seconds)} left"
    return text


def _time_left(found: Progress) -> None:
    if not found.pending:
        return
    pending = counted(found.pending, "partition")
    if not found.is_running:
        st.warning(
            f"{pending} waiting, but the deployment is not running. Start it with `tippers up`, "
            "or compute them from the command line with `tippers occupancy materialize`.",
            icon=":material/pause_circle:",
        )
        return
    seconds = found.seconds_left
    left = (
        f"about {duration(seconds)} left, estimated from past runs"
        if seconds is not None
        else "there are no past runs to estimate the time from"
    )
    st.caption(f"{pending} to compute: {left}. You may leave this page.")


def _failures(app: App, found: Progress, key: str) -> None:
    if not found.failed:
        return
    named = "; ".join(
        f"{level.asset}: {', '.join(level.failed_examples)}"
        + (" …" if level.failed > len(level.failed_examples) else "")
        for level in found.levels
        if level.failed
    )
    st.error(
        f"{counted(found.failed, 'partition')} failed and will not be retried automatically: "
        f"{plain(named)}",
        icon=":material/error:",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if app.person.may(Role.ANALYST):
            st.button(
                "Retry",
                key=f"{key} retry",
                icon=":material/replay:",
                on_click=_retry,
                args=(app,),
            )
        st.page_link(page("runs"), label="Failed runs", icon=":material/play_circle:")


def _retry(app: App) -> None:
    with show_errors():
        number = service.retry_failed(app)
        progress.clear()
        st.toast(f"Retrying {counted(number, 'partition')}.", icon=":material/replay:")
