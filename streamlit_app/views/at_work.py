"""A warning on every page that depends on automation, when it does not work."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.ui.cached import SAME
from streamlit_app.ui.messages import plain
from tippers_dagster.settings import Settings
from tippers_dagster.stack.automation_health import automation_troubles

SECONDS = 20
PATIENCE_SECONDS = 3.0
"""How long a page waits for an answer; one answer serves all sessions."""


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def _troubles(settings: Settings) -> dict[str, str]:
    return automation_troubles(settings, PATIENCE_SECONDS)


def show_troubles(app: App) -> None:
    """A warning while nothing is kept up to date, with the reasons."""
    troubles = _troubles(app.settings)
    if troubles:
        reasons = "  \n".join(f"{plain(name)}: {plain(why)}" for name, why in troubles.items())
        st.warning(
            f"**Automation is not working: nothing is kept up to date.**  \n{reasons}",
            icon=":material/heart_broken:",
        )
