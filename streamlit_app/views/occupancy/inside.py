"""The spaces inside a space, by how busy they are."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from streamlit_app.services import occupancy as service
from streamlit_app.services.occupancy import Rank, Window
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME, space_facts, space_tree
from streamlit_app.ui.charts import ranked_bars
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.shown import SECONDS, Shown, log_span, moment, span
from tippers_dagster.settings import Settings

CHARTED = 15


def show(shown: Shown, window: Window, width: int) -> None:
    """The ranking of the children."""
    if shown.tree.is_leaf[shown.tree.index[shown.space]]:
        st.info(
            f"{plain(shown.name)} has no spaces inside. Go up by the names above the title to see "
            "how it ranks among its neighbours.",
            icon=":material/info:",
        )
        return
    ranks = _ranking(shown.settings, shown.space, window)
    counted = [r for r in ranks if r.peak is not None]
    if not counted:
        st.info("Nothing inside is computed in this window.", icon=":material/pending:")
        return
    first = counted[0]
    assert first.peak_at is not None
    said = (
        f"{span(window)}: of {len(ranks):,} spaces inside {plain(shown.name)}, the busiest is "
        f"**{plain(first.name)}** with at most {first.peak:,} devices in an hour "
        f"({moment(first.peak_at)})."
    )
    st.markdown(said)
    rows = pd.DataFrame([{"name": _label(r, ranks), "peak": r.peak} for r in counted[:CHARTED]])
    chart = ranked_bars(rows, value="peak", name="name", title="Peak, devices in an hour")
    st.altair_chart(chart, alt=said.replace("*", "").replace("\\", ""))
    _table(ranks)
    _say_what(shown, ranks)


@st.cache_data(ttl=SECONDS, max_entries=100, show_spinner=False, hash_funcs=SAME)
def _ranking(settings: Settings, space: str, window: Window) -> list[Rank]:
    tree, known = space_tree(settings), space_facts(settings)
    return service.ranking(settings, tree, known, space, window, log_span(settings))


def _table(ranks: list[Rank]) -> None:
    table = pd.DataFrame(
        [
            {
                "Space": _label(r, ranks),
                "Type": r.type,
                "Spaces below": r.children,
                "Peak, devices": r.peak,
                "Peak at": r.peak_at,
                "Mean, devices": r.mean,
                "Utilisation at peak": r.peak / r.capacity if r.peak and r.capacity else None,
                "Hours not computed": r.missing_bins,
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
            "Spaces below": st.column_config.NumberColumn(format="localized"),
            "Peak, devices": st.column_config.NumberColumn(format="localized"),
            "Hours not computed": st.column_config.NumberColumn(format="localized"),
            "Mean, devices": st.column_config.NumberColumn(format="%.1f"),
            "Peak at": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            "Utilisation at peak": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1
            ),
        },
    )
    if picked.selection.rows:
        state.put(space=ranks[picked.selection.rows[0]].space)
        st.rerun(scope="app")


def _label(one: Rank, ranks: list[Rank]) -> str:
    same = sum(r.name == one.name for r in ranks) > 1
    return f"{one.name} ({one.space})" if same else one.name


def _say_what(shown: Shown, ranks: list[Rank]) -> None:
    told = "Select a row to go there. A device that was in two of them counts in both."
    children = len(shown.tree.children(shown.space))
    if children > len(ranks):
        told += f" These are the {len(ranks):,} with the highest peaks of {children:,}."
    lacking = [r.name for r in ranks if r.peak is None]
    if lacking:
        told += f" Not computed: {plain(', '.join(lacking[:5]))}"
        told += f" and {len(lacking) - 5:,} more." if len(lacking) > 5 else "."
    st.caption(told)
