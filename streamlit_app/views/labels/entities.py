"""Single entities and their labels."""

from __future__ import annotations

from functools import partial

import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.downloads import download_buttons
from streamlit_app.views.labels import explanation
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref

COLUMNS = {"Confidence": st.column_config.NumberColumn(format="percent")}

_MAX_SHOWN = 50


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Search for entities, and show why the selected one has its label."""
    columns = st.columns([3, 2], vertical_alignment="bottom")
    text = columns[0].text_input("Key contains", value=state.get("q"), key="labels.q")
    options = ["", *catalog.model_labels(ref), "abstain", "tie"]
    asked = state.get("label")
    label = columns[1].selectbox(
        "Label",
        options,
        index=options.index(asked) if asked in options else 0,
        format_func=lambda option: option or "any",
        key="labels.label",
    )
    state.put(q=text, label=label)
    found = service.find(app, ref, text=text, label=label, limit=_MAX_SHOWN)
    with st.container(horizontal=True), st.popover("Download all", icon=":material/download:"):
        download_buttons(
            partial(service.export, app, ref), f"{ref.concept}_{ref.name}", key="labels download"
        )
    if not found:
        st.info("No matching entities.", icon=":material/search_off:")
        return
    chosen = st.dataframe(
        service.table_of(found).to_pandas(),
        hide_index=True,
        width="stretch",
        height=280,
        on_select="rerun",
        selection_mode="single-row",
        key=f"labels.entities {ref} {text} {label}",
        column_config=COLUMNS,
    )
    rows = chosen["selection"]["rows"]
    key = found[rows[0]].key if rows and rows[0] < len(found) else state.get("entity")
    st.caption(f"Up to {_MAX_SHOWN} entities. Select a row to see why it has its label.")
    if key:
        state.put(entity=key)
        explanation.show(service.explain(app, catalog, ref, key))
