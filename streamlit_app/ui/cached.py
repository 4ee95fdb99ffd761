"""Reads that several pages share and that seldom change, cached briefly for all sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tippers_dagster.campus.spaces.facts import Facts, load_facts
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.settings import Settings

SECONDS = 30
"""How long a new space in the source takes to appear."""


def deployment_key(settings: Settings) -> str:
    """A text that is different for every deployment."""
    return f"{settings.home_path} {settings.lake_url} {settings.source_schema}"


HASH_FUNCS: dict[str | type[Any], Callable[[Any], Any]] = {Settings: deployment_key}
"""The ``hash_funcs`` of every cache whose function takes settings."""


@st.cache_resource(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def space_tree(settings: Settings) -> SpaceTree:
    """All spaces; do not modify them, as they are shared. Raises SourceError without spaces."""
    return load_tree(settings)


@st.cache_resource(ttl=SECONDS, show_spinner=False, hash_funcs=HASH_FUNCS)
def space_facts(settings: Settings) -> dict[str, Facts]:
    """Facts about spaces besides the tree, by id; do not modify them, as they are shared."""
    return load_facts(settings)
