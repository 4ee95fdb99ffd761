"""Automation conditions of definition assets.

All are evaluated on one ``Snapshot`` per tick, and hold as long as the asset's state does.
Dagster's own conditions on changes hold for one tick: a change that a failed run misses is lost.
"""

from __future__ import annotations

from contextvars import ContextVar

import dagster as dg

from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.errors import TippersError

CURRENT: ContextVar[Snapshot | None] = ContextVar("definitions_snapshot", default=None)
"""The snapshot of the current tick."""


class _SnapshotCondition(dg.AutomationCondition):
    """A condition that reads the snapshot of the current tick."""

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        snapshot = CURRENT.get()
        if snapshot is None:
            raise TippersError(
                "Only the sensor definitions_automation can evaluate conditions of definitions."
            )
        name = "/".join(context.key.path)
        true = self._holds(snapshot, name)
        subset = context.candidate_subset if true else context.get_empty_subset()
        return dg.AutomationResult(context, subset)

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        raise NotImplementedError


class Stale(_SnapshotCondition):
    """The asset is missing, its definition or inputs have changed, or it is due for a sync."""

    description = "Not computed from its current definition and inputs"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.stale


class Ready(_SnapshotCondition):
    """All inputs are up to date, or requested in the same run."""

    description = "All inputs are up to date, or computed in the same run"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.ready


class BeingComputed(_SnapshotCondition):
    """An unfinished run includes the asset."""

    description = "Included in an unfinished run"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.running


class HeldBack(_SnapshotCondition):
    """The asset failed, and its next attempt is not due yet."""

    description = "Failed, and waiting for the next attempt"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.held_back


def up_to_date() -> dg.AutomationCondition:
    """Keep an asset up to date with its definition and its inputs.

    Each version gets some attempts with growing delays between them, and then occasional ones, so
    that a broken definition neither causes constant runs nor delays other assets.
    """
    return Stale() & Ready() & ~BeingComputed() & ~HeldBack()
