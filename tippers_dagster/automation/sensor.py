"""The sensor that keeps definition assets up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from tippers_dagster.automation.agreement import report_recorded
from tippers_dagster.automation.condition import CURRENT
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.orphaned_runs import fail_dead_runs_of
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import record_asked
from tippers_dagster.platform.dagster.internals import skipped_tick, tick_result
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import SensorExecutionData

SENSOR = "definitions_automation"

LARGEST_RUN = 450
"""Maximum number of assets per run; Dagster evaluates at most 500 in one tick."""

UP_TO_DATE = "All definition assets are up to date, being computed, or waiting for a retry."

Changed = Callable[[], str | None]
"""Returns why this code location's definitions are out of date; None when they are not."""

Settle = Callable[[Settings, dg.DagsterInstance], None]
"""Completes records that killed runs left unfinished in Dagster and MLflow."""


class DefinitionsSensor(dg.AutomationConditionSensorDefinition):
    """Dagster's automation sensor, based on one snapshot of all assets; requests one run per tick.

    All stale assets are requested together, inputs first, so that dbt starts only once. Conditions
    are evaluated only for stale assets: an idle tick reads three small tables. The only overridden
    method is ``evaluate_tick``. Neither it nor its result class is a public API of Dagster: tests
    check that they still work.
    """

    def __init__(
        self, settings: Settings, nodes: Sequence[Node], changed: Changed, settle: Settle
    ) -> None:
        status = dg.DefaultSensorStatus
        super().__init__(
            name=SENSOR,
            target=_selection([node for node in nodes if node.source is None]),
            use_user_code_server=True,  # the conditions are custom classes
            emit_backfills=False,
            default_status=status.RUNNING if settings.automate_definitions else status.STOPPED,
            minimum_interval_seconds=settings.sensor_interval_seconds,
            description="Requests one run for all definition assets that are missing or stale.",
        )
        self._nodes, self._changed, self._settle = list(nodes), changed, settle
        self._agreed: set[tuple[str, str]] = set()

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """Take a snapshot, and request one run for all assets to compute."""
        settings = get_settings()
        if (why := self._changed()) is not None:
            return skipped_tick(context, why)
        self._complete(settings, context)
        snapshot = Snapshot.take(settings, context.instance, self._nodes)
        asked = snapshot.asked[:LARGEST_RUN]
        if not asked:
            return skipped_tick(context, UP_TO_DATE)
        data = _evaluate(context, snapshot, asked)
        record_asked(settings, snapshot.surely_tried(asked))
        return data

    def _complete(self, settings: Settings, context: dg.SensorEvaluationContext) -> None:
        """Complete Dagster's and MLflow's records of killed runs."""
        dead = fail_dead_runs_of(settings, context.instance, {n.name for n in self._nodes})
        if dead:
            context.log.warning("Runs whose process has ended: %s", ", ".join(dead))
        reported = report_recorded(settings, context.instance, self._nodes, self._agreed)
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


def run_tags(snapshot: Snapshot, asked: Sequence[Node]) -> dict[str, str]:
    """Tags of a run of these assets: its deadline, from the last duration of each."""
    settings = snapshot.settings
    expected = sum(snapshot.state(node.name).seconds or 0.0 for node in asked)
    deadline = max(settings.deadline_floor_seconds, expected * settings.deadline_factor)
    return {"dagster/max_runtime": str(int(deadline))}


def _evaluate(
    context: dg.SensorEvaluationContext, snapshot: Snapshot, asked: Sequence[Node]
) -> SensorExecutionData:
    """Dagster's evaluation of the requested assets, which results in one run.

    The run includes all checks of the assets. Dagster would name only those that cannot be left out
    of a step, such as a label model's, and the run would lack the others, such as dbt's tests.
    """
    part = dg.AutomationConditionSensorDefinition(
        name=SENSOR,
        target=_selection(asked),
        run_tags=run_tags(snapshot, asked),
        use_user_code_server=True,
        emit_backfills=False,
    )
    token = CURRENT.set(snapshot)
    try:
        data = part.evaluate_tick(context)
    finally:
        CURRENT.reset(token)
    return tick_result(
        run_requests=[
            dg.RunRequest(asset_selection=request.asset_selection, tags=request.tags)
            for request in data.run_requests or ()
        ],
        cursor=data.cursor,
        automation_condition_evaluations=data.automation_condition_evaluations,
    )


def _selection(nodes: Sequence[Node]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(dg.AssetKey(node.key) for node in nodes))
