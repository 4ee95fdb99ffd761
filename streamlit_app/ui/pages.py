"""Links and navigation between pages, with query parameters."""

from __future__ import annotations

import time
from typing import NoReturn

import streamlit as st

REQUEST_SECONDS = 0.25
"""How long a request from the browser may be in flight."""

_TARGET = "pages.target"


def page(path: str) -> st.Page:
    """A page by its path, such as ``definitions``; for links and for ``st.switch_page``."""
    return st.Page(_never, title=path.capitalize(), url_path=path)


def go(path: str, **query: str) -> NoReturn:
    """Show another page now. ``query``: parameters of its address; empty ones are left out.

    Call it in a run of the page or of a fragment, not in a callback.
    """
    st.session_state[_TARGET] = (path, {k: v for k, v in query.items() if v})
    st.rerun(scope="app")


def finish_navigation() -> None:
    """Switch to the page that ``go`` was called for; call it before a page runs.

    A fragment with a timer may still be requested before the browser knows of the new page. If
    such a request arrives after the switch, the page stays empty. So the browser first gets a run
    without fragments, which stops their timers, and time for its pending requests to arrive.
    """
    target = st.session_state.pop(_TARGET, None)
    if target is None:
        return
    path, query = target
    time.sleep(REQUEST_SECONDS)
    st.switch_page(page(path), query_params=query)


def _never() -> None:
    """A placeholder: the navigation has the page's real function."""
