"""Why one entity has its label."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.ui.messages import plain
from tippers_dagster.labelling.explanations import Explanation, FunctionVote

_WITHOUT_LABEL = {"abstain": "no label, as no function voted", "tie": "no label, as votes are tied"}


def show(found: Explanation) -> None:
    """Probabilities, the evidence of each vote, and the votes with the values behind them."""
    label = found.label or _WITHOUT_LABEL.get(found.outcome, found.outcome)
    confidence = "" if found.confidence is None else f", confidence {found.confidence:.1%}"
    with st.container(border=True):
        st.markdown(f"**{plain(found.entity)}**: {plain(label)}{confidence}")
        known = {name: p for name, p in found.probabilities.items() if p is not None}
        facts = [f"prior {_listed(found.class_balance)}"]
        if known:
            facts.insert(0, f"posterior {_listed(known)}")
        facts.append(f"majority vote {plain(found.majority_label or 'none')}")
        if found.gold_label:
            facts.append(f"gold label {plain(found.gold_label)}")
        st.caption(" · ".join(facts))
        _evidence(found)
        st.dataframe(
            [_vote(vote, found.entity) for vote in found.votes],
            hide_index=True,
            width="stretch",
            column_config={
                "Accuracy": st.column_config.NumberColumn(
                    format="percent",
                    help="Share of the function's votes that are right, as the label model "
                    "estimates.",
                )
            },
        )


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{plain(name)} {share:.1%}" for name, share in shares.items())


def _evidence(found: Explanation) -> None:
    """The log-odds that each vote adds to a label, relative to the mean of all labels."""
    rows = []
    for vote in found.votes:
        if vote.evidence:
            mean = sum(vote.evidence.values()) / len(vote.evidence)
            rows += [
                {"Function": vote.name, "Label": label, "Evidence": value - mean}
                for label, value in vote.evidence.items()
            ]
    if not rows:
        st.caption("No function voted, so there is no evidence for any label.")
        return
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar()
    st.altair_chart(
        chart.encode(
            x=alt.X(
                "Evidence:Q", title="Evidence against (left) or for (right) the label, log-odds"
            ),
            y=alt.Y("Function:N", title=None, axis=alt.Axis(labelLimit=220)),
            yOffset="Label:N",
            color=alt.Color("Label:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["Function", "Label", alt.Tooltip("Evidence:Q", format="+.2f")],
        ).properties(height=120 + 18 * len(rows)),
        alt="Evidence of each vote for and against each label. The table below lists the votes.",
    )


def _vote(vote: FunctionVote, entity: str) -> dict[str, object]:
    values = "no row in the rule"
    if vote.row is not None:
        texts = {name: _short(value) for name, value in vote.row.items()}
        values = ", ".join(f"{name} {text}" for name, text in texts.items() if text != entity)
    return {
        "Function": vote.name,
        "Vote": vote.vote or "abstains",
        "Accuracy": vote.weight,
        "Rule": vote.rule,
        "Input values": values,
        "Description": vote.description,
    }


def _short(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
