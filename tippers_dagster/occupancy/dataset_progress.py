"""The progress of a dataset's partitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tippers_dagster.campus.local_time import chunk_keys
from tippers_dagster.campus.spaces.tracking import Grid, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.datasets import Dataset
from tippers_dagster.occupancy.state import load_state
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Progress:
    """Numbers of partitions of one asset that a dataset needs, and of those up to date."""

    asset: str
    wanted: int
    done: int


@dataclass(frozen=True)
class DatasetProgress:
    """Progress of each asset, upstream first; ``tracked``: automation will compute the rest."""

    levels: list[Progress]
    tracked: bool


def progress(settings: Settings, dataset: Dataset) -> DatasetProgress:
    """Count a dataset's partitions.

    Raises
    ------
    BadInput
        When its space is no longer in the tree.
    """
    tree = load_tree(settings)
    at = tree.position(dataset.space)
    mask = np.zeros(len(tree), dtype=bool)
    mask[at : at + int(tree.size[at])] = True
    chunks = chunk_keys(dataset.start, dataset.end, settings.chunk)
    state = load_state(settings, Grid(tree, mask, chunks))
    tracked = wanted_grid(settings, tree)
    return DatasetProgress(
        [
            Progress(level.asset, level.fresh.size, int(np.count_nonzero(level.fresh)))
            for level in state.counting
        ],
        tracked=bool(tracked.tracked[mask].all()) and set(chunks).issubset(tracked.chunks),
    )
