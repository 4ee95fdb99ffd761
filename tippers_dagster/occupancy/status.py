"""How far each level is: what people are told, and what a dataset shows of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tippers_dagster.local.environment import dagster_instance
from tippers_dagster.occupancy.conditions import Snapshot
from tippers_dagster.settings import Settings

EXAMPLES = 5


@dataclass(frozen=True)
class LevelStatus:
    """Numbers of partitions of one asset; ``stale`` are those neither done, running nor failed."""

    asset: str
    wanted: int
    done: int
    running: int
    stale: int
    failed: int
    failed_examples: list[str]

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """In the order of the fields."""
        return self.wanted, self.done, self.running, self.stale, self.failed


def occupancy_status(settings: Settings) -> list[LevelStatus]:
    """Progress of every level of the tracked grid, upstream first."""
    with dagster_instance(settings) as instance:
        snapshot = Snapshot.take(instance)
    found = []
    for level in snapshot.state.levels:
        running = level.stale & snapshot.being_computed(level)
        failed = level.given_up(settings) & ~running
        rows, columns = np.nonzero(failed)
        names = snapshot.names[level.asset][rows[:EXAMPLES], columns[:EXAMPLES]]
        found.append(
            LevelStatus(
                level.asset,
                wanted=level.stale.size,
                done=int(level.fresh.sum()),
                running=int(running.sum()),
                stale=int((level.stale & ~running & ~failed).sum()),
                failed=int(failed.sum()),
                failed_examples=names.tolist(),
            )
        )
    return found
