"""How far the tracked grid is, level by level, as the overview and the tracking page show it."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import Standing
from streamlit_app.ui.cached import SAME
from streamlit_app.ui.messages import plain, told
from streamlit_app.ui.pages import page
from tippers_dagster.access.model import Person, Role
from tippers_dagster.platform.dagster.addresses import asset_link
from tippers_dagster.settings import Settings

LOOK_SECONDS = 2
"""How often it is looked at while something is computed, for all sessions together."""


@st.cache_data(ttl=LOOK_SECONDS - 0.1, show_spinner=False, hash_funcs=SAME)
def standing(settings: Settings) -> Standing:
    """How far the grid is: the same for everybody, so nobody's role is asked."""
    return service.standing(App(settings, Person("the page", Role.VIEWER)))


def show_levels(app: App, *, key: str) -> Standing:
    """Bars of all levels with what runs, waits and failed; ``key`` tells two of them apart."""
    found = standing(app.settings)
    if found.wanted == found.done:
        st.markdown(
            f":material/check_circle: Everything is up to date: {found.done:,} partitions of "
            f"{len(found.levels)} levels."
        )
    for level in found.levels:
        link = asset_link(app.settings, level.asset)
        st.markdown(f"**[{level.asset}]({link})** — {service.WHAT[level.asset]}")
        share = level.done / level.wanted if level.wanted else 1.0
        st.progress(share, text=_words(level.numbers, found.left.get(level.asset)))
    _say_when(found)
    _failures(app, found, key)
    return found


def _words(numbers: tuple[int, int, int, int, int], left: float | None) -> str:
    wanted, done, running, stale, failed = numbers
    told_ = f"{done:,} of {wanted:,} up to date"
    if running:
        told_ += f" · :material/progress_activity: {running:,} running"
    if stale:
        told_ += f" · :material/hourglass_empty: {stale:,} waiting"
    if failed:
        told_ += f" · :material/error: {failed:,} failed"
    if (running or stale) and left is not None:
        told_ += f" · about {duration(left)} left"
    return told_


def _say_when(found: Standing) -> None:
    if not found.lacking:
        return
    if not found.at_work:
        st.warning(
            f"{found.lacking:,} partitions lack, and nothing runs that could compute them: start "
            "the deployment with `tippers up`, or compute them here and now with "
            "`tippers occupancy materialize`.",
            icon=":material/pause_circle:",
        )
        return
    left = found.seconds_left
    told_ = (
        f"about {duration(left)} left, by the runs of the past"
        if left is not None
        else ("no run of the past tells how long it takes")
    )
    st.caption(f"{found.lacking:,} partitions lack: {told_}. You may leave this page meanwhile.")


def _failures(app: App, found: Standing, key: str) -> None:
    if not found.failed:
        return
    named = "; ".join(
        f"{level.asset}: {', '.join(level.failed_examples)}"
        + (" …" if level.failed > len(level.failed_examples) else "")
        for level in found.levels
        if level.failed
    )
    st.error(
        f"{found.failed:,} partitions failed as often as they may and are not tried again by "
        f"themselves. {plain(named)}",
        icon=":material/error:",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if app.person.may(Role.ANALYST):
            st.button(
                "Retry them",
                key=f"{key} retry",
                icon=":material/replay:",
                on_click=_retry,
                args=(app,),
            )
        st.page_link(page("runs"), label="Why: the failed runs", icon=":material/play_circle:")


def _retry(app: App) -> None:
    with told():
        forgotten = service.retry_failed(app)
        standing.clear()
        st.toast(f"{forgotten:,} partitions are tried again.", icon=":material/replay:")


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds <= 0:
        return "nothing"
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """As ``1 range``, ``2,000 ranges``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
