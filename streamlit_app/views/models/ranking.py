"""The models of a classifier, ranked and compared with the label model and majority class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.links import external_link
from streamlit_app.ui.messages import plain
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.dagster.addresses import mlflow_home, run_link
from tippers_dagster.platform.text import counted

if TYPE_CHECKING:
    from tippers_dagster.learning.results import ClassifierResult, ModelResult

SCORED_ON = {
    "cross_validated": "Cross-validation",
    "held_out": "Held-out set",
    "gold": "Gold labels",
}
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}
METHODS = {"best": "Best model", "label_model": "Label model", "majority_class": "Majority class"}
"""The methods of labelling that are compared."""

_NAMES = {
    "sgd": "SGD",
    "linear_svm": "linear SVM",
    "ada_boost": "AdaBoost",
    "lightgbm": "LightGBM",
}
_MEANING = {
    "cross_validated": "Scored on training entities, each by a model that was not trained on it. "
    "The ranking uses these scores.",
    "held_out": "Scored on entities that no model was trained on, against the label model's "
    "confident labels.",
    "gold": "Scored on held-out entities with a gold label.",
}


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """The latest ranking, a comparison with other methods, and the history."""
    found = service.results(app, ref)
    if not found:
        not_trained()
        return
    newest = found[0]
    _first(app, newest)
    scored_on = _scored_on(newest)
    st.caption(_MEANING[scored_on])
    _table(newest, scored_on)
    _chart(newest, scored_on)
    _compare(newest)
    _history(app, found)


def not_trained() -> None:
    """Say when training starts."""
    with st.container(border=True):
        st.markdown(
            "**Not trained yet.** Training starts automatically while `tippers up` is running, "
            "once the label model and the features are computed."
        )


def _scored_on(result: ClassifierResult) -> str:
    sets = [on for on in SCORED_ON if on != "gold" or result.gold]
    chosen = st.segmented_control(
        "Scored on",
        sets,
        format_func=SCORED_ON.__getitem__,
        required=True,
        **state.linked("on", sets, sets[0], key="models.on"),
    )
    return str(chosen or sets[0])


def _first(app: App, result: ClassifierResult) -> None:
    """The model that ranks first, and models that could not be trained."""
    best = next((m for m in result.models if m.model == result.best), None)
    metric = METRICS[result.metric]
    trained = [m for m in result.models if m.status == "trained"]
    models = counted(len(trained), "model")
    text = f"**{plain(model_name(result.best))}** ranks first of {models} by {metric}"
    value = None if best is None else best.cross_validated.get(result.metric)
    text += f": {value:.4f}, cross-validated" if value is not None else ""
    text += (
        f" on {counted(result.trained, 'entity', 'entities')} with a label confidence of at least "
        f"{result.threshold:g}."
    )
    held_out = None if best is None else best.held_out.get(result.metric)
    if held_out is not None:
        text += f" On {result.held_out:,} held-out entities: {held_out:.4f}."
    st.markdown(text)
    with st.container(horizontal=True, vertical_alignment="center"):
        if result.registered is not None:
            st.caption(f"Registered as version {result.registered}.")
        if result.mlflow_run:
            address = f"{mlflow_home(app.settings)}/#/runs/{result.mlflow_run}"
            external_link("MLflow", address, f"Run {result.mlflow_run}")
    for one in result.models:
        if one.status != "trained":
            st.warning(
                f"**{plain(model_name(one.model))}** {plain(one.status)}: {plain(one.error or '')}",
                icon=":material/warning:",
            )


def model_name(model: str) -> str:
    """The usual name of a kind of model."""
    return _NAMES.get(model, model.replace("_", " "))


def _values(one: ModelResult, scored_on: str) -> Mapping[str, float | None]:
    values: Mapping[str, float | None] = getattr(one, scored_on)
    return values


def _table(result: ClassifierResult, scored_on: str) -> None:
    rows = [
        {
            "Rank": one.rank,
            "Model": model_name(one.model),
            **{title: _values(one, scored_on).get(name) for name, title in METRICS.items()},
            "Seconds": one.seconds,
        }
        for one in result.models
        if one.status == "trained"
    ]
    figures = {title: st.column_config.NumberColumn(format="%.4f") for title in METRICS.values()}
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        height="content",
        column_config={
            "Rank": st.column_config.NumberColumn(width="small"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
            **figures,
        },
    )
    st.caption(
        "For log loss and calibration error, lower is better. Balanced accuracy is the mean recall "
        "over all labels."
    )


def _chart(result: ClassifierResult, scored_on: str) -> None:
    metric = result.metric
    rows = [
        {"Model": model_name(one.model), METRICS[metric]: _values(one, scored_on).get(metric)}
        for one in result.models
        if _values(one, scored_on).get(metric) is not None
    ]
    if not rows:
        return
    frame = pd.DataFrame(rows)
    low = frame[METRICS[metric]].min()
    domain = [0, 1] if metric == "log_loss" or low < 0.5 else [max(0.0, round(low - 0.1, 1)), 1]
    scale = alt.Undefined if metric == "log_loss" else alt.Scale(domain=domain)
    st.altair_chart(
        alt.Chart(frame)
        .mark_point(filled=True, size=90)
        .encode(
            x=alt.X(f"{METRICS[metric]}:Q", scale=scale),
            y=alt.Y("Model:N", title=None, sort=None, axis=alt.Axis(grid=True, labelLimit=220)),
            tooltip=["Model", alt.Tooltip(f"{METRICS[metric]}:Q", format=".4f")],
        )
        .properties(height=70 + 24 * len(frame))
    )


# --- compared with other methods ------------------------------------------------------------------
def _compare(result: ClassifierResult) -> None:
    st.subheader("Compared with the label model")
    comparison: Mapping[str, Any] = result.details.get("comparison") or {}
    on = "gold" if result.gold else "held_out"
    found = comparison.get(on) or {}
    if not found:
        st.caption("No entities were held out for a comparison.")
        return
    boxes = st.container(horizontal=True)
    shown = {method: found[method] for method in METHODS if method in found}
    if on == "held_out":
        shown.pop("label_model", None)
    for method, measures in shown.items():
        boxes.metric(
            f"{METHODS[method]}: accuracy",
            _share(measures.get("accuracy")),
            border=True,
            help=f"Macro F1 {_number(measures.get('macro_f1'))}, balanced accuracy "
            f"{_number(measures.get('balanced_accuracy'))}",
        )
    if on == "gold":
        best = max(shown, key=lambda method: shown[method].get("accuracy") or 0.0)
        macro_f1 = ", ".join(
            f"{METHODS[m].lower()} {_number(measures.get('macro_f1'))}"
            for m, measures in shown.items()
        )
        entities = counted(result.gold, "held-out entity", "held-out entities")
        st.markdown(
            f"On {entities} with a gold label, **{METHODS[best]}** has the highest accuracy, "
            f"{_share(shown[best].get('accuracy'))}. Macro F1: {macro_f1}."
        )
    else:
        entities = counted(result.held_out, "held-out entity", "held-out entities")
        st.caption(
            f"Scored on {entities} against the label model's own labels. None of them has a gold "
            "label, so where the two differ it is unknown which is right. Label some by hand on "
            "the Labels page."
        )


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


# --- history --------------------------------------------------------------------------------------
def _history(app: App, found: Sequence[ClassifierResult]) -> None:
    st.subheader("Training history")
    zone = ZoneInfo(app.settings.timezone)
    rows = [_history_row(app, result, zone) for result in found]
    shown = [METRICS[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")]
    if len(found) > 1:
        frame = pd.DataFrame(rows).melt(["Trained"], shown, "Metric", "Value").dropna()
        scale = alt.Scale(domain=[max(0.0, round(frame["Value"].min() - 0.1, 1)), 1])
        st.altair_chart(
            alt.Chart(frame)
            .mark_line(point=True)
            .encode(
                x=alt.X("Trained:T", title="Trained"),
                y=alt.Y("Value:Q", title="Best model on the held-out set", scale=scale),
                color=alt.Color("Metric:N", title=None, legend=alt.Legend(orient="top")),
                tooltip=["Trained", "Metric", alt.Tooltip("Value:Q", format=".4f")],
            )
            .properties(height=240)
        )
    st.dataframe(
        pd.DataFrame(rows).astype({"Version": "Int64"}),
        hide_index=True,
        width="stretch",
        placeholder="",
        column_config={
            **{title: st.column_config.NumberColumn(format="%.4f") for title in METRICS.values()},
            "Run": st.column_config.LinkColumn(display_text=r"/runs/(.{8})"),
        },
    )
    if len(found) > 1:
        new, old = (r.get("Macro F1") for r in rows[:2])
        if new is not None and old is not None:
            st.markdown(
                f"Change of macro F1 on the held-out set since the previous training: "
                f"{new - old:+.4f}."
            )


def _history_row(app: App, result: ClassifierResult, zone: ZoneInfo) -> dict[str, Any]:
    best = next((m for m in result.models if m.model == result.best), None)
    values = {} if best is None else best.held_out
    return {
        "Trained": result.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
        "Best model": model_name(result.best),
        "Version": result.registered,
        **{title: values.get(name) for name, title in METRICS.items()},
        "Training entities": result.trained,
        "Held-out entities": result.held_out,
        "Run": run_link(app.settings, result.run_id),
    }
