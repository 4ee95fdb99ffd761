"""A label model compared with its own earlier results, or with another label model."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.services.labels import Comparison
from streamlit_app.ui import state
from streamlit_app.ui.links import external_link
from streamlit_app.ui.messages import plain
from tippers_dagster.catalog.model import Ref
from tippers_dagster.labelling.earlier_labels import ABSENT, KEPT, Past
from tippers_dagster.platform.dagster.addresses import run_link
from tippers_dagster.platform.text import counted

_WITH = {"before": "Earlier results", "model": "Another label model"}


def show(app: App, models: Sequence[Ref], ref: Ref) -> None:
    """The comparison that people choose."""
    other = st.segmented_control(
        "Compare with",
        list(_WITH),
        format_func=_WITH.__getitem__,
        required=True,
        **state.linked("with", list(_WITH), "before", key="labels.with"),
    )
    if other == "before":
        _earlier_results(app, ref)
    else:
        _other_model(app, models, ref)


# --- earlier results -----------------------------------------------------------------------------
def _earlier_results(app: App, ref: Ref) -> None:
    kept = service.materialisations(app, ref)
    if len(kept) < 2:
        st.info(
            "There are no earlier results yet. They are kept whenever the label model's inputs "
            "change: edit a labelling function or its rule, then come back.",
            icon=":material/info:",
        )
        return
    zone = ZoneInfo(app.settings.timezone)
    names = {p.version: f"{p.at.astimezone(zone):%Y-%m-%d %H:%M:%S}" for p in kept}
    with st.container(horizontal=True):
        after = _choice("After", "after", kept[:-1], names)
        earlier = kept[kept.index(after) + 1 :]
        before = _choice("Before", "before", earlier, names)
    _changes(app, service.compare_materialisations(app, ref, before, after))


def _choice(label: str, name: str, options: Sequence[Past], names: dict[str, str]) -> Past:
    """The materialisation that the address names, or the newest."""
    versions = [p.version for p in options]
    version = st.selectbox(
        label,
        versions,
        format_func=names.__getitem__,
        help=f"When the labels were computed. The last {KEPT} different results are kept.",
        width=240,
        **state.linked(name, versions, versions[0], key=f"labels.{name}"),
    )
    return options[versions.index(version)]


def _changes(app: App, found: Comparison) -> None:
    if not found.common:
        st.warning("The two have no entities in common.", icon=":material/warning:")
    else:
        share = found.changed / found.common
        st.markdown(
            f"**{found.changed:,} of {counted(found.common, 'entity', 'entities')} ({share:.1%}) "
            f"changed label.**{_added_and_removed(found)}"
        )
    _scores(found)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Labels")
        st.dataframe(
            [
                {"Label": name, "Before": then, "After": now, "Change": now - then}
                for name, then, now in found.classes
                if then or now
            ],
            hide_index=True,
            column_config={"Change": st.column_config.NumberColumn(format="%+d")},
        )
    with right:
        st.subheader("Changed labels")
        moves = [(a, b, n) for a, b, n in found.moves if a != b]
        if moves:
            frame = pd.DataFrame(moves, columns=["Before", "After", "Entities"])
            st.dataframe(frame, hide_index=True)
        else:
            st.caption("No entity changed its label.")
    _functions(found)
    with st.container(horizontal=True):
        for label, one in (("Run before", found.before), ("Run after", found.after)):
            external_link(label, run_link(app.settings, one.run_id))


def _added_and_removed(found: Comparison) -> str:
    added = sum(n for before, _, n in found.moves if before == ABSENT)
    removed = sum(n for _, after, n in found.moves if after == ABSENT)
    if not added and not removed:
        return ""
    return f" {counted(added, 'entity', 'entities')} added, {removed:,} removed."


def _scores(found: Comparison) -> None:
    """The scores of each materialisation on the gold labels of its time."""
    then, now = (p.details.get("gold") for p in (found.before, found.after))
    if not then or not now:
        return
    st.markdown(
        f"On gold labels: accuracy {then['accuracy']:.1%} before, {now['accuracy']:.1%} after; "
        f"macro F1 {then['macro_f1']:.3f} before, {now['macro_f1']:.3f} after; gold labels "
        f"{then['entities']:,} before, {now['entities']:,} after."
    )


def _functions(found: Comparison) -> None:
    st.subheader("Labelling functions")
    frame = pd.DataFrame(found.functions).dropna(axis="columns", how="all")
    st.dataframe(
        frame,
        hide_index=True,
        height=min(35 * len(frame) + 38, 738),
        column_config={
            name: st.column_config.NumberColumn(format="percent") for name in frame.columns[1:]
        },
    )


# --- another label model -------------------------------------------------------------------------
def _other_model(app: App, models: Sequence[Ref], ref: Ref) -> None:
    others = [str(m) for m in models if m != ref]
    if not others:
        st.info("There is no other label model to compare with.", icon=":material/info:")
        return
    other = st.selectbox(
        "Label model to compare with",
        others,
        width=420,
        **state.linked("other", others, others[0], key="labels.other"),
    )
    state.put(other=other)
    cells = service.compare_models(app, ref, next(m for m in models if str(m) == other))
    total = sum(n for *_, n in cells)
    if not total:
        st.info("The two have no entities in common.", icon=":material/info:")
        return
    frame = pd.DataFrame(cells, columns=[str(ref), other, "Entities"])
    st.dataframe(
        frame.pivot_table(index=str(ref), columns=other, values="Entities", fill_value=0),
        width="stretch",
    )
    same = sum(n for one, two, n in cells if one == two)
    st.markdown(
        f"The two agree on {same:,} of {counted(total, 'common entity', 'common entities')} "
        f"({same / total:.1%}). Rows: labels from {plain(str(ref))}. Columns: labels from "
        f"{plain(other)}."
    )
