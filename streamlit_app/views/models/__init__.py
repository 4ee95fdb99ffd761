"""Models: the quality, versions, predictions and drift of classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.services.models import AssetInfo
from streamlit_app.ui import pages, state
from streamlit_app.ui.links import external_link
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.models import ask, drift, quality, ranking, versions
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.dagster.addresses import asset_link, run_link

Body = Callable[[App, Catalog, Ref], None]

SECTIONS: dict[str, Body] = {
    "Ranking": ranking.show,
    "Quality": quality.show,
    "Versions": versions.show,
    "Predictions": ask.show_predictions,
    "Ask the model": ask.show,
    "Drift": drift.show,
}
FOR_ANALYSTS = ("Ask the model",)


def render(app: App) -> None:
    """The page: ``?model=concept.name`` and ``?section=...``."""
    st.title("Models")
    catalog = service.catalog_of(app)
    refs = service.classifiers(catalog)
    if not refs:
        _no_classifier()
        return
    ref = _chosen(refs)
    why = service.problem(catalog, ref)
    if why is not None:
        st.error(f"This classifier is broken: {plain(why)}", icon=":material/error:")
        _to_definition(ref)
        return
    _head(app, service.assets(app, catalog, ref))
    section = _section(app)
    with show_errors():
        SECTIONS[section](app, catalog, ref)


def _no_classifier() -> None:
    with st.container(border=True):
        st.markdown(
            "**There is no classifier yet.** A classifier learns from features and the confident "
            "labels of a label model, and then labels all entities. Start with a label model and "
            "some features, then add a classifier."
        )
        st.page_link(pages.page("definitions"), label="Definitions", icon=":material/edit_note:")


def _to_definition(ref: Ref) -> None:
    if st.button("Open definition", icon=":material/edit_note:", key="models.definition"):
        pages.go("definitions", open=str(ref))


def _chosen(refs: Sequence[Ref]) -> Ref:
    names = [str(ref) for ref in refs]
    chosen = st.selectbox(
        "Classifier", names, width=420, **state.linked("model", names, names[0], key="models.model")
    )
    return refs[names.index(chosen)]


def _section(app: App) -> str:
    shown = [s for s in SECTIONS if s not in FOR_ANALYSTS or app.person.may(Role.ANALYST)]
    chosen = st.segmented_control(
        "Section",
        shown,
        required=True,
        label_visibility="collapsed",
        **state.linked("section", shown, shown[0], key="models.section", show_default=False),
    )
    return str(chosen or shown[0])


_WORDS = {"classifier": "trained", "champion": "champion checked", "predictions": "predicted"}


def _head(app: App, assets: dict[str, AssetInfo]) -> None:
    zone = ZoneInfo(app.settings.timezone)
    with st.container(horizontal=True, vertical_alignment="center"):
        facts = [
            f"{_WORDS[what]} {one.materialized_at.astimezone(zone):%Y-%m-%d %H:%M}"
            for what, one in assets.items()
            if one.materialized_at is not None
        ]
        st.caption(" · ".join(facts) or "Not computed yet.")
        for what, one in assets.items():
            link = asset_link(app.settings, one.asset)
            external_link(what.capitalize(), link, f"Asset {one.asset} in Dagster")
        run = assets["classifier"].run_id
        if run:
            external_link("Run", run_link(app.settings, run), "Training run in Dagster")
    for what, one in assets.items():
        if one.error:
            st.warning(f"**{what.capitalize()}**: {plain(one.error)}", icon=":material/warning:")
