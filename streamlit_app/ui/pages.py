"""Going from one page to another, with what it is to show."""

from __future__ import annotations

import time
from typing import NoReturn

import streamlit as st

LAST_WORDS_SECONDS = 0.25
"""How long a request of the browser may be under way."""

_GOING = "pages.going"


def page(path: str) -> st.Page:
    """A page of the navigation by its path, as ``definitions``; for links and for going there."""
    return st.Page(_never, title=path.capitalize(), url_path=path)


def go(path: str, **query: str) -> NoReturn:
    """Show another page now. ``query``: parameters of its address; those left empty are left out.

    To be called in a run of the page or of a fragment, not in a callback.
    """
    st.session_state[_GOING] = (path, {k: v for k, v in query.items() if v})
    st.rerun(scope="app")


def arrive() -> None:
    """Show the page that ``go`` was called for; to be called before a page is run.

    A fragment that runs by itself may be asked for while the browser does not know of the other
    page yet; such a request, come later than the change of pages, would leave an empty page. So
    the browser first gets a run without fragments, which ends their timers, and the time to say
    what it had said by then.
    """
    going = st.session_state.pop(_GOING, None)
    if going is None:
        return
    path, query = going
    time.sleep(LAST_WORDS_SECONDS)
    st.switch_page(page(path), query_params=query)


def _never() -> None:
    """Stands for a page's function: the navigation has the real one."""
