"""The queue of runs: one slot is kept for occupancy, and one more for that of the last hours.

Definitions can run for many minutes, as can occupancy of many old weeks, and a person can start any
number of runs. The newest counts have to be seconds old all the same. Dagster limits runs by their
tags, and runs that are started on its pages have none, so this queue tags them as they come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from dagster import DagsterRun, Field, QueuedRunCoordinator, SubmitRunContext

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import RunQueueConfig

OTHERS_TAG, OTHERS = "tippers/queue", "others"
"""The tag of runs that do not get the last slot."""

SLOT_TAG, COMMON, LIVE = "tippers/slot", "common", "live"
"""The tag that tells which slots a run may have: the common ones, or the one for live counts."""

PRIORITY_TAG, LOW, HIGH = "dagster/priority", "-1", "1"

LIVE_TAGS = {SLOT_TAG: LIVE, PRIORITY_TAG: HIGH}
"""The tags of runs that compute the counts of the last hours."""


class RunQueue(QueuedRunCoordinator):
    """Dagster's queue; runs of other assets than ``first`` use all slots but one.

    With a single slot all runs share it; those of ``first`` are then started first. Runs with
    ``LIVE_TAGS`` have a slot beyond these.

    Parameters
    ----------
    first
        Names of the assets that one slot is kept for.
    """

    def __init__(self, first: Sequence[str], **config: Any) -> None:
        super().__init__(**config)
        self._first = frozenset(first)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """The fields of Dagster's queue, and ``first``."""
        fields: Any = super().config_type()
        return {**fields, "first": Field([str])}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """The queue that ``dagster.yaml`` describes."""
        return cls(inst_data=inst_data, **config_value)

    def get_run_queue_config(self) -> RunQueueConfig:
        """Dagster's limits, and that of other runs."""
        config = super().get_run_queue_config()
        slots = config.max_concurrent_runs
        if slots < 0:  # no limit
            return config
        limits = [
            {"key": OTHERS_TAG, "value": OTHERS, "limit": max(1, slots - 1)},
            {"key": SLOT_TAG, "value": COMMON, "limit": slots},
            {"key": SLOT_TAG, "value": LIVE, "limit": 1},
        ]
        return config._replace(
            max_concurrent_runs=slots + 1,
            tag_concurrency_limits=[*config.tag_concurrency_limits, *limits],
        )

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Put a run into the queue."""
        run = context.dagster_run
        chosen = {key.to_user_string() for key in run.asset_selection or ()}
        others = not chosen or chosen - self._first
        tags = {PRIORITY_TAG: LOW, **run.tags, OTHERS_TAG: OTHERS} if others else dict(run.tags)
        if others or tags.get(SLOT_TAG) != LIVE:
            self._instance.add_run_tags(run.run_id, {**tags, SLOT_TAG: COMMON})
        return super().submit_run(context)
