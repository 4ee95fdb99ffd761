"""The sensor that keeps definition assets up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import count_attempts
from tippers_dagster.automation.ticks import SnapshotSensor
from tippers_dagster.automation.unreported import report_recorded_materializations
from tippers_dagster.platform.dagster.internals import skipped_tick, tick_result
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import SensorExecutionData

SENSOR = "definitions_automation"

MAX_ASSETS_PER_RUN = 450
"""Maximum number of assets per run; Dagster evaluates at most 500 in one tick."""

UP_TO_DATE = "All definition assets are up to date, being computed, or waiting."

Changed = Callable[[], str | None]
"""Returns why this code location's definitions are out of date; None when they are not."""

Settle = Callable[[Settings, dg.DagsterInstance], None]
"""Completes records that killed runs left unfinished in Dagster and MLflow."""


class DefinitionsSensor(SnapshotSensor):
    """Requests one run per tick, of all stale definition assets, inputs first.

    So dbt starts only once. Conditions are evaluated only for stale assets: an idle tick reads
    three small tables.
    """

    def __init__(
        self, settings: Settings, nodes: Sequence[Node], changed: Changed, settle: Settle
    ) -> None:
        super().__init__(
            settings,
            SENSOR,
            [dg.AssetKey(node.key) for node in nodes if node.source is None],
            "Requests one run for all definition assets that are missing or stale.",
            running=settings.automate_definitions,
        )
        self._nodes, self._changed, self._settle = list(nodes), changed, settle
        self._agreed: set[tuple[str, str]] = set()

    def reason_to_skip(self, settings: Settings) -> str | None:
        """Why this code location's definitions are out of date."""
        return self._changed()

    def decide(
        self, settings: Settings, context: dg.SensorEvaluationContext
    ) -> SensorExecutionData:
        """Complete the records of killed runs, and request one run for all assets to compute."""
        self._complete(settings, context)
        snapshot = Snapshot.take(settings, context.instance, self._nodes)
        asked = snapshot.asked[:MAX_ASSETS_PER_RUN]
        if not asked:
            return skipped_tick(context, f"{UP_TO_DATE}{_waiting(snapshot)}")
        data = self.evaluated(context, snapshot, _part(snapshot, asked))
        count_attempts(settings, snapshot.attempts_to_record(asked))
        # With all checks of the assets. Dagster names those that cannot be left out of a step,
        # such as a label model's, and the run would then have no others: no test of dbt, for one.
        return tick_result(
            run_requests=[
                dg.RunRequest(asset_selection=request.asset_selection, tags=request.tags)
                for request in data.run_requests or ()
            ],
            cursor=data.cursor,
            automation_condition_evaluations=data.automation_condition_evaluations,
        )

    def _complete(self, settings: Settings, context: dg.SensorEvaluationContext) -> None:
        """Complete Dagster's and MLflow's records of killed runs."""
        reported = report_recorded_materializations(
            settings, context.instance, self._nodes, self._agreed
        )
        if reported:
            context.log.warning(
                "Recorded, but not yet reported to Dagster: %s", ", ".join(reported)
            )
        self._settle(settings, context.instance)


def definitions_sensor(
    settings: Settings,
    nodes: Sequence[Node],
    changed: Changed = lambda: None,
    settle: Settle = lambda settings, instance: None,
) -> DefinitionsSensor:
    """The sensor that keeps these assets up to date.

    Parameters
    ----------
    nodes
        All assets and sources, each after its inputs.
    changed
        Called on every tick; if it returns a reason why these nodes are out of date, the tick is
        skipped.
    settle
        Called on every tick.
    """
    return DefinitionsSensor(settings, nodes, changed, settle)


def run_tags(
    snapshot: Snapshot, asked: Sequence[Node], *, stale_only: bool = True
) -> dict[str, str]:
    """Tags of a run of these assets: its deadline, from the last duration of each.

    Unless ``stale_only``, they are computed even if nothing has changed.
    """
    settings = snapshot.settings
    expected = sum(snapshot.state(node.name).seconds or 0.0 for node in asked)
    deadline = max(settings.deadline_floor_seconds, expected * settings.deadline_factor)
    only = {STALE_ONLY_TAG: "true"} if stale_only else {}
    return {"dagster/max_runtime": str(int(deadline)), **only}


def _waiting(snapshot: Snapshot) -> str:
    """How many assets wait for a refresh, and for the next one; empty if none does."""
    if not snapshot.waiting:
        return ""
    number = counted(len(snapshot.waiting), "asset")
    times = [time for time in snapshot.next_refresh.values() if time is not None]
    if not times:
        return f" Waiting to be computed by hand: {number}."
    local = min(times).astimezone(ZoneInfo(snapshot.settings.timezone))
    return f" Waiting for a refresh: {number}, the first at {local:%Y-%m-%d %H:%M:%S}."


def _part(snapshot: Snapshot, asked: Sequence[Node]) -> dg.AutomationConditionSensorDefinition:
    """Dagster's sensor on these assets alone: as they have no partitions, it requests one run."""
    return dg.AutomationConditionSensorDefinition(
        name=SENSOR,
        target=dg.AssetSelection.assets(*(dg.AssetKey(node.key) for node in asked)),
        run_tags=run_tags(snapshot, asked),
        use_user_code_server=True,
        emit_backfills=False,
    )
