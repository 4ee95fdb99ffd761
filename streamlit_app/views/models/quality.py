"""The quality of the best model: confusion matrix, calibration, importances, training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.views.label_charts import calibration_chart, confusion_matrix
from streamlit_app.views.models.ranking import METHODS, SCORED_ON, model_name, not_trained
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.text import counted

if TYPE_CHECKING:
    from tippers_dagster.learning.results import ClassifierResult

MAX_COLUMNS = 15
"""Columns in the importance chart."""


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """The quality of the best model of the latest training."""
    found = service.results(app, ref)
    if not found:
        not_trained()
        return
    result = found[0]
    on, method = _choose(result)
    comparison: Mapping[str, Any] = result.details.get("comparison") or {}
    measures = (comparison.get(on) or {}).get(method) or {}
    labels = list(result.details.get("labels") or ())
    if not measures.get("entities"):
        st.info("There are no held-out entities to score.", icon=":material/info:")
    else:
        left, right = st.columns(2, gap="medium")
        with left:
            st.subheader("Confusion matrix")
            truth = "Gold label" if on == "gold" else "Label model"
            confusion_matrix(labels, measures["confusion"], truth=truth)
        with right:
            st.subheader("Calibration")
            calibration_chart(measures.get("calibration") or (), measures["calibration_error"])
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Importance of columns")
        _importances(result)
    with right:
        st.subheader("Training data")
        _training(result, labels)


def _choose(result: ClassifierResult) -> tuple[str, str]:
    """The entities to score on, and the method whose labels are scored."""
    sets = ["held_out", *(["gold"] if result.gold else [])]
    methods = [m for m in METHODS if m != "label_model" or result.gold]
    with st.container(horizontal=True):
        on = st.segmented_control(
            "Scored on",
            sets,
            format_func=SCORED_ON.__getitem__,
            required=True,
            **state.linked("on", sets, sets[-1], key="models.quality_on"),
        )
        method = st.segmented_control(
            "Labels from",
            methods,
            format_func=lambda m: f"Best: {model_name(result.best)}" if m == "best" else METHODS[m],
            required=True,
            **state.linked("of", methods, methods[0], key="models.method"),
        )
    return str(on or sets[-1]), str(method or methods[0])


def _importances(result: ClassifierResult) -> None:
    found = result.details.get("importances") or ()
    if not found:
        st.caption("No importances are recorded.")
        return
    frame = pd.DataFrame(list(found)[:MAX_COLUMNS])
    frame["low"] = frame["mean"] - frame["deviation"]
    frame["high"] = frame["mean"] + frame["deviation"]
    y = alt.Y("column:N", title=None, sort=None, axis=alt.Axis(labelLimit=220))
    base = alt.Chart(frame).encode(y=y)
    bars = base.mark_bar().encode(
        x=alt.X("mean:Q", title="Loss of balanced accuracy when shuffled"),
        tooltip=[
            alt.Tooltip("column:N", title="Column"),
            alt.Tooltip("mean:Q", format=".4f"),
            alt.Tooltip("deviation:Q", format=".4f"),
        ],
    )
    spread = base.mark_rule(color="grey").encode(x="low:Q", x2="high:Q")
    st.altair_chart((bars + spread).properties(height=70 + 22 * len(frame)))
    first = frame.iloc[0]
    st.markdown(
        f"Most important: **{plain(first['column'])}**. Shuffling its values costs "
        f"{first['mean']:.3f} of balanced accuracy."
    )
    if len(found) > MAX_COLUMNS:
        st.caption(f"The {MAX_COLUMNS} most important of {len(found)} columns.")


def _training(result: ClassifierResult, labels: Sequence[str]) -> None:
    counts: Mapping[str, Mapping[str, int]] = result.details.get("counts") or {}
    rows = [
        {
            "Label": label,
            "Confident": counts.get("confident", {}).get(label),
            "Training set": counts.get("trained", {}).get(label),
            "Held-out set": counts.get("held_out", {}).get(label),
        }
        for label in labels
    ]
    st.dataframe(rows, hide_index=True, width="stretch")
    steps = result.details.get("steps") or ()
    first = steps[0]["threshold"] if steps else result.threshold
    lowered = (
        f"lowered from {first:g} in {counted(len(steps) - 1, 'step')} to have enough of each label"
        if len(steps) > 1
        else "as set in the definition"
    )
    st.markdown(
        f"Minimum confidence {result.threshold:g}, {lowered}. In the training set, common labels "
        "are capped relative to the rarest label; in the held-out set they are not."
    )
