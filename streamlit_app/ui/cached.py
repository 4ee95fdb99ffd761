"""What several pages read and what seldom changes, kept for a moment for all sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tippers_dagster.campus.spaces.facts import Facts, load_facts
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.settings import Settings

SECONDS = 30
"""A space that came to the source shows after so long."""


def by_place(settings: Settings) -> str:
    """What tells deployments apart in a cache."""
    return f"{settings.home_path} {settings.lake_url} {settings.source_schema}"


SAME: dict[str | type[Any], Callable[[Any], Any]] = {Settings: by_place}
"""For ``hash_funcs``."""


@st.cache_resource(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def space_tree(settings: Settings) -> SpaceTree:
    """All spaces; not to be changed. Raises SourceError when there are none."""
    return load_tree(settings)


@st.cache_resource(ttl=SECONDS, show_spinner=False, hash_funcs=SAME)
def space_facts(settings: Settings) -> dict[str, Facts]:
    """What is known of spaces beside the tree, by id; not to be changed."""
    return load_facts(settings)
