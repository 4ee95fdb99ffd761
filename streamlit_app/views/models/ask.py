"""What a model predicts: of all entities, and of rows that somebody gives."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import altair as alt
import pandas as pd
import pyarrow as pa
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain, told
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref

if TYPE_CHECKING:
    from tippers_dagster.learning.models import LoadedModel

WAYS = {
    "type": "Rows typed here",
    "file": "A CSV file",
    "index": "The entities of the index",
}
_SHOWN = 200


# --- of all entities ------------------------------------------------------------------------------
def show_predictions(app: App, catalog: Catalog, ref: Ref) -> None:
    """The predictions in the warehouse, beside what the label model says."""
    found = service.predicted(app, catalog, ref)
    if found is None or not found.counts:
        with st.container(border=True):
            st.markdown(
                "**There are no predictions yet.** They are computed when a version is champion; "
                "see Versions."
            )
        return
    total = sum(found.counts.values())
    told_ = ", ".join(f"{plain(k)} {n:,} ({n / total:.1%})" for k, n in found.counts.items())
    st.markdown(f"Version {found.model_version} labels {total:,} entities: {told_}.")
    left, right = st.columns(2)
    with left:
        st.subheader("Confidence")
        _confidence(found.histogram, total)
    with right:
        st.subheader("Beside the label model")
        _beside(found.beside)
    if app.person.may(Role.ANALYST):
        _downloads(app, ref)


def _confidence(histogram: Any, total: int) -> None:
    frame = pd.DataFrame(histogram, columns=["From", "Label", "Entities"])
    frame["To"] = frame["From"] + 1 / service.BINS
    chart = alt.Chart(frame).mark_bar()
    st.altair_chart(
        chart.encode(
            x=alt.X("From:Q", title="Confidence", scale=alt.Scale(domain=[0, 1]), bin="binned"),
            x2="To:Q",
            y=alt.Y("Entities:Q", title="Entities"),
            color=alt.Color("Label:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["Label", "From", "To", "Entities"],
        ).properties(height=260)
    )
    sure = frame.loc[frame["From"] >= 0.9, "Entities"].sum()
    st.markdown(f"{sure:,} entities ({sure / total:.1%}) have a confidence of 0.9 or more.")


def _beside(beside: Any) -> None:
    if not beside:
        st.caption("The label model has no labels to compare with.")
        return
    frame = pd.DataFrame(beside, columns=["Predicted", "Label model", "Entities"])
    st.dataframe(frame, hide_index=True, width="stretch", height=262)
    same = frame.loc[frame["Predicted"] == frame["Label model"], "Entities"].sum()
    unknown = frame["Label model"].isin(["abstain", "tie", "not labelled"])
    new = frame.loc[unknown, "Entities"].sum()
    known = frame["Entities"].sum() - new
    agree = f"they agree on {same / known:.1%}" if known else "there is none of them"
    st.markdown(
        f"Of {known:,} entities that the label model labels, {agree}; {new:,} more get a label."
    )


def _downloads(app: App, ref: Ref) -> None:
    with st.container(horizontal=True):
        kind: Literal["csv", "parquet"]
        for kind, title in (("csv", "CSV"), ("parquet", "Parquet")):
            st.download_button(
                f"All predictions as {title}",
                data=partial(service.export, app, ref, kind),
                file_name=f"{ref.model_name}.{kind}",
                mime=service.MIME[kind],
                icon=":material/download:",
                on_click="ignore",
                key=f"models.export {kind}",
            )


# --- of rows --------------------------------------------------------------------------------------
def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Ask a version about rows that are typed or uploaded, or about entities."""
    with st.spinner("Asking the registry"):
        registered = service.registry(app, ref)
    if registered is None or not registered.versions:
        st.info("No version is registered yet, so there is nothing to ask.", icon=":material/info:")
        return
    numbers = [v.number for v in registered.versions]
    champion = registered.champion
    first = champion.number if champion is not None else numbers[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        version = _version(numbers, first, champion.number if champion else None)
        way = _way()
    with st.spinner("Loading the model"):
        model = service.model_of(app, ref, version)
    if way == "index":
        _index(app, catalog, ref, model)
        return
    rows = _typed(app, catalog, ref, model) if way == "type" else _uploaded(ref, model)
    if rows is not None:
        with told():
            _answer(ref, service.predict_rows(app, catalog, ref, model, rows), way)


def _version(numbers: list[int], first: int, champion: int | None) -> int:
    key = "models.asked"
    st.session_state[key] = state.one_of("version", numbers, first)

    def keep() -> None:
        chosen = st.session_state[key]
        state.put(version=None if chosen == first else str(chosen))

    return int(
        st.selectbox(
            "Version",
            numbers,
            format_func=lambda n: f"{n}, champion" if n == champion else str(n),
            key=key,
            width=160,
            on_change=keep,
        )
    )


def _way() -> str:
    key = "models.way"
    st.session_state[key] = state.one_of("of", list(WAYS), "type")
    chosen = st.segmented_control(
        "What to ask about",
        list(WAYS),
        format_func=WAYS.__getitem__,
        key=key,
        required=True,
        on_change=lambda: state.put(of=st.session_state[key]),
    )
    return str(chosen or "type")


def _typed(app: App, catalog: Catalog, ref: Ref, model: LoadedModel) -> pa.Table | None:
    st.caption("Change the rows, add more at the end: each is answered below.")
    begin = service.example_rows(app, catalog, ref, model)
    edited = st.data_editor(
        begin.to_pandas(),
        num_rows="dynamic",
        hide_index=True,
        width="stretch",
        key=f"models.rows {ref} {model.version}",
    )
    if not len(edited):
        st.info("There is no row.", icon=":material/info:")
        return None
    schema = pa.schema([(f.name, f.type) for f in begin.schema])
    return pa.Table.from_pandas(edited, schema=schema, preserve_index=False)


def _uploaded(ref: Ref, model: LoadedModel) -> pa.Table | None:
    st.caption(f"It needs the columns {plain(', '.join(model.columns))}; others are kept.")
    file = st.file_uploader(
        "CSV file with a header",
        type="csv",
        max_upload_size=service.LARGEST_UPLOAD >> 20,
        key=f"models.file {ref}",
    )
    if file is None:
        return None
    rows: pa.Table | None = None
    with told():
        rows = service.read_csv(file.getvalue())
    return rows  # noqa: RET504 - none when `told` stopped what came before


def _index(app: App, catalog: Catalog, ref: Ref, model: LoadedModel) -> None:
    text = st.text_input("Key contains", value=state.get("q"), key="models.q", width=320)
    state.put(q=text)
    st.caption("Asked just now, with the features of now; what is in the warehouse stays as it is.")
    if not st.button("Predict", type="primary", icon=":material/play_arrow:", key="models.predict"):
        return
    with told(), st.spinner("Predicting"):
        _answer(ref, service.predict_index(app, catalog, ref, model, text), "index")


def _answer(ref: Ref, found: pa.Table, way: str) -> None:
    if not found.num_rows:
        st.info("No entity is like that.", icon=":material/search_off:")
        return
    names = found.column_names
    front = ["label", "confidence"]
    given = [n for n in names if n in front or n.startswith("p_") or n == "model_version"]
    rest = [n for n in names if n not in given]
    order = [*rest[:1], *given, *rest[1:]] if way == "index" else [*given, *rest]
    st.dataframe(
        found.select(order).slice(0, _SHOWN).to_pandas(),
        hide_index=True,
        width="stretch",
        column_config={
            n: st.column_config.NumberColumn(format="%.3f")
            for n in given
            if n.startswith("p_") or n == "confidence"
        },
    )
    counts = found["label"].value_counts().to_pylist()
    told_ = ", ".join(f"{plain(c['values'])} {c['counts']:,}" for c in counts)
    more = f" The first {_SHOWN:,} are shown." if found.num_rows > _SHOWN else ""
    st.markdown(f"{found.num_rows:,} rows: {told_}.{more}")
    st.download_button(
        "Download as CSV",
        data=service.as_file(found, "csv"),
        file_name=f"{ref.model_name}_predicted.csv",
        mime=service.MIME["csv"],
        icon=":material/download:",
        on_click="ignore",
        key=f"models.download {way}",
    )
