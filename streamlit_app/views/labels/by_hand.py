"""Setting gold labels by hand, one entity after the other."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.services.labels import Entity
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain, show_error
from streamlit_app.views.labels import explanation
from streamlit_app.views.labels.entities import COLUMNS
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.text import counted

_QUEUE = 20
_SKIPPED = "labels.skipped"
_LAST = "labels.last"
"""Key and label of the last answer, or the error that it caused."""


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Ask for the label of the entity that the label model is least certain about."""
    skipped: list[str] = st.session_state.setdefault(_SKIPPED, [])
    queue = service.uncertain(app, ref, limit=_QUEUE, skip=skipped)
    count = service.gold_count(app, ref.concept)
    st.caption(
        f"{counted(count, 'gold label')} for {plain(ref.concept)} so far. The least certain "
        "entities come first. The label model is scored on gold labels when it is next computed."
    )
    _last_answer(app, ref)
    if not queue:
        st.info("Nothing left to label.", icon=":material/check_circle:")
        return
    asked = state.get("entity")
    keys = [e.key for e in queue]
    entity = queue[keys.index(asked)] if asked in keys else queue[0]
    _question(app, catalog, ref, entity)
    with st.expander(f"Next {counted(len(queue), 'entity', 'entities')}"):
        st.dataframe(
            service.table_of(queue).to_pandas(),
            hide_index=True,
            width="stretch",
            column_config=COLUMNS,
        )


def _question(app: App, catalog: Catalog, ref: Ref, entity: Entity) -> None:
    answer = entity.label or entity.outcome
    st.markdown(f"What is **{plain(entity.key)}**? The label model's answer: {plain(answer)}.")
    with st.container(horizontal=True):
        for number, label in enumerate(catalog.model_labels(ref), 1):
            st.button(
                label,
                key=f"labels.set {label}",
                on_click=_set,
                args=(app, catalog, ref, entity.key, label),
                shortcut=str(number) if number < 10 else None,
            )
        st.button(
            "Skip",
            on_click=st.session_state[_SKIPPED].append,
            args=(entity.key,),
            type="tertiary",
            icon=":material/skip_next:",
        )
    explanation.show(service.explain(app, catalog, ref, entity.key))


def _set(app: App, catalog: Catalog, ref: Ref, key: str, label: str) -> None:
    try:
        service.set_gold(app, catalog, ref, key, label)
    except TippersError as error:
        st.session_state[_LAST] = error
    else:
        st.session_state[_LAST] = (key, label)


def _last_answer(app: App, ref: Ref) -> None:
    last = st.session_state.get(_LAST)
    if isinstance(last, TippersError):
        show_error(last)
    elif last:
        key, label = last
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check_circle: {plain(key)} is {plain(label)}.")
            st.button("Undo", on_click=_undo, args=(app, ref, key), icon=":material/undo:")


def _undo(app: App, ref: Ref, key: str) -> None:
    service.remove_gold(app, ref, key)
    st.session_state.pop(_LAST, None)
