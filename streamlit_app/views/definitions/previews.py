"""The preview below a form: what the definition would do."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.preview_labels import (
    LabelGroups,
    preview_derived_index,
    preview_model,
)
from streamlit_app.services.definitions.preview_sql import Rows
from streamlit_app.services.definitions.preview_votes import Votes, preview_votes
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions import models
from streamlit_app.views.definitions.words import number, share
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.text import counted
from tippers_dagster.sql.statistics import ColumnStatistics


# --- SQL -----------------------------------------------------------------------------------------
def rows(found: Rows) -> None:
    """First rows, column statistics and the database's estimates."""
    st.subheader("Preview")
    with st.container(horizontal=True):
        if found.estimated_rows is None:
            st.metric("Rows", f"over {number(found.sampled)}")
        else:
            estimated = "" if found.complete else " (estimated)"
            st.metric(f"Rows{estimated}", number(found.estimated_rows))
        st.metric("Columns", number(len(found.head.column_names)))
        if found.total_cost is not None:
            st.metric(
                "Cost (estimated)",
                number(round(found.total_cost)),
                help="In PostgreSQL's cost units: useful to compare two versions of a query",
            )
        st.metric("Preview took", f"{found.seconds:.2f} s")
    head = found.head.num_rows
    st.markdown("**First row**" if head == 1 else f"**First {head:,} rows**")
    st.dataframe(found.head, hide_index=True, height=280)
    sampled = "all rows" if found.complete else f"the first {counted(found.sampled, 'row')}"
    st.markdown(f"**Column summary** of {sampled}")
    st.dataframe([_statistics(column) for column in found.statistics], hide_index=True)


def _statistics(column: ColumnStatistics) -> dict[str, object]:
    quantiles = column.quantiles
    return {
        "Column": column.column,
        "Type": column.type,
        "Nulls": column.nulls,
        "Distinct": column.distinct,
        "Min": _text(column.minimum),
        "Median": _text(quantiles[2]) if len(quantiles) > 2 else "",
        "Max": _text(column.maximum),
        "Most common": ", ".join(f"{value} ({times:,})" for value, times in column.top),
    }


def _text(value: object) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


# --- labelling functions -------------------------------------------------------------------------
_OVERLAP = "Share of its votes on entities that another function votes for too"
_CONFLICT = "Share of its votes where another function votes for a different label"
_ACCURACY = "Share of its votes on entities with a gold label that agree with that label"
_CHANGES = "Entities whose vote differs from the last computed one"


def votes(app: App, catalog: Catalog, edit: Edit) -> None:
    """How a labelling function would vote."""
    found = preview_votes(app, catalog, edit)
    abstains = found.entities - found.voted
    labels = ", ".join(f"{n:,} {label}" for label, n in found.labels.items())
    st.markdown(
        f"Of {counted(found.entities, 'entity', 'entities')}, it would label **{plain(labels)}** "
        f"and abstain on {abstains:,} ({share(abstains, found.entities)})."
    )
    with st.container(horizontal=True):
        st.metric("Coverage", share(found.voted, found.entities), help="Share of entities labelled")
        st.metric("Overlap", share(found.overlap, found.voted), help=_OVERLAP)
        st.metric("Conflict", share(found.conflict, found.voted), help=_CONFLICT)
        if found.with_gold:
            st.metric("Accuracy on gold", share(found.correct, found.with_gold), help=_ACCURACY)
        if found.changes is not None:
            change = found.changes.new + found.changes.removed + found.changes.relabelled
            st.metric("Changed votes", number(change), help=_CHANGES)
    _notes(found)
    _comparison(found)
    if found.examples.num_rows:
        st.markdown("**Examples**")
        st.dataframe(found.examples, hide_index=True, height=240)


def _notes(found: Votes) -> None:
    notes = []
    changes = found.changes
    if changes is not None and (changes.new or changes.removed):
        notes.append(
            f"Compared with its current votes: {changes.new:,} new, {changes.removed:,} removed, "
            f"{changes.relabelled:,} with another label."
        )
    if found.without_row > 0:
        entities = counted(found.without_row, "entity", "entities")
        notes.append(f"The rule has no row for {entities}.")
    if found.nulls:
        notes.append(f"It abstains on {counted(found.nulls, 'row')} because a value is null.")
    if found.errors:
        notes.append(f"It abstains on {counted(found.errors, 'row')} because of an error.")
    if found.uncomputed:
        listed = ", ".join(found.uncomputed)
        notes.append(f"Not included in the comparison, because not computed yet: {plain(listed)}.")
    for note in notes:
        st.caption(note)
    if found.example and (found.errors or found.nulls):
        st.caption(f"Example: {plain(found.example)}")


def _comparison(found: Votes) -> None:
    shared = [other for other in found.others if other.both]
    if not shared:
        if found.others:
            st.caption("No other labelling function votes on the same entities.")
        return
    st.markdown("**Compared with other labelling functions**, in entities on which both vote")
    table = [
        {
            "Labelling function": other.name,
            "Both vote": other.both,
            "Agree": other.both - other.differ,
            "Disagree": other.differ,
            "Disagreement": share(other.differ, other.both),
        }
        for other in sorted(shared, key=lambda o: (-o.differ, o.name))
    ]
    st.dataframe(table, hide_index=True)


# --- label models --------------------------------------------------------------------------------
def model(app: App, catalog: Catalog, edit: Edit) -> None:
    """What the chosen functions do together."""
    found = preview_model(app, catalog, edit)
    analysis = found.analysis
    st.markdown(
        f"Of {counted(analysis.entities, 'entity', 'entities')}, **{share_of(analysis.covered)}** "
        "get at least one vote. The accuracy of each function is estimated in training."
    )
    if found.uncomputed:
        st.caption(f"No votes computed yet: {plain(', '.join(found.uncomputed))}.")
    gold = "Accuracy on gold"
    table = [
        {
            "Labelling function": name,
            "Votes for": ", ".join(analysis.polarity_labels(j)) or "nothing",
            "Coverage": share_of(analysis.coverage[j]),
            "Overlap": share_of(analysis.overlaps[j]),
            "Conflict": share_of(analysis.conflicts[j]),
            **({gold: share_of(analysis.accuracy[j])} if analysis.gold_entities else {}),
        }
        for j, name in enumerate(analysis.functions)
    ]
    st.dataframe(table, hide_index=True)


def share_of(value: float) -> str:
    """A share from 0 to 1 as a percentage; a dash if it is not known."""
    return "-" if value != value else share(round(value * 100_000), 100_000)


# --- derived indexes -----------------------------------------------------------------------------
def derived(app: App, catalog: Catalog, edit: Edit) -> None:
    """How many entities pass, and how many would with another minimum confidence."""
    found = preview_derived_index(app, catalog, edit)
    fields = edit.fields
    minimum = fields["minimum_confidence"] if fields["by_confidence"] else None
    passing = found.count(
        fields["labels"], minimum, include_unlabelled=fields["include_unlabelled"]
    )
    st.markdown(
        f"**{passing:,}** of the {counted(found.total, 'entity', 'entities')} in the parent index "
        f"{'passes' if passing == 1 else 'pass'} ({share(passing, found.total)})."
    )
    if fields["by_confidence"]:
        _curve(found, fields)


def _curve(found: LabelGroups, fields: dict[str, object]) -> None:
    labels = list(fields["labels"])  # type: ignore[call-overload]
    points = found.curve(labels, include_unlabelled=bool(fields["include_unlabelled"]))
    data = pd.DataFrame(points, columns=["confidence", "entities"])
    line = (
        alt.Chart(data)
        .mark_line(interpolate="step-after")
        .encode(
            alt.X("confidence:Q", title="Minimum confidence (probability)"),
            alt.Y("entities:Q", title="Entities that pass", scale=alt.Scale(zero=True)),
            tooltip=["confidence", alt.Tooltip("entities", format=",")],
        )
    )
    at = pd.DataFrame({"confidence": [fields["minimum_confidence"]]})
    rule = alt.Chart(at).mark_rule(strokeDash=[4, 3]).encode(alt.X("confidence:Q"))
    summary = (
        f"{points[0][1]:,} entities pass with a minimum of 0, {points[-1][1]:,} with a minimum of "
        "1. The dashed line marks the minimum set."
    )
    st.altair_chart(line + rule, theme="streamlit", height=220, alt=summary)
    st.caption(summary)


Live = Callable[[App, Catalog, Edit], None]

LIVE: dict[Kind, Live] = {
    Kind.LABELLING_FUNCTION: votes,
    Kind.LABEL_MODEL: model,
    Kind.DERIVED_INDEX: derived,
    Kind.CLASSIFIER: models.training_entities,
    Kind.LABELLED_OCCUPANCY: models.device_labels,
    Kind.PEOPLE_COUNT: models.device_labels,
    Kind.FORECASTER: models.forecast_scope,
}
"""Previews that follow every change of the form."""


def live(app: App, catalog: Catalog, edit: Edit) -> None:
    """The preview that follows every change; errors are shown in its place."""
    st.subheader("Preview")
    try:
        LIVE[edit.kind](app, catalog, edit)
    except TippersError as error:
        message = " ".join(filter(None, (error.message, error.hint)))
        st.info(plain(message), icon=":material/info:")
