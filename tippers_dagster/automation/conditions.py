"""Automation conditions that are levels: each reads one snapshot per tick, for all assets alike.

Dagster's own conditions on change are true for one tick only: what a failed run or a busy moment
swallows is then lost for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, Protocol

import dagster as dg

from tippers_dagster.errors import TippersError


class TickSnapshot(Protocol):
    """All that one tick decides on, read at once."""

    def where(self, state: str, asset: str) -> bool | set[str]:
        """Where an asset is in a state: everywhere, nowhere, or in some of its partitions."""


_CURRENT: ContextVar[TickSnapshot | None] = ContextVar("tick_snapshot", default=None)


@contextmanager
def evaluating(snapshot: TickSnapshot) -> Iterator[None]:
    """Let the conditions read this snapshot while Dagster evaluates them."""
    token = _CURRENT.set(snapshot)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class _SnapshotCondition(dg.AutomationCondition):
    """True where the snapshot of the tick says that the asset is in ``state``."""

    state: ClassVar[str]

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        snapshot = _CURRENT.get()
        if snapshot is None:
            raise TippersError("Only this code location's own sensors evaluate its conditions.")
        found = snapshot.where(self.state, "/".join(context.key.path))
        candidates = context.candidate_subset
        if found is True or candidates.is_empty:
            true = candidates
        elif found:
            true = candidates.compute_intersection_with_partition_keys(found)
        else:
            true = context.get_empty_subset()
        return dg.AutomationResult(context, true)


class Stale(_SnapshotCondition):
    """It was never computed, or its definition or inputs have changed, or it is due for a sync."""

    description = "Its definition or inputs differ from those it was computed from"
    state = "stale"


class Ready(_SnapshotCondition):
    """All its inputs can be read, or are requested in the same run."""

    description = "All inputs are there, or computed in the same run"
    state = "ready"


class BeingComputed(_SnapshotCondition):
    """An unfinished run covers it."""

    description = "An unfinished run covers it"
    state = "being_computed"


class WaitsForRefresh(_SnapshotCondition):
    """Only its data changed, and the refresh policy does not say to compute it yet."""

    description = "Its data changed; waiting for its next refresh"
    state = "waiting"


class HeldBack(_SnapshotCondition):
    """It failed, and the next try is not due yet."""

    description = "Failed before; waiting for the next try"
    state = "held_back"


class Sealed(_SnapshotCondition):
    """Only the counts of its chunk are kept: it can never be computed again."""

    description = "Only the counts of its chunk are kept"
    state = "sealed"


def up_to_date() -> dg.AutomationCondition:
    """Keep an asset up to date with its inputs.

    Each state of the inputs has some tries with a growing wait between them, then one now and
    then: what is broken must neither be hammered nor hold up the rest.
    """
    return Stale() & Ready() & ~BeingComputed() & ~HeldBack()


def refreshed(policy: str) -> dg.AutomationCondition:
    """Keep an asset up to date with its definition, and with its data as a refresh policy says.

    Parameters
    ----------
    policy
        In words, for Dagster's pages.
    """
    refresh = (~WaitsForRefresh()).with_label(f"refresh: {policy}")
    return up_to_date() & refresh
