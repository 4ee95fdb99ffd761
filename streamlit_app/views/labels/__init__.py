"""Labels: the results of a label model, their quality, and why an entity has its label."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.services.labels import Summary
from streamlit_app.ui import pages, state
from streamlit_app.ui.links import external_link
from streamlit_app.ui.messages import show_errors
from streamlit_app.views.labels import by_hand, compare, entities, gold, results
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.dagster.addresses import asset_link, mlflow_home, run_link
from tippers_dagster.platform.text import counted

ABOUT_ENTITIES = {"Entities": entities.show, "Label by hand": by_hand.show}
"""Sections that show single entities, which only analysts may see."""

SECTIONS = ("Distribution", "Functions", "Gold labels", "Compare", *ABOUT_ENTITIES)


def render(app: App) -> None:
    """The page: ``?model=concept.name`` and ``?section=...``."""
    st.title("Labels")
    catalog = service.catalog_of(app)
    models = service.label_models(catalog)
    if not models:
        _no_label_model()
        return
    ref = _chosen(models)
    section = _section(app)
    with show_errors():
        if section in ABOUT_ENTITIES:
            ABOUT_ENTITIES[section](app, catalog, ref)
            return
        summary = service.summary(app, ref)
        _head(app, summary)
        if section == "Distribution":
            results.show_distribution(summary)
        elif section == "Functions":
            results.show_functions(summary)
        elif section == "Gold labels":
            gold.show(app, ref)
        else:
            compare.show(app, models, ref)


def _no_label_model() -> None:
    with st.container(border=True):
        st.markdown(
            "**There is no label model yet.** A label model combines the votes of three or more "
            "labelling functions. Start with a concept and its rules."
        )
        st.page_link(pages.page("definitions"), label="Definitions", icon=":material/edit_note:")


def _chosen(models: Sequence[Ref]) -> Ref:
    names = [str(ref) for ref in models]
    chosen = st.selectbox(
        "Label model",
        names,
        width=420,
        **state.linked("model", names, names[0], key="labels.model"),
    )
    state.put(model=chosen)
    return models[names.index(chosen)]


def _section(app: App) -> str:
    may = app.person.may(Role.ANALYST)
    shown = [s for s in SECTIONS if s not in ABOUT_ENTITIES or may]
    chosen = st.segmented_control(
        "Section",
        shown,
        label_visibility="collapsed",
        required=True,
        **state.linked("section", shown, shown[0], key="labels.section", show_default=False),
    )
    return str(chosen or shown[0])


def _head(app: App, summary: Summary) -> None:
    zone = ZoneInfo(app.settings.timezone)
    when = summary.materialized_at
    facts = [
        counted(summary.entities, "entity", "entities"),
        f"{summary.coverage:.1%} with at least one vote",
    ]
    if summary.log is not None:
        facts.append(f"log of {summary.log}")
    if when is not None:
        facts.append(f"computed {when.astimezone(zone):%Y-%m-%d %H:%M}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(" · ".join(facts))
        external_link("Asset", asset_link(app.settings, summary.ref.asset_name))
        if summary.run_id:
            external_link("Run", run_link(app.settings, summary.run_id))
        if summary.mlflow_run:
            external_link("MLflow", mlflow_home(app.settings), f"Run {summary.mlflow_run}")
