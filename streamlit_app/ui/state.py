"""The state of a page in the query parameters of its address, so that links share a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import streamlit as st

T = TypeVar("T")


def get(name: str, default: str = "") -> str:
    """A query parameter of the URL, without NULs, which PostgreSQL does not accept."""
    return st.query_params.get(name, default).replace("\0", "")


def put(**values: str | None) -> None:
    """Set query parameters; empty ones are removed."""
    for name, value in values.items():
        if value:
            if st.query_params.get(name) != value:
                st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]


@overload
def one_of(name: str, options: Sequence[T], default: T) -> T: ...
@overload
def one_of(name: str, options: Sequence[T]) -> T | None: ...
def one_of(name: str, options: Sequence[T], default: T | None = None) -> T | None:
    """The option named in the address, or else the default."""
    named = {str(option): option for option in options}
    return named.get(get(name), default)


def linked(
    name: str, options: Sequence[T], default: T, *, key: str, show_default: bool = True
) -> dict[str, Any]:
    """The arguments ``key`` and ``on_change`` of a widget whose choice is kept in the address.

    ``show_default``: whether the default stands in the address, too, once somebody has chosen it.
    """
    st.session_state[key] = one_of(name, options, default)

    def keep() -> None:
        chosen = st.session_state[key]
        put(**{name: str(chosen) if show_default or chosen != default else None})

    return {"key": key, "on_change": keep}
