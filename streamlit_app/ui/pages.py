"""Going from one page to another, with what it is to show."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st


def page(path: str) -> st.Page:
    """A page of the navigation by its path, as ``definitions``; for links and for going there."""
    return st.Page(_never, title=path.capitalize(), url_path=path)


def go(path: str, **query: str) -> NoReturn:
    """Show another page now. ``query``: parameters of its address; those left empty are left out.

    To be called in a run of the page or of a fragment, not in a callback.
    """
    st.switch_page(page(path), query_params={k: v for k, v in query.items() if v})


def _never() -> None:
    """Stands for a page's function: the navigation has the real one."""
