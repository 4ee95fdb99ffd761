"""The quality of a label model, measured on gold labels."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.services.labels import Score
from streamlit_app.ui.messages import plain
from streamlit_app.views.label_charts import calibration_chart, confusion_matrix
from tippers_dagster.catalog.model import Ref
from tippers_dagster.labelling.evaluate import Evaluation
from tippers_dagster.platform.dagster.addresses import run_link
from tippers_dagster.platform.text import counted


def show(app: App, ref: Ref) -> None:
    """Scores of the current labels, and how they changed over time."""
    evaluation = service.evaluation(app, ref)
    if evaluation is None:
        with st.container(border=True):
            st.markdown(
                f"**No entity of {plain(str(ref))} has a gold label yet.** Label some by hand, or "
                "import a file with `tippers gold import FILE`."
            )
        return
    _scores(evaluation)
    left, right = st.columns(2)
    with left:
        st.subheader("Confusion matrix")
        confusion_matrix(evaluation.labels, evaluation.model.confusion.tolist())
    with right:
        st.subheader("Calibration")
        bins = [vars(one) for one in evaluation.calibration]
        calibration_chart(bins, evaluation.calibration_error)
    _history(app, service.score_history(app, ref))


def _scores(evaluation: Evaluation) -> None:
    methods = {
        "Label model": evaluation.model,
        "Majority vote": evaluation.majority_vote,
        "Majority class": evaluation.majority_class,
    }
    best = max(methods, key=lambda name: methods[name].accuracy)
    boxes = st.container(horizontal=True)
    for name, scores in methods.items():
        boxes.metric(
            f"{name}: accuracy",
            f"{scores.accuracy:.1%}",
            border=True,
            help=f"Macro F1 {scores.macro_f1:.3f}; labels {scores.coverage:.1%} of the entities.",
        )
    st.markdown(
        f"On {counted(evaluation.entities, 'gold label')}, **{best}** has the highest accuracy, "
        f"{methods[best].accuracy:.1%}. Entities without a label count as wrong."
    )


def _history(app: App, history: Sequence[Score]) -> None:
    st.subheader("Score history")
    if not history:
        st.caption("No scores yet. The label model is scored each time it is computed.")
        return
    zone = ZoneInfo(app.settings.timezone)
    rows = [
        {
            "Computed": s.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            "Gold labels": s.entities,
            "Accuracy": s.accuracy,
            "Macro F1": s.macro_f1,
            "Majority vote accuracy": s.majority_accuracy,
            "Calibration error": s.calibration_error,
            "Run": run_link(app.settings, s.run_id),
        }
        for s in history
    ]
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        column_config={"Run": st.column_config.LinkColumn(display_text=r"/runs/(.{8})")},
    )
    if len(history) > 1:
        new, old = history[0], history[1]
        st.markdown(
            f"Change since the previous scores: accuracy {new.accuracy - old.accuracy:+.3f}, macro "
            f"F1 {new.macro_f1 - old.macro_f1:+.3f}. Gold labels: {old.entities:,} then, "
            f"{new.entities:,} now."
        )
