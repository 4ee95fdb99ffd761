"""Finds counts that are known to be out of date because rows of the source have changed."""

from __future__ import annotations

import numpy as np

from tippers_dagster.campus.spaces.tracking import Grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.occupancy.state import load_state
from tippers_dagster.settings import Settings


def stale_chunks(settings: Settings, space: str, chunks: list[str]) -> list[str]:
    """The chunks whose counts of a space are out of date compared with the source as last observed.

    ``chunks`` must be sorted. The source itself is not checked.

    Raises
    ------
    BadInput
        When there is no such space.
    """
    if not chunks:
        return []
    tree = load_tree(settings)
    at = tree.position(space)
    state = load_state(settings, Grid(tree, _inside(tree, at), chunks))
    level = state.source if tree.is_leaf[at] else state.derived
    row = level.spaces.index(space)
    stale = level.computed[row] & ~(level.fresh[row] & (level.ready[row] | level.sealed))
    return [chunk for chunk, is_stale in zip(chunks, stale.tolist(), strict=True) if is_stale]


def _inside(tree: SpaceTree, at: int) -> np.ndarray:
    """bool per space: the space at a position and everything below it."""
    inside = np.zeros(len(tree), bool)
    inside[at : at + int(tree.size[at])] = True
    return inside
