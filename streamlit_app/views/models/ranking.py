"""The bank of a classifier, ranked, and beside the label model and the commonest label."""

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
from streamlit_app.ui.messages import plain
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.dagster.addresses import mlflow_home, run_link

if TYPE_CHECKING:
    from tippers_dagster.learning.results import ClassifierResult, ModelResult

JUDGED = {
    "cross_validated": "Cross-validated",
    "held_out": "Held out",
    "gold": "Gold labels",
}
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}
WAYS = {"best": "Best model", "label_model": "Label model", "majority_class": "Commonest label"}
_NAMES = {
    "sgd": "SGD",
    "linear_svm": "linear SVM",
    "ada_boost": "AdaBoost",
    "lightgbm": "LightGBM",
}
_MEANING = {
    "cross_validated": "On the training entities, each judged by a model trained on others: what "
    "the ranking goes by.",
    "held_out": "On entities that no model was trained on, by the label model's confident labels.",
    "gold": "On held-out entities whose label a person knows.",
}


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """The last ranking, the comparison, and how it went over materialisations."""
    found = service.results(app, ref)
    if not found:
        not_trained()
        return
    newest = found[0]
    _first(app, newest)
    judged = judged_on(newest)
    st.caption(_MEANING[judged])
    _table(newest, judged)
    _chart(newest, judged)
    _compare(newest)
    _history(app, found)


def not_trained() -> None:
    """What to do where nothing was trained yet."""
    with st.container(border=True):
        st.markdown(
            "**It was not trained yet.** It is trained by itself while `tippers up` is running, "
            "once its label model and its features are there."
        )


def judged_on(result: ClassifierResult) -> str:
    """On which entities models are judged: chosen by the address, or here."""
    there = [on for on in JUDGED if on != "gold" or result.gold]
    key = "models.on"
    st.session_state[key] = state.one_of("on", there, there[0])
    chosen = st.segmented_control(
        "Judged on",
        there,
        format_func=JUDGED.__getitem__,
        key=key,
        required=True,
        on_change=lambda: state.put(on=st.session_state[key]),
    )
    return str(chosen or there[0])


def _first(app: App, result: ClassifierResult) -> None:
    """Which model ranks first, in words."""
    best = next((m for m in result.models if m.model == result.best), None)
    metric = METRICS[result.metric]
    trained = [m for m in result.models if m.status == "trained"]
    text = f"**{plain(words(result.best))}** ranks first of {len(trained)} models by {metric}"
    value = None if best is None else best.cross_validated.get(result.metric)
    text += f": {value:.4f}, cross-validated" if value is not None else ""
    text += f" on {result.trained:,} entities (labels of a confidence of {result.threshold:g})."
    held = None if best is None else best.held_out.get(result.metric)
    if held is not None:
        text += f" On {result.held_out:,} held-out entities it has {held:.4f}."
    st.markdown(text)
    with st.container(horizontal=True, vertical_alignment="center"):
        if result.registered is not None:
            st.caption(f"Registered as version {result.registered}.")
        if result.mlflow_run:
            st.link_button(
                "MLflow",
                f"{mlflow_home(app.settings)}/#/runs/{result.mlflow_run}",
                icon=":material/open_in_new:",
                type="tertiary",
                help=f"Run {result.mlflow_run}",
            )
    for one in result.models:
        if one.status != "trained":
            st.warning(
                f"**{plain(words(one.model))}** {plain(one.status)}: {plain(one.error or '')}",
                icon=":material/warning:",
            )


def words(model: str) -> str:
    """A model of the bank as people write it."""
    return _NAMES.get(model, model.replace("_", " "))


def _values(one: ModelResult, judged: str) -> Mapping[str, float | None]:
    found: Mapping[str, float | None] = getattr(one, judged)
    return found


def _table(result: ClassifierResult, judged: str) -> None:
    rows = [
        {
            "Rank": one.rank,
            "Model": words(one.model),
            **{title: _values(one, judged).get(name) for name, title in METRICS.items()},
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
        "Of log loss and calibration error less is better. Balanced accuracy is the mean over the "
        "labels of the share that is found."
    )


def _chart(result: ClassifierResult, judged: str) -> None:
    metric = result.metric
    rows = [
        {"Model": words(one.model), METRICS[metric]: _values(one, judged).get(metric)}
        for one in result.models
        if _values(one, judged).get(metric) is not None
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


# --- beside others --------------------------------------------------------------------------------
def _compare(result: ClassifierResult) -> None:
    st.subheader("Beside the label model")
    comparison: Mapping[str, Any] = result.details.get("comparison") or {}
    on = "gold" if result.gold else "held_out"
    found = comparison.get(on) or {}
    if not found:
        st.caption("Nothing was held out to compare on.")
        return
    boxes = st.container(horizontal=True)
    shown = {way: found[way] for way in WAYS if way in found}
    if on == "held_out":
        shown.pop("label_model", None)
    for way, measures in shown.items():
        boxes.metric(
            f"{WAYS[way]}, accuracy",
            _share(measures.get("accuracy")),
            border=True,
            help=f"Macro F1 {_number(measures.get('macro_f1'))}, balanced accuracy "
            f"{_number(measures.get('balanced_accuracy'))}",
        )
    if on == "gold":
        best = max(shown, key=lambda way: shown[way].get("accuracy") or 0.0)
        st.markdown(
            f"On {result.gold:,} held-out entities with a gold label, best: **{WAYS[best]}** with "
            f"{_share(shown[best].get('accuracy'))}; macro F1 "
            + ", ".join(f"{WAYS[w].lower()} {_number(m.get('macro_f1'))}" for w, m in shown.items())
            + "."
        )
    else:
        st.caption(
            f"On {result.held_out:,} held-out entities, by the label model's own labels. No held-"
            "out entity has a gold label, so it is not known which of the two is right where they "
            "differ: label some by hand, on the page Labels."
        )


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


# --- over time ------------------------------------------------------------------------------------
def _history(app: App, found: Sequence[ClassifierResult]) -> None:
    st.subheader("Materialisations")
    zone = ZoneInfo(app.settings.timezone)
    rows = [_past(app, result, zone) for result in found]
    shown = [METRICS[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")]
    if len(found) > 1:
        frame = pd.DataFrame(rows).melt(["Trained"], shown, "Metric", "Value").dropna()
        scale = alt.Scale(domain=[max(0.0, round(frame["Value"].min() - 0.1, 1)), 1])
        st.altair_chart(
            alt.Chart(frame)
            .mark_line(point=True)
            .encode(
                x=alt.X("Trained:T", title="Trained"),
                y=alt.Y("Value:Q", title="Of the best, held out", scale=scale),
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
            st.markdown(f"Macro F1 held out, against the one before: {new - old:+.4f}.")


def _past(app: App, result: ClassifierResult, zone: ZoneInfo) -> dict[str, Any]:
    best = next((m for m in result.models if m.model == result.best), None)
    values = {} if best is None else best.held_out
    return {
        "Trained": result.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
        "Best model": words(result.best),
        "Version": result.registered,
        **{title: values.get(name) for name, title in METRICS.items()},
        "Entities": result.trained,
        "Held out": result.held_out,
        "Run": run_link(app.settings, result.run_id),
    }
