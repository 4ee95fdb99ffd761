"""When an asset of the definitions is computed: declarative conditions that are levels.

All are read from one ``Snapshot`` per tick. Dagster's own conditions on change are true for one
tick only: what a failed run or a busy moment swallows is then lost for good.
"""

from __future__ import annotations

from contextvars import ContextVar

import dagster as dg

from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.errors import TippersError

CURRENT: ContextVar[Snapshot | None] = ContextVar("definitions_snapshot", default=None)
"""The snapshot of the tick that is being evaluated."""


class _SnapshotCondition(dg.AutomationCondition):
    """True for the assets of which the tick's snapshot says so."""

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        snapshot = CURRENT.get()
        if snapshot is None:
            raise TippersError(
                "Conditions of definitions are evaluated by the sensor definitions_automation only."
            )
        name = "/".join(context.key.path)
        true = self._holds(snapshot, name)
        subset = context.candidate_subset if true else context.get_empty_subset()
        return dg.AutomationResult(context, subset)

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        raise NotImplementedError


class Stale(_SnapshotCondition):
    """It was computed from another definition or other inputs, never, or is due to look outside."""

    description = "Its definition or its inputs differ from what it was computed from"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.stale


class Ready(_SnapshotCondition):
    """All that it reads is up to date, or asked for in the same run."""

    description = "All inputs are up to date, or computed in the same run"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.ready


class BeingComputed(_SnapshotCondition):
    """An unfinished run covers it."""

    description = "An unfinished run covers it"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.running


class HeldBack(_SnapshotCondition):
    """It failed: the next try is not due yet."""

    description = "Failed before: waiting for the next try"

    def _holds(self, snapshot: Snapshot, name: str) -> bool:
        return name in snapshot.held_back


def up_to_date() -> dg.AutomationCondition:
    """Keep an asset computed from its present definition and the present versions of its inputs.

    Each version has some tries with a growing wait between them, then one now and then: a broken
    definition must neither be hammered nor hold up the others.
    """
    return Stale() & Ready() & ~BeingComputed() & ~HeldBack()
