"""What a definition would do, below its form."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from streamlit_app.services import definition_preview as service
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from streamlit_app.services.definition_preview import Answers, Rows, Votes, number, share
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions import models
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.errors import TippersError


# --- SQL -----------------------------------------------------------------------------------------
def rows(found: Rows) -> None:
    """First rows, column statistics, and what the planner thinks."""
    st.subheader("Preview")
    with st.container(horizontal=True):
        st.metric("Rows" if found.whole else "Rows, estimated", number(found.estimated_rows))
        st.metric("Columns", number(len(found.shown.column_names)))
        st.metric(
            "Cost, estimated",
            number(round(found.total_cost)),
            help="PostgreSQL's own unit: good to compare two ways of writing the same.",
        )
        st.metric("Preview took", f"{found.seconds:.2f} s")
    whole = "all" if found.whole else f"the first {found.sampled:,}"
    st.markdown(f"**First {found.shown.num_rows:,} rows**")
    st.dataframe(found.shown, hide_index=True, height=280)
    st.markdown(f"**Columns**, by {whole} rows")
    st.dataframe([_statistics(column) for column in found.statistics], hide_index=True)


def _statistics(column: service.ColumnStatistics) -> dict[str, object]:
    quantiles = column.quantiles
    often = ", ".join(f"{value} ({times:,})" for value, times in column.top)
    return {
        "Column": column.column,
        "Type": column.type,
        "Nulls": column.nulls,
        "Distinct": column.distinct,
        "Least": _text(column.minimum),
        "Median": _text(quantiles[2]) if len(quantiles) > 2 else "",
        "Most": _text(column.maximum),
        "Often": often,
    }


def _text(value: object) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


# --- labelling functions -------------------------------------------------------------------------
def votes(app: App, catalog: Catalog, work: Work) -> None:
    """How a labelling function would vote."""
    found = service.preview_votes(app, catalog, work)
    abstains = found.entities - found.voted
    told = ", ".join(f"{n:,} {label}" for label, n in found.labels.items())
    st.markdown(
        f"Of {found.entities:,} entities it would label **{plain(told)}** and abstain on "
        f"{abstains:,} ({share(abstains, found.entities)})."
    )
    with st.container(horizontal=True):
        st.metric("Coverage", share(found.voted, found.entities))
        st.metric("Overlap", share(found.overlap, found.voted), help=_OVERLAP)
        st.metric("Conflict", share(found.conflict, found.voted), help=_CONFLICT)
        if found.judged:
            st.metric("Right on gold", share(found.right, found.judged), help=_GOLD)
        if found.changed is not None:
            change = found.changed.new + found.changed.gone + found.changed.other
            st.metric("Votes that change", number(change), help=_CHANGES)
    _notes(found)
    _others(found)
    if found.examples.num_rows:
        st.markdown("**Examples**")
        st.dataframe(found.examples, hide_index=True, height=240)


_OVERLAP = "Of its votes: another function votes for the same entity."
_CONFLICT = "Of its votes: another function votes otherwise."
_GOLD = "Of its votes on entities with a gold label: those that are as it says."
_CHANGES = "Against its votes as they were computed last."


def _notes(found: Votes) -> None:
    notes = []
    if found.changed is not None and (found.changed.new or found.changed.gone):
        notes.append(
            f"Against its present votes {found.changed.new:,} are new, {found.changed.gone:,} go, "
            f"{found.changed.other:,} change their label."
        )
    if found.without_row > 0:
        notes.append(f"The rule has no row for {found.without_row:,} entities.")
    if found.nulls:
        notes.append(f"It abstains on {found.nulls:,} rows as a value is missing (null).")
    if found.errors:
        notes.append(f"It abstains on {found.errors:,} rows because of an error.")
    if found.uncomputed:
        listed = ", ".join(found.uncomputed)
        notes.append(f"Not computed yet, and so not compared with: {plain(listed)}.")
    for note in notes:
        st.caption(note)
    if found.example and (found.errors or found.nulls):
        st.caption(f"For instance {plain(found.example)}")


def _others(found: Votes) -> None:
    touching = [o for o in found.others if o.both]
    if not touching:
        if found.others:
            st.caption("No other labelling function votes for an entity that it votes for.")
        return
    st.markdown("**Beside the other labelling functions**, entities on which both vote")
    table = [
        {
            "Labelling function": other.name,
            "Both vote": other.both,
            "Alike": other.both - other.differ,
            "Otherwise": other.differ,
            "Share otherwise": share(other.differ, other.both),
        }
        for other in sorted(touching, key=lambda o: (-o.differ, o.name))
    ]
    st.dataframe(table, hide_index=True)


# --- label models --------------------------------------------------------------------------------
def model(app: App, catalog: Catalog, work: Work) -> None:
    """What the chosen functions do together."""
    found = service.preview_model(app, catalog, work)
    analysis = found.analysis
    st.markdown(
        f"Of {analysis.entities:,} entities, **{share_of(analysis.covered)}** get a vote of at "
        "least one of its functions. Weights are learned when it is trained."
    )
    if found.uncomputed:
        st.caption(f"Without votes yet: {plain(', '.join(found.uncomputed))}.")
    table = [
        {
            "Labelling function": name,
            "Votes for": ", ".join(analysis.polarity_labels(j)) or "nothing",
            "Coverage": share_of(analysis.coverage[j]),
            "Overlap": share_of(analysis.overlaps[j]),
            "Conflict": share_of(analysis.conflicts[j]),
            **({"Right on gold": share_of(analysis.accuracy[j])} if analysis.gold_entities else {}),
        }
        for j, name in enumerate(analysis.functions)
    ]
    st.dataframe(table, hide_index=True)


def share_of(value: float) -> str:
    """A share as percent; a dash for what is not known."""
    return "-" if value != value else share(round(value * 100_000), 100_000)


# --- derived indexes -----------------------------------------------------------------------------
def derived(app: App, catalog: Catalog, work: Work) -> None:
    """How many entities pass, and how many would with another confidence."""
    found = service.answers(app, catalog, work)
    fields = work.fields
    least = fields["minimum_confidence"] if fields["by_confidence"] else None
    passing = found.count(fields["labels"], least, include_unlabelled=fields["include_unlabelled"])
    st.markdown(
        f"**{passing:,}** of the {found.total:,} entities of the parent pass "
        f"({share(passing, found.total)})."
    )
    if fields["by_confidence"]:
        _curve(found, fields)


def _curve(found: Answers, fields: dict[str, object]) -> None:
    import altair as alt
    import pandas as pd

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
    said = (
        f"From {points[-1][1]:,} entities with a minimum of 1 to {points[0][1]:,} with 0; the "
        "dashed line is the minimum that is set."
    )
    st.altair_chart(line + rule, theme="streamlit", height=220, alt=said)
    st.caption(said)


Live = Callable[[App, Catalog, Work], None]

LIVE: dict[Kind, Live] = {
    Kind.LABELLING_FUNCTION: votes,
    Kind.LABEL_MODEL: model,
    Kind.DERIVED_INDEX: derived,
    Kind.CLASSIFIER: models.confident,
    Kind.LABELLED_OCCUPANCY: models.devices,
    Kind.PEOPLE_COUNT: models.devices,
    Kind.FORECASTER: models.covered,
}
"""Kinds whose preview follows every change of the form."""


def live(app: App, catalog: Catalog, work: Work) -> None:
    """The preview that follows every change; what stands against it is told in its place."""
    st.subheader("What it would do")
    try:
        LIVE[work.kind](app, catalog, work)
    except TippersError as error:
        told = " ".join(filter(None, (error.message, error.hint)))
        st.info(plain(told), icon=":material/info:")
