"""Devices and people in the log, by week: how far counts of devices can be trusted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from streamlit_app.services import overview as service
from streamlit_app.services.app import App
from streamlit_app.ui.cached import HASH_FUNCS
from streamlit_app.ui.messages import live
from tippers_dagster.campus.devices import KINDS
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

OPENED = "overview identities"
MEANING = (
    "A device that changes its address counts as a new device each time: counts over days or weeks "
    "overstate the number of devices, those over an hour or less hardly do. People are counted "
    "exactly where user names are known."
)


@st.cache_data(max_entries=4, show_spinner=False, hash_funcs=HASH_FUNCS)
def _by_week(settings: Settings, token: str) -> pd.DataFrame:
    """``token``: what is recorded of the log; the figures are read again when it changes."""
    return service.identities(settings).to_pandas()


@live(None)
def show_identities(app: App) -> None:
    """The figures; they are read when somebody opens them."""
    box = st.expander(
        "Devices and people in the log, by week",
        key=OPENED,
        icon=":material/fingerprint:",
        on_change="rerun",
    )
    if not box.open:
        return
    with box, st.spinner("Reading the log …"):
        weeks = _by_week(app.settings, service.log_token(app.settings))
        if weeks.empty:
            st.caption("Nothing is computed yet.")
            return
        st.markdown(_sentence(weeks))
        st.dataframe(_table(weeks), hide_index=True, column_config=_columns())
        st.caption(MEANING)


def _sentence(weeks: pd.DataFrame) -> str:
    """What the newest week has."""
    last = weeks.iloc[-1]
    devices = counted(int(last.devices), "device")
    begins = f"{last.week.day} {last.week:%b %Y}"
    text = f"Week from {begins}: **{devices}**, {last.randomised / last.devices:.0%} of them with "
    text += "a randomised address. "
    if last.is_first:
        text += "The log begins in this week. "
    else:
        text += (
            f"On an average day, {last.new_a_day / last.devices_a_day:.0%} of the addresses are "
            "new to the log. "
        )
    return f"{text}{last.known / last.sessions:.0%} of sessions have a known person."


def _table(weeks: pd.DataFrame) -> pd.DataFrame:
    """The weeks, newest first."""
    found = pd.DataFrame({"Week from": weeks["week"], "Devices": weeks["devices"]})
    for kind in KINDS:
        found[kind.capitalize()] = (weeks[kind] / weeks["devices"]).round(3)
    found["Devices a day"] = weeks["devices_a_day"].round().astype(int)
    found["New a day"] = weeks["new_a_day"].round().astype(int)
    found["Sessions"] = weeks["sessions"]
    found["With a person"] = (weeks["known"] / weeks["sessions"]).round(3)
    found["Note"] = weeks["is_first"].map({True: "The log begins", False: ""})
    return found.iloc[::-1]


def _columns() -> dict[str, Any]:
    number, share = (
        partial(st.column_config.NumberColumn, format=name) for name in ("localized", "percent")
    )
    return {
        "Week from": st.column_config.DateColumn(format="D MMM YYYY"),
        "Devices": number(help="Distinct addresses in the week"),
        "Universal": share(help="Addresses that the maker gave"),
        "Randomised": share(help="Addresses that devices made up"),
        "Opaque": share(help="Ids that are no addresses, such as pseudonyms"),
        "Devices a day": number(help="Distinct addresses, mean of the week's days"),
        "New a day": number(help="Addresses that no earlier day of the log has"),
        "Sessions": number(),
        "With a person": share(help="Sessions with a known user name"),
    }
