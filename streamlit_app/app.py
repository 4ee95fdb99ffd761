"""The app's entry point: login, navigation, and the selected page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.ui.login import current_person, log_out
from streamlit_app.ui.messages import retry_while_unavailable, show_errors
from streamlit_app.ui.pages import finish_navigation
from streamlit_app.ui.theme import apply_theme
from streamlit_app.views import (
    calendar,
    connections,
    definitions,
    forecasts,
    labels,
    log_files,
    models,
    occupancy,
    overview,
    people_counts,
    pipeline,
    runs,
    tracking,
)
from tippers_dagster.platform.dagster.addresses import dagster_home
from tippers_dagster.settings import get_settings

# An own file: Streamlit loads a named page icon from another server.
ICON = Path(__file__).with_name("icon.png")

PAGES = {
    "": [("overview", overview, "Overview", ":material/dashboard:")],
    "Spaces": [
        ("occupancy", occupancy, "Occupancy", ":material/groups:"),
        ("people", people_counts, "People counts", ":material/person_check:"),
        ("forecasts", forecasts, "Forecasts", ":material/trending_up:"),
        ("calendar", calendar, "Academic calendar", ":material/school:"),
        ("tracking", tracking, "Datasets and tracking", ":material/calendar_month:"),
    ],
    "Labels": [
        ("pipeline", pipeline, "Pipeline", ":material/account_tree:"),
        ("definitions", definitions, "Definitions", ":material/edit_note:"),
        ("labels", labels, "Labels", ":material/label:"),
    ],
    "Models": [
        ("models", models, "Models", ":material/model_training:"),
    ],
    "Deployment": [
        ("load", log_files, "Load a log", ":material/upload_file:"),
        ("connections", connections, "Connections", ":material/database:"),
        ("runs", runs, "Runs", ":material/play_circle:"),
    ],
}


def main() -> None:
    """Render the page in the address."""
    st.set_page_config(page_title="tippers", page_icon=str(ICON), layout="wide")
    apply_theme()
    with retry_while_unavailable(), show_errors():
        settings = get_settings()
        person = current_person(settings)
        if person is None:
            return
        app = App(settings, person)
        page = st.navigation(_navigation(app), expanded=True)
        with st.sidebar:
            st.caption(f"{person.name} · {person.role.name.lower()}")
            log_out(settings)
            st.link_button("Dagster", dagster_home(settings), icon=":material/open_in_new:")
        finish_navigation()
        with show_errors():
            page.run()


def _navigation(app: App) -> dict[str, list[st.Page]]:
    return {
        section: [
            st.Page(
                partial(module.render, app),
                title=title,
                icon=icon,
                url_path=path,
                default=path == "overview",
            )
            for path, module, title, icon in pages
        ]
        for section, pages in PAGES.items()
    }


main()
