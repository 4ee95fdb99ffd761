"""Runs of the occupancy assets: which are active, what they cover, and their locks.

Locks are PostgreSQL advisory locks, which are released at once when their process dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import numpy as np

from tippers_dagster.automation.orphaned_runs import fail_dead_runs_of_assets
from tippers_dagster.occupancy.partitions import split_key
from tippers_dagster.occupancy.state import ASSETS, READS, Level
from tippers_dagster.platform.locks.locks import advisory_locks, hold_run_lock
from tippers_dagster.platform.memory import wait_for_memory
from tippers_dagster.settings import Settings

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
ONE_KEY_TAG = "dagster/partition"

ONWARD_TAG = "tippers/onward"
"""Tag of automation's runs. Such a run computes what is stale in its chunks: of its own asset, and
then of all that follow. Its value is when the run was requested, in Unix seconds.
"""

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class ActiveRun:
    """An unfinished run of one of the occupancy assets, and the corners of its partition range.

    ``onward``: it computes all that follows in its chunks, too.
    """

    run_id: str
    asset: str
    status: dg.DagsterRunStatus
    first: tuple[str, str]
    last: tuple[str, str]
    onward: bool = False

    def mask(self, level: Level, rows: list[str], columns: list[str]) -> np.ndarray:
        """bool [spaces, chunks] of the level: the partitions that the run covers.

        ``rows`` and ``columns`` are the keys in Dagster's order, which its range follows.
        """
        covered = level.spaces if self.onward else keys_between(rows, self.first[0], self.last[0])
        chunks = keys_between(columns, self.first[1], self.last[1])
        return np.outer(
            [space in covered for space in level.spaces], [c in chunks for c in level.chunks]
        )


def active_runs(instance: dg.DagsterInstance) -> list[ActiveRun]:
    """Unfinished runs that materialize partitions of the occupancy assets."""
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        first = run.tags.get(RANGE_START_TAG) or run.tags.get(ONE_KEY_TAG)
        last = run.tags.get(RANGE_END_TAG) or first
        for key in run.asset_selection or ():
            asset = key.to_user_string()
            if asset in ASSETS and first and last:
                corners = split_key(asset, first), split_key(asset, last)
                onward = ONWARD_TAG in run.tags
                found.append(ActiveRun(run.run_id, asset, run.status, *corners, onward))
    return found


def fail_dead_runs(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Mark started runs whose process has died as failed; returns their ids."""
    return fail_dead_runs_of_assets(settings, instance, set(ASSETS))


@contextmanager
def run_locks(
    settings: Settings, run_id: str, asset: str, chunks: list[str], log: dg.DagsterLogManager
) -> Iterator[None]:
    """Hold the run's own lock until the process ends, and the locks of its chunks in the block.

    Two runs never compute the same chunk of an asset at once, and no run computes what another is
    reading: the second waits.
    """
    hold_run_lock(settings, run_id)
    wait_for_memory(settings, log)  # before taking locks, so that no run waits for this one
    names = [f"chunk {locked} {chunk}" for locked in {READS[asset], asset} for chunk in chunks]
    with advisory_locks(settings, names, log):
        yield


def keys_between(keys: list[str], first: str, last: str) -> set[str]:
    """Keys from one to another; only these two if either no longer exists."""
    if first in keys and last in keys:
        return set(keys[keys.index(first) : keys.index(last) + 1])
    return {first, last}
