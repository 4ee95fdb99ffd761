"""The spaces inside a space, by how busy they are."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from streamlit_app.services.occupancy import children
from streamlit_app.services.occupancy.children import Rank
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import moment, span
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS, space_facts, space_tree
from streamlit_app.ui.charts import ranked_bars
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.context import (
    FIGURE_FORMATS,
    SECONDS,
    Context,
    figure_columns,
    log_span,
    peak_in_words,
    peak_parts,
    what_is_counted,
)
from tippers_dagster.occupancy.reading import Count
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

MAX_BARS = 15


def show(context: Context, window: Window, width: int) -> None:
    """The children of the space, ranked by their peaks."""
    if context.tree.is_leaf[context.tree.index[context.space]]:
        st.info(
            f"{plain(context.name)} has no spaces inside. Use the names above the title to go up "
            "and see how it ranks among its neighbours.",
            icon=":material/info:",
        )
        return
    ranks = _ranking(context.settings, context.space, window, context.count)
    computed = [r for r in ranks if r.figures.peak is not None]
    if not computed:
        st.info("No space inside is computed in this window.", icon=":material/pending:")
        return
    first = computed[0]
    assert first.figures.peak_at is not None
    sentence = (
        f"{span(window)}: **{plain(first.name)}** is the busiest of "
        f"{counted(len(ranks), 'space')} inside {plain(context.name)}, with a peak of "
        f"{peak_in_words(first.figures)} in an hour ({moment(first.figures.peak_at)})."
    )
    st.markdown(sentence)
    rows = pd.DataFrame(
        [
            {"name": _label(r, ranks), "what": what, "peak": peak}
            for r in computed[:MAX_BARS]
            for what, peak in peak_parts(r.figures).items()
        ]
    )
    part = None if context.count == "devices" else "what"
    title = f"Peak, {context.unit} in an hour"
    chart = ranked_bars(rows, value="peak", name="name", title=title, part=part)
    st.altair_chart(chart, alt=sentence.replace("*", "").replace("\\", ""))
    _table(context, ranks)
    _explain(context, ranks)


@st.cache_data(ttl=SECONDS, max_entries=100, show_spinner=False, hash_funcs=HASH_FUNCS)
def _ranking(settings: Settings, space: str, window: Window, count: Count) -> list[Rank]:
    tree, known = space_tree(settings), space_facts(settings)
    return children.ranking(settings, tree, known, space, window, log_span(settings), count)


def _table(context: Context, ranks: list[Rank]) -> None:
    table = pd.DataFrame(
        [
            {
                "Space": _label(r, ranks),
                "Type": r.type,
                "Spaces inside": r.children,
                **figure_columns(r.figures, context),
                "Utilisation at peak": _utilisation(r),
                "Hours not computed": r.figures.missing_bins,
            }
            for r in ranks
        ]
    )
    for column in ("Utilisation at peak", "Type"):
        if not table[column].any():
            table = table.drop(columns=column)
    picked = st.dataframe(
        table,
        hide_index=True,
        key="occupancy ranking",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "Spaces inside": st.column_config.NumberColumn(format="localized"),
            "Hours not computed": st.column_config.NumberColumn(format="localized"),
            **FIGURE_FORMATS,
            "Utilisation at peak": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1
            ),
        },
    )
    if picked.selection.rows:
        state.put(space=ranks[picked.selection.rows[0]].space)
        st.rerun(scope="app")


def _utilisation(one: Rank) -> float | None:
    peak = one.figures.peak
    return peak / one.capacity if peak and one.capacity else None


def _label(one: Rank, ranks: list[Rank]) -> str:
    same = sum(r.name == one.name for r in ranks) > 1
    return f"{one.name} ({one.space})" if same else one.name


def _explain(context: Context, ranks: list[Rank]) -> None:
    once = "device" if context.count == "devices" else "person or device"
    text = f"Select a row to open the space. A {once} seen in two spaces counts in both."
    total = len(context.tree.children(context.space))
    if total > len(ranks):
        text += f" Showing the {len(ranks):,} of {total:,} spaces with the highest peaks."
    missing = [r.name for r in ranks if r.figures.peak is None]
    if missing:
        text += f" Not computed: {plain(', '.join(missing[:5]))}"
        text += f" and {len(missing) - 5:,} more." if len(missing) > 5 else "."
    st.caption(f"{text} {what_is_counted(context)}")
