"""What goes wrong, told where it happened: what people can mend, and a database that is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import psycopg2
import sqlalchemy as sa
import streamlit as st
from adbc_driver_manager import OperationalError as AdbcOperationalError

from tippers_dagster.errors import TippersError

RETRY_SECONDS = 3


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
    """Show what a person can mend, and wait for a database that is away; all else goes on up."""
    try:
        yield
    except TippersError as error:
        tell(error)
    except _away():
        _wait_for_database()


def _away() -> tuple[type[Exception], ...]:
    """What is raised when a database does not answer."""
    from dagster_postgres.utils import DagsterPostgresException  # it takes seconds

    return (
        sa.exc.OperationalError,
        sa.exc.InterfaceError,
        psycopg2.OperationalError,
        psycopg2.InterfaceError,
        AdbcOperationalError,
        DagsterPostgresException,
    )


def live(seconds: float | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A fragment that runs again by itself, and tells what goes wrong in it as a page does."""

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> None:
            with told():
                body(*args, **kwargs)

        return st.fragment(guarded, run_every=seconds)

    return decorate


def _wait_for_database() -> None:
    st.warning(
        "The database does not answer at the moment. Nothing that was saved is lost; this page "
        "comes back by itself when the database does.",
        icon=":material/cloud_off:",
    )
    st.fragment(_look_again, run_every=RETRY_SECONDS)()


def _look_again() -> None:
    """On its first run the page has just failed; from the second on, try the whole page again."""
    key = "database_looked_at"
    if st.session_state.pop(key, False):
        st.rerun(scope="app")
    st.session_state[key] = True
