"""A warning for pages that depend on automation, shown while automation does not work."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.ui.cached import HASH_FUNCS
from streamlit_app.ui.messages import plain
from tippers_dagster.settings import Settings
from tippers_dagster.stack.automation_health import automation_problems

SECONDS = 20
TIMEOUT_SECONDS = 3.0
"""How long a page waits for the check; its result serves all sessions."""


@st.cache_data(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def _troubles(settings: Settings) -> dict[str, str]:
    return automation_problems(settings, TIMEOUT_SECONDS)


def warn_about_automation(app: App) -> None:
    """Warn, with the reasons, while nothing is kept up to date."""
    troubles = _troubles(app.settings)
    if troubles:
        reasons = "  \n".join(f"{plain(name)}: {plain(why)}" for name, why in troubles.items())
        st.warning(
            f"**Automation is not working: nothing is kept up to date.**  \n{reasons}",
            icon=":material/heart_broken:",
        )
