"""When occupancy is computed: declarative conditions that are levels, never events.

``missing | inputs_changed`` says what lacks; the others hold it back while it cannot or should
not be computed. All are read from one ``State`` per tick. Dagster's own conditions on change
are true for one tick only: what a failed run or a busy moment swallows is then lost for good.
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
    """What one tick decides on. The active runs are listed before anything else is read: a run
    that ends meanwhile hides its partitions for one more tick, and none is asked for twice.
    """

    settings: Settings
    runs: list[ActiveRun]
    state: State
    keys: dict[str, tuple[list[str], list[str]]]

    @classmethod
    def take(cls, instance: dg.DagsterInstance) -> Snapshot:
        """Read the runs, bring the partitions up to date with what is tracked, read the state."""
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
    """True for the partitions where an array of the tick's state is."""

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
    """The inputs differ from those of the last computation, or there was none."""

    description = "Inputs differ from those it was computed from"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return level.stale


class InputsReady(_LevelCondition):
    """Everything that it is computed from is itself up to date."""

    description = "All inputs are up to date"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return level.ready


class BeingComputed(_LevelCondition):
    """An unfinished run covers it."""

    description = "An unfinished run covers it"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return snapshot.being_computed(level)


class HeldBack(_LevelCondition):
    """It failed: the next try is not due yet."""

    description = "Failed before: waiting for the next try"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return level.held_back(snapshot.settings)


class Sealed(_LevelCondition):
    """Only the counts of its chunk are kept: it can never be computed again."""

    description = "Only the counts of its chunk are kept"

    def _holds(self, snapshot: Snapshot, level: Level) -> np.ndarray:
        return np.broadcast_to(level.sealed, level.stale.shape)


def up_to_date() -> dg.AutomationCondition:
    """Keep every tracked partition computed from its present inputs.

    Each state of the inputs has some tries with a growing wait between them, then one now and
    then: a broken partition must neither be hammered nor hold up the others.
    """
    lacking = (dg.AutomationCondition.missing() | InputsChanged()).with_label("missing_or_stale")
    return lacking & InputsReady() & ~BeingComputed() & ~HeldBack() & ~Sealed()
