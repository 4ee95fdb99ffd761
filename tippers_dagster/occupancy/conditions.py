"""When occupancy is computed: declarative conditions that are levels, never events.

``missing | inputs_changed`` selects the partitions to compute; the other conditions hold them back
while they cannot or should not be computed. All are read from one ``State`` per tick. Dagster's own
conditions on change are true for one tick only: if a run fails or a tick is skipped, the change is
lost for good.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

import dagster as dg
import numpy as np

from tippers_dagster.occupancy.partitions import partition_key, sync_partitions
from tippers_dagster.occupancy.runs import ActiveRun, active_runs
from tippers_dagster.occupancy.state import Level, State, load_state
from tippers_dagster.settings import Settings, get_settings


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
            if run.asset == level.asset
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


CURRENT: ContextVar[Snapshot | None] = ContextVar("snapshot", default=None)
"""The snapshot of the tick that is being evaluated."""


class _LevelCondition(dg.AutomationCondition):
    """True for the partitions where an array of the tick's state is true."""

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        snapshot = CURRENT.get() or Snapshot.take(context.asset_graph_view.instance)
        asset = context.key.to_user_string()
        mask = self._holds(snapshot, snapshot.state.level(asset))
        if mask.all():
            return dg.AutomationResult(context, context.candidate_subset)
        keys = set(snapshot.names[asset][mask])
        true = context.candidate_subset.compute_intersection_with_partition_keys(keys)
        return dg.AutomationResult(context, true)

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        """bool [spaces, chunks]."""
        raise NotImplementedError


class InputsChanged(_LevelCondition):
    """The inputs have changed since the last computation, or it was never computed."""

    description = "Inputs have changed since it was computed"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return level.stale


class InputsReady(_LevelCondition):
    """All its inputs are up to date."""

    description = "All inputs are up to date"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return level.ready


class BeingComputed(_LevelCondition):
    """An unfinished run covers it."""

    description = "An unfinished run covers it"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return snapshot.being_computed(level)


class HeldBack(_LevelCondition):
    """It failed, and the next retry is not due yet."""

    description = "Failed: waiting for the next retry"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return level.held_back(snapshot.settings)


class Sealed(_LevelCondition):
    """Only the counts of its chunk are kept: it can never be recomputed."""

    description = "Only the counts of its chunk are kept"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return np.broadcast_to(level.sealed, level.stale.shape)


def up_to_date() -> dg.AutomationCondition:
    """Keep every tracked partition up to date with its inputs.

    A failing partition is retried a few times with growing delays, then only occasionally, until
    its inputs change: it must neither be retried in a tight loop nor hold up the others.
    """
    needed = (dg.AutomationCondition.missing() | InputsChanged()).with_label("missing_or_stale")
    return needed & InputsReady() & ~BeingComputed() & ~HeldBack() & ~Sealed()
