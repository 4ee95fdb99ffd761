"""Rejected rows by reason and by access point, of a preview and of a load."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import streamlit as st

from streamlit_app.services import log_files as service
from tippers_dagster.platform.text import counted


def show_counts(reasons: pd.DataFrame, unknown: Counter[str], remedy: str) -> None:
    """Tables beside each other; nothing if no row is rejected.

    ``remedy``: what to do once the coverage of the unknown access points is loaded.
    """
    if reasons.empty:
        return
    left, right = st.columns(2)
    with left:
        st.markdown("**Rejected rows by reason**")
        st.dataframe(reasons, hide_index=True, width="stretch", height=_height(len(reasons)))
    if not unknown:
        return
    with right:
        names = counted(len(unknown), "unknown access point")
        st.markdown(f"**{names}, by rejected rows**")
        table = service.access_points_table(unknown)
        st.dataframe(table, hide_index=True, width="stretch", height=_height(len(table)))
        st.caption(
            "No space is covered by them. Load their coverage with `tippers ingest "
            f"region-to-coverage FILE`, {remedy}."
        )


def _height(rows: int) -> int:
    """The height of a table in pixels, for up to six rows."""
    return 38 + 35 * min(max(rows, 1), 6)
