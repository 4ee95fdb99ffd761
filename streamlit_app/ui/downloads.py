"""Buttons that download a table in each file format."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from streamlit_app.services.exports import FORMATS, MIME
from tippers_dagster.platform.table_files import Format


def download_buttons(export: Callable[[Format], bytes], name: str, *, key: str) -> None:
    """One button per format; ``export`` makes the file only when its button is pressed.

    Parameters
    ----------
    name
        The file's name, without its ending.
    """
    for kind, title in FORMATS.items():
        st.download_button(
            title,
            partial(export, kind),
            file_name=f"{name}.{kind}",
            mime=MIME[kind],
            key=f"{key} {kind}",
            on_click="ignore",
            icon=":material/download:",
        )
