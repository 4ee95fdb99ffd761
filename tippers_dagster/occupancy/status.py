"""Progress of each level, for status displays and datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.partitions import dagster_keys, partition_key
from tippers_dagster.occupancy.runs import active_runs
from tippers_dagster.occupancy.snapshot import Snapshot
from tippers_dagster.occupancy.state import load_state
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

MAX_EXAMPLES = 5


@dataclass(frozen=True)
class LevelStatus:
    """Numbers of partitions of one asset. ``stale`` excludes running and failed partitions;
    ``sealed`` are done partitions of which only counts are kept.
    """

    asset: str
    wanted: int
    done: int
    running: int
    stale: int
    failed: int
    failed_examples: list[str]
    sealed: int = 0

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """The numbers in the order of the fields, without ``sealed``."""
        return self.wanted, self.done, self.running, self.stale, self.failed


def occupancy_status(settings: Settings) -> list[LevelStatus]:
    """Progress of all levels of the tracked grid, upstream first."""
    with dagster_instance(settings) as instance:
        return level_statuses(Snapshot.take(instance))


def look(settings: Settings, instance: DagsterInstance) -> list[LevelStatus]:
    """The same without changing anything, cheap enough for frequent calls.

    Partitions that are not in Dagster yet count as stale.
    """
    return level_statuses(snapshot_as_it_is(settings, instance))


def snapshot_as_it_is(settings: Settings, instance: DagsterInstance) -> Snapshot:
    """A snapshot whose partitions in Dagster may differ from the tracked ones."""
    runs = active_runs(instance)
    grid = wanted_grid(settings, load_tree(settings))
    keys = dagster_keys(instance)
    return Snapshot(settings, runs, load_state(settings, grid), keys)


def level_statuses(snapshot: Snapshot) -> list[LevelStatus]:
    """Progress of all levels of a snapshot, upstream first."""
    settings = snapshot.settings
    found = []
    for level in snapshot.state.levels:
        running = level.stale & snapshot.being_computed(level)
        failed = level.failed_for_good(settings) & ~running
        rows, columns = np.nonzero(failed)
        examples = zip(rows[:MAX_EXAMPLES], columns[:MAX_EXAMPLES], strict=True)
        found.append(
            LevelStatus(
                level.asset,
                wanted=level.stale.size,
                done=int(level.fresh.sum()),
                running=int(running.sum()),
                stale=int((level.stale & ~running & ~failed).sum()),
                failed=int(failed.sum()),
                failed_examples=[
                    partition_key(level.asset, level.spaces[row], level.chunks[column])
                    for row, column in examples
                ],
                sealed=int(level.sealed.sum()) * len(level.spaces),
            )
        )
    return found
