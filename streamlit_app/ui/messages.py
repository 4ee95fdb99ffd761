"""What goes wrong, told where it happened: what people can mend, and a database that is away."""

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
AWAY = "database_away"


def plain(text: str) -> str:
    """Text of users and data as Markdown that shows it letter by letter."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|$~:&" else c for c in text)
    return escaped.replace("\n", "  \n")


def tell(error: TippersError) -> None:
    """What is wrong, and what to do."""
    hint = f"  \n{plain(error.hint)}" if error.hint else ""
    st.error(plain(error.message) + hint, icon=":material/error:")


@contextmanager
def told() -> Iterator[None]:
    """Show what a person can mend, and that a database is away; all else goes on up."""
    try:
        yield
    except TippersError as error:
        tell(error)
    except unavailable_errors():
        st.session_state[AWAY] = True
        st.warning(
            "The database does not answer at the moment. Nothing that was saved is lost; this page "
            "comes back by itself when the database does.",
            icon=":material/cloud_off:",
        )


@contextmanager
def comes_back() -> Iterator[None]:
    """Around a page: while a database is away, try the page again and again.

    Here alone, and not in fragments: where a fragment within another one is drawn while the outer
    is due again, Streamlit 1.67 drops the outer's elements, keeps the inner's, and the browser
    then shows nothing at all ("Bad delta path index").
    """
    st.session_state[AWAY] = False
    yield
    if st.session_state[AWAY]:
        runs = count()

        def look_again() -> None:
            if next(runs):  # on the first the page has just failed
                st.rerun(scope="app")

        st.fragment(look_again, run_every=RETRY_SECONDS)()


def live(seconds: float | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A fragment that runs again by itself, and tells what goes wrong in it as a page does."""

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(body)
        def begin(*args: Any, **kwargs: Any) -> None:
            runs = count()

            @wraps(body)
            def guarded() -> None:
                with told():
                    body(*args, **kwargs)
                if next(runs) and st.session_state.get(AWAY):
                    st.rerun(scope="app")  # the first run is the page's own, which sees to it

            st.fragment(guarded, run_every=seconds)()

        return begin

    return decorate
