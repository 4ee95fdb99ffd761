"""Classifiers: how good their models are, which is in use, what it says, and whether it drifts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.services.models import Standing
from streamlit_app.ui import pages, state
from streamlit_app.ui.messages import plain, told
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
OF_ANALYSTS = ("Ask the model",)


def render(app: App) -> None:
    """The page: ``?model=concept.name`` and ``?section=...``."""
    st.title("Models")
    catalog = service.catalog_of(app)
    refs = service.classifiers(catalog)
    if not refs:
        _none()
        return
    ref = _chosen(refs)
    why = service.problem(catalog, ref)
    if why is not None:
        st.error(f"It cannot work: {plain(why)}", icon=":material/error:")
        _to_definition(ref)
        return
    _head(app, ref, service.standings(app, catalog, ref))
    section = _section(app)
    with told():
        SECTIONS[section](app, catalog, ref)


def _none() -> None:
    with st.container(border=True):
        st.markdown(
            "**There is no classifier yet.** It learns from the confident labels of a label model "
            "what features tell of an entity, and labels the others too. Begin with a label model "
            "and some features, then add a classifier."
        )
        st.page_link(pages.page("definitions"), label="Definitions", icon=":material/edit_note:")


def _to_definition(ref: Ref) -> None:
    if st.button("Its definition", icon=":material/edit_note:", key="models.definition"):
        pages.go("definitions", open=str(ref))


def _chosen(refs: Sequence[Ref]) -> Ref:
    names = [str(ref) for ref in refs]
    key = "models.model"
    st.session_state[key] = state.one_of("model", names, names[0])
    chosen = st.selectbox(
        "Classifier",
        names,
        key=key,
        width=420,
        on_change=lambda: state.put(model=st.session_state[key]),
    )
    return refs[names.index(chosen)]


def _section(app: App) -> str:
    shown = [s for s in SECTIONS if s not in OF_ANALYSTS or app.person.may(Role.ANALYST)]
    key = "models.section"
    st.session_state[key] = state.one_of("section", shown, shown[0])

    def keep() -> None:
        chosen = st.session_state[key]
        state.put(section=None if chosen == shown[0] else chosen)

    chosen = st.segmented_control(
        "Section",
        shown,
        key=key,
        required=True,
        label_visibility="collapsed",
        on_change=keep,
    )
    return str(chosen or shown[0])


_WORDS = {"classifier": "trained", "champion": "judged", "predictions": "predicted"}


def _head(app: App, ref: Ref, found: dict[str, Standing]) -> None:
    zone = ZoneInfo(app.settings.timezone)
    with st.container(horizontal=True, vertical_alignment="center"):
        facts = [
            f"{_WORDS[what]} {one.materialized_at.astimezone(zone):%Y-%m-%d %H:%M}"
            for what, one in found.items()
            if one.materialized_at is not None
        ]
        st.caption(" · ".join(facts) or "Nothing of it was computed yet.")
        for what, one in found.items():
            link = asset_link(app.settings, one.asset)
            _link(f"{what.capitalize()}", link, f"The asset {one.asset} in Dagster")
        run = found["classifier"].run_id
        if run:
            _link("Run", run_link(app.settings, run), "The run that trained it")
    for what, one in found.items():
        if one.error:
            st.warning(f"**{what.capitalize()}**: {plain(one.error)}", icon=":material/warning:")


def _link(label: str, address: str, tip: str) -> None:
    st.link_button(label, address, icon=":material/open_in_new:", type="tertiary", help=tip)
