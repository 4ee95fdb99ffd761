"""Predictions: those in the warehouse, and new ones for any rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.services.exports import MIME
from streamlit_app.ui import state
from streamlit_app.ui.downloads import download_buttons
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.views.label_charts import confidence_histogram
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.table_files import table_bytes
from tippers_dagster.platform.text import counted

if TYPE_CHECKING:
    from tippers_dagster.learning.models import LoadedModel

INPUTS = {"type": "Enter rows", "file": "Upload a CSV file", "index": "Entities of the index"}

_MAX_SHOWN = 200


# --- in the warehouse -----------------------------------------------------------------------------
def show_predictions(app: App, catalog: Catalog, ref: Ref) -> None:
    """The predictions in the warehouse, compared with the label model."""
    found = service.predicted(app, catalog, ref)
    if found is None or not found.counts:
        with st.container(border=True):
            st.markdown(
                "**There are no predictions yet.** They are computed once a version is champion: "
                "see Versions."
            )
        return
    total = sum(found.counts.values())
    counts = ", ".join(f"{plain(k)} {n:,} ({n / total:.1%})" for k, n in found.counts.items())
    entities = counted(total, "entity", "entities")
    st.markdown(f"Version {found.model_version} labels {entities}: {counts}.")
    left, right = st.columns(2)
    with left:
        st.subheader("Confidence")
        confidence_histogram(found.histogram, total)
    with right:
        st.subheader("Compared with the label model")
        _agreement(found.agreement)
    if app.person.may(Role.ANALYST):
        with st.container(horizontal=True), st.popover("Download all", icon=":material/download:"):
            download_buttons(partial(service.export, app, ref), ref.model_name, key="models.export")


def _agreement(agreement: Sequence[tuple[str, str, int]]) -> None:
    if not agreement:
        st.caption("The label model has no labels to compare with.")
        return
    frame = pd.DataFrame(agreement, columns=["Predicted", "Label model", "Entities"])
    st.dataframe(frame, hide_index=True, width="stretch", height=262)
    same = frame.loc[frame["Predicted"] == frame["Label model"], "Entities"].sum()
    unlabelled = frame["Label model"].isin(["abstain", "tie", "not labelled"])
    new = frame.loc[unlabelled, "Entities"].sum()
    labelled = frame["Entities"].sum() - new
    if labelled:
        st.markdown(
            f"The two agree on {same / labelled:.1%} of the {labelled:,} entities that the label "
            f"model labels. The classifier labels {new:,} more."
        )
    else:
        st.markdown("The label model labels none of these entities.")


# --- new predictions ------------------------------------------------------------------------------
def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Predict with one version: for typed or uploaded rows, or for the index."""
    with st.spinner("Reading the registry"):
        registered = service.registry(app, ref)
    if registered is None or not registered.versions:
        st.info("No version is registered yet.", icon=":material/info:")
        return
    numbers = [v.number for v in registered.versions]
    champion = registered.champion
    first = champion.number if champion is not None else numbers[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        version = _version(numbers, first, champion.number if champion else None)
        source = _input()
    with st.spinner("Loading the model"):
        model = service.model_of(app, ref, version)
    if source == "index":
        _index(app, catalog, ref, model)
        return
    rows = _typed(app, catalog, ref, model) if source == "type" else _uploaded(ref, model)
    if rows is not None:
        with show_errors():
            _answer(ref, service.predict_rows(app, catalog, ref, model, rows), source)


def _version(numbers: list[int], first: int, champion: int | None) -> int:
    return int(
        st.selectbox(
            "Version",
            numbers,
            format_func=lambda n: f"{n}, champion" if n == champion else str(n),
            width=160,
            **state.linked("version", numbers, first, key="models.asked", show_default=False),
        )
    )


def _input() -> str:
    chosen = st.segmented_control(
        "Input",
        list(INPUTS),
        format_func=INPUTS.__getitem__,
        required=True,
        **state.linked("of", list(INPUTS), "type", key="models.input"),
    )
    return str(chosen or "type")


def _typed(app: App, catalog: Catalog, ref: Ref, model: LoadedModel) -> pa.Table | None:
    st.caption("Edit the rows, or add more at the end. The predictions appear below.")
    examples = service.example_rows(app, catalog, ref, model)
    edited = st.data_editor(
        examples.to_pandas(),
        num_rows="dynamic",
        hide_index=True,
        width="stretch",
        key=f"models.rows {ref} {model.version}",
    )
    if not len(edited):
        st.info("There are no rows.", icon=":material/info:")
        return None
    schema = pa.schema([(f.name, f.type) for f in examples.schema])
    return pa.Table.from_pandas(edited, schema=schema, preserve_index=False)


def _uploaded(ref: Ref, model: LoadedModel) -> pa.Table | None:
    st.caption(
        f"Required columns: {plain(', '.join(model.columns))}. Other columns are kept as they are."
    )
    file = st.file_uploader(
        "CSV file with a header",
        type="csv",
        max_upload_size=service.MAX_UPLOAD_BYTES >> 20,
        key=f"models.file {ref}",
    )
    if file is None:
        return None
    rows: pa.Table | None = None
    with show_errors():
        rows = service.read_csv(file.getvalue())
    return rows  # noqa: RET504 - None if `show_errors` caught an error


def _index(app: App, catalog: Catalog, ref: Ref, model: LoadedModel) -> None:
    text = st.text_input("Key contains", value=state.get("q"), key="models.q", width=320)
    state.put(q=text)
    st.caption(
        "Predicts with the current features. The predictions in the warehouse stay unchanged."
    )
    if not st.button("Predict", type="primary", icon=":material/play_arrow:", key="models.predict"):
        return
    with show_errors(), st.spinner("Predicting"):
        _answer(ref, service.predict_index(app, catalog, ref, model, text), "index")


def _answer(ref: Ref, found: pa.Table, source: str) -> None:
    if not found.num_rows:
        st.info("No matching entities.", icon=":material/search_off:")
        return
    names = found.column_names
    fixed = ("label", "confidence", "model_version")
    predicted = [n for n in names if n in fixed or n.startswith("p_")]
    rest = [n for n in names if n not in predicted]
    # In predictions for the index the key comes first.
    order = [*rest[:1], *predicted, *rest[1:]] if source == "index" else [*predicted, *rest]
    st.dataframe(
        found.select(order).slice(0, _MAX_SHOWN).to_pandas(),
        hide_index=True,
        width="stretch",
        column_config={
            n: st.column_config.NumberColumn(format="%.3f")
            for n in predicted
            if n.startswith("p_") or n == "confidence"
        },
    )
    counts = found["label"].value_counts().to_pylist()
    listed = ", ".join(f"{plain(c['values'])} {c['counts']:,}" for c in counts)
    more = f" The first {_MAX_SHOWN:,} are shown." if found.num_rows > _MAX_SHOWN else ""
    st.markdown(f"{counted(found.num_rows, 'row')}: {listed}.{more}")
    st.download_button(
        "Download as CSV",
        data=table_bytes(found, "csv"),
        file_name=f"{ref.model_name}_predicted.csv",
        mime=MIME["csv"],
        icon=":material/download:",
        on_click="ignore",
        key=f"models.download {source}",
    )
