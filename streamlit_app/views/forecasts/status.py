"""The status of a forecaster's assets, links to them, and a button to update them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.app import App
from streamlit_app.services.forecasts import Status
from streamlit_app.services.pipeline.graph import Graph, Item, load_graph
from streamlit_app.services.pipeline.runs import materialise
from streamlit_app.ui.messages import live, plain, show_errors
from streamlit_app.views.definitions.words import STANDINGS
from tippers_dagster.access.model import Role
from tippers_dagster.platform.dagster.addresses import asset_link, mlflow_home, run_link

POLL_SECONDS = 5


def show(app: App, name: str) -> None:
    """The status of both assets; refreshed while one of them is running."""
    seen = load_graph(app)
    if _is_running(service.status(seen, name)):
        _refreshed(app, name)
    else:
        _lines(app, name, seen)


@live(POLL_SECONDS)
def _refreshed(app: App, name: str) -> None:
    seen = load_graph(app)
    if not _is_running(service.status(seen, name)):
        st.rerun()
    _lines(app, name, seen)


def _is_running(found: Status) -> bool:
    return any(i and i.standing == "running" for i in (found.backtest, found.forecast))


def _lines(app: App, name: str, seen: Graph) -> None:
    found = service.status(seen, name)
    training = service.training(app, name)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for label, item in (("Backtest", found.backtest), ("Forecast", found.forecast)):
            _item(app, label, item)
        if training is not None and training.details.get("mlflow_run"):
            st.link_button(
                "MLflow",
                mlflow_home(app.settings),
                icon=":material/open_in_new:",
                type="tertiary",
                help=f"Run {training.details['mlflow_run']}",
            )
        _update(app, seen, found)
    for item in (found.backtest, found.forecast):
        if item is not None and item.standing in ("failed", "broken"):
            st.error(plain(item.why), icon=":material/error:")
        elif item is not None and item.standing in ("waiting", "stale"):
            st.caption(f":material/hourglass_empty: {plain(item.reference)}: {plain(item.why)}")


def _item(app: App, label: str, item: Item | None) -> None:
    if item is None:
        st.caption(f"{label}: not loaded yet", width="content")
        return
    when = item.materialized_at
    zone = ZoneInfo(app.settings.timezone)
    time = f" {when.astimezone(zone):%Y-%m-%d %H:%M}" if when is not None else ""
    st.markdown(f"**{label}**{time} · {STANDINGS[item.standing]}", width="content")
    st.link_button(
        "Asset", asset_link(app.settings, item.name), icon=":material/open_in_new:", type="tertiary"
    )
    if item.run_id:
        st.link_button(
            "Run",
            run_link(app.settings, item.run_id),
            icon=":material/open_in_new:",
            type="tertiary",
        )


def _update(app: App, seen: Graph, found: Status) -> None:
    if not found.stale or not app.person.may(Role.ANALYST):
        return
    if st.button("Update now", icon=":material/play_arrow:", key="forecasts_materialise"):
        with show_errors():
            run = materialise(app, seen, found.stale, stale_only=True)
            st.toast(f"Run {run[:8]} started." if run else "Already up to date or running.")
            st.rerun()
