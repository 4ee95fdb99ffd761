"""Errors on pages: those that people can fix, and an unavailable database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from typing import Any

import streamlit as st

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.postgres.unavailable import unavailable_errors

RETRY_SECONDS = 3
UNAVAILABLE = "database_unavailable"


def plain(text: str) -> str:
    """Escape text from people and data as Markdown that shows it literally."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|$~:&" else c for c in text)
    return escaped.replace("\n", "  \n")


def show_error(error: TippersError) -> None:
    """Show an error and its hint."""
    hint = f"  \n{plain(error.hint)}" if error.hint else ""
    st.error(plain(error.message) + hint, icon=":material/error:")


@contextmanager
def show_errors() -> Iterator[None]:
    """Show errors that people can fix, and an unavailable database; others are raised."""
    try:
        yield
    except TippersError as error:
        show_error(error)
    except unavailable_errors():
        st.session_state[UNAVAILABLE] = True
        st.warning(
            "The database is unavailable. Nothing saved is lost. This page tries again "
            "automatically.",
            icon=":material/cloud_off:",
        )


@contextmanager
def retry_while_unavailable() -> Iterator[None]:
    """Rerun the page regularly while a database is unavailable.

    Around pages only, not in fragments: if a nested fragment is drawn while the outer one is due
    again, Streamlit 1.67 drops the outer one's elements but keeps the inner one's, and the browser
    shows an empty page ("Bad delta path index").
    """
    st.session_state[UNAVAILABLE] = False
    yield
    if st.session_state[UNAVAILABLE]:
        runs = count()

        def retry() -> None:
            if next(runs):  # the first run follows the failed page at once
                st.rerun(scope="app")

        st.fragment(retry, run_every=RETRY_SECONDS)()


def live(seconds: float | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a fragment that reruns every ``seconds`` (None: never) and shows errors like a page."""

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(body)
        def begin(*args: Any, **kwargs: Any) -> None:
            runs = count()

            @wraps(body)
            def guarded() -> None:
                with show_errors():
                    body(*args, **kwargs)
                if next(runs) and st.session_state.get(UNAVAILABLE):
                    st.rerun(scope="app")  # after the first run, the page itself does this

            st.fragment(guarded, run_every=seconds)()

        return begin

    return decorate
