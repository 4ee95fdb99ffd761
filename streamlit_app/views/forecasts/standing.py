"""How fresh a forecaster is, what is behind it, and bringing it up to date."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.app import App
from streamlit_app.services.pipeline.graph import Graph, Item, load_graph
from streamlit_app.services.pipeline.runs import materialise
from streamlit_app.ui.messages import live, plain, told
from streamlit_app.views.definitions.words import STANDINGS
from tippers_dagster.local.addresses import asset_link, mlflow_home, run_link
from tippers_dagster.people.model import Role

POLL_SECONDS = 5


def show(app: App, name: str) -> None:
    """The line of each asset, with links; looked at again while something is not fresh."""
    seen = load_graph(app)
    found = service.standing(seen, name)
    running = any(i and i.standing == "running" for i in (found.backtest, found.forecast))
    if running:
        _again(app, name)
    else:
        _lines(app, name, seen)


@live(POLL_SECONDS)
def _again(app: App, name: str) -> None:
    seen = load_graph(app)
    found = service.standing(seen, name)
    if not any(i and i.standing == "running" for i in (found.backtest, found.forecast)):
        st.rerun()
    _lines(app, name, seen)


def _lines(app: App, name: str, seen: Graph) -> None:
    found = service.standing(seen, name)
    training = service.training(app, name)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for word, item in (("Backtest", found.backtest), ("Forecast", found.forecast)):
            _item(app, word, item)
        if training is not None and training.details.get("mlflow_run"):
            st.link_button(
                "MLflow",
                mlflow_home(app.settings),
                icon=":material/open_in_new:",
                type="tertiary",
                help=f"Run {training.details['mlflow_run']}",
            )
        _bring_up_to_date(app, seen, found)
    for item in (found.backtest, found.forecast):
        if item is not None and item.standing in ("failed", "broken"):
            st.error(plain(item.why), icon=":material/error:")
        elif item is not None and item.standing == "stale":
            st.caption(f":material/hourglass_empty: {plain(item.reference)}: {plain(item.why)}")


def _item(app: App, word: str, item: Item | None) -> None:
    if item is None:
        st.caption(f"{word}: not loaded yet", width="content")
        return
    when = item.materialized_at
    zone = ZoneInfo(app.settings.timezone)
    told = f" of {when.astimezone(zone):%Y-%m-%d %H:%M}" if when is not None else ""
    st.markdown(f"**{word}**{told} · {STANDINGS[item.standing]}", width="content")
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


def _bring_up_to_date(app: App, seen: Graph, found: service.Standing) -> None:
    if not found.stale or not app.person.may(Role.ANALYST):
        return
    if st.button("Bring up to date", icon=":material/play_arrow:", key="forecasts_materialise"):
        with told():
            run = materialise(app, seen, found.stale, stale_only=True)
            st.toast(f"Run {run[:8]} begins." if run else "All of it is up to date, or under way.")
            st.rerun()
