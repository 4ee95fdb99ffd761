"""Links to Dagster and MLflow."""

from __future__ import annotations

import streamlit as st


def external_link(label: str, address: str, tip: str | None = None) -> None:
    """A quiet link that opens another application."""
    st.link_button(label, address, icon=":material/open_in_new:", type="tertiary", help=tip)
