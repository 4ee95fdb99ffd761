"""The state that one tick of occupancy's automation decides on, and its condition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import dagster as dg
import numpy as np

from tippers_dagster.automation.conditions import Sealed, up_to_date
from tippers_dagster.occupancy.partitions import partition_key, sync_partitions
from tippers_dagster.occupancy.runs import ActiveRun, active_runs
from tippers_dagster.occupancy.state import Level, State, load_state
from tippers_dagster.settings import Settings, get_settings

MAX_NAMED = 2_000
"""Of more stale partitions of an asset than this, only one in each chunk is named to Dagster, which
makes a run request of each: a run of automation computes all that are stale in its chunks."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state that one tick decides on. Active runs are listed first: a run that ends while the
    rest is read hides its partitions for one more tick, and no partition is requested twice.
    """

    settings: Settings
    runs: list[ActiveRun]
    state: State
    keys: dict[str, tuple[list[str], list[str]]]

    @classmethod
    def take(cls, instance: dg.DagsterInstance) -> Snapshot:
        """Read the runs, match Dagster's partitions to the tracked ones, and read the state."""
        settings = get_settings()
        runs = active_runs(instance)
        partitions = sync_partitions(settings, instance)
        state = load_state(settings, partitions.grid, partitions.sources)
        return cls(settings, runs, state, partitions.keys)

    def being_computed(self, level: Level) -> np.ndarray:
        """bool [spaces, chunks]: an unfinished run covers it."""
        masks = [
            run.mask(level, *self.keys[level.asset])
            for run in self.runs
            if run.onward or run.asset == level.asset
        ]
        return np.logical_or.reduce([np.zeros(level.stale.shape, bool), *masks])

    @cached_property
    def names(self) -> dict[str, np.ndarray]:
        """Partition keys [spaces, chunks] of every asset."""
        return {
            level.asset: np.array(
                [[partition_key(level.asset, s, c) for c in level.chunks] for s in level.spaces],
                dtype=object,
            ).reshape(level.stale.shape)
            for level in self.state.levels
        }

    def where(self, state: str, asset: str) -> bool | set[str]:
        """The partitions of an asset that are in a state, for the automation conditions."""
        level = self.state.level(asset)
        mask = self._mask(state, level)
        return True if mask.all() else set(self.names[asset][mask])

    def due(self, level: Level) -> np.ndarray:
        """bool [spaces, chunks]: automation may request it now."""
        busy, held = self.being_computed(level), level.held_back(self.settings)
        due: np.ndarray = level.stale & level.computable & ~busy & ~held
        return due

    def _mask(self, state: str, level: Level) -> np.ndarray:
        """bool [spaces, chunks]."""
        if state == "being_computed":
            return self.being_computed(level)
        if state == "held_back":
            return level.held_back(self.settings)
        if state == "stale" and level.stale.sum() > MAX_NAMED:
            due = self.due(level)
            first = due.argmax(axis=0), np.arange(due.shape[1])
            named = np.zeros_like(due)
            named[first] = due[first]
            return named
        found = {"stale": level.stale, "ready": level.computable, "sealed": level.sealed}[state]
        return np.broadcast_to(found, level.stale.shape)


def keep_up_to_date() -> dg.AutomationCondition:
    """Keep every tracked partition up to date with its inputs, unless its chunk is sealed."""
    return up_to_date() & ~Sealed()
