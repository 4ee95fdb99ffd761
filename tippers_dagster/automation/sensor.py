"""The sensor that keeps the definitions' assets up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

from tippers_dagster.automation.agreement import report_recorded
from tippers_dagster.automation.condition import CURRENT
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.orphaned_runs import fail_dead_runs_of
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import record_asked
from tippers_dagster.settings import Settings, get_settings

SENSOR = "definitions_automation"

LARGEST_RUN = 450
"""Assets asked for at once; the rest follows. Dagster evaluates 500 at most in one tick."""

UP_TO_DATE = "All assets of the definitions are up to date, under way or held back."

Changed = Callable[[], str | None]
"""Why this code location does not know the present definitions; None while it does."""

Settle = Callable[[Settings, dg.DagsterInstance], None]
"""Completes records that killed runs left unfinished in Dagster and MLflow."""


class DefinitionsSensor(dg.AutomationConditionSensorDefinition):
    """Dagster's automation sensor on one snapshot of all assets, whose requests are one run.

    Everything stale is asked for together, inputs first, so that starting dbt and the like is paid
    once. Conditions are evaluated only for what is stale: an idle tick reads three small tables.
    ``evaluate_tick`` is the one method replaced. It, and the class of what it returns, are not
    promised by Dagster: the tests pin them.
    """

    def __init__(
        self, settings: Settings, nodes: Sequence[Node], changed: Changed, settle: Settle
    ) -> None:
        status = dg.DefaultSensorStatus
        super().__init__(
            name=SENSOR,
            target=_selection([node for node in nodes if node.source is None]),
            use_user_code_server=True,  # the conditions are our own classes
            emit_backfills=False,
            default_status=status.RUNNING if settings.automate_definitions else status.STOPPED,
            minimum_interval_seconds=settings.sensor_interval_seconds,
            description="Asks for whatever is missing or stale of the definitions, in one run.",
        )
        self._nodes, self._changed, self._settle = list(nodes), changed, settle
        self._agreed: set[tuple[str, str]] = set()

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """Decide on one snapshot, and ask for all of it in one run."""
        settings = get_settings()
        if (why := self._changed()) is not None:
            return _skip(context, why)
        self._complete(settings, context)
        snapshot = Snapshot.take(settings, context.instance, self._nodes)
        asked = snapshot.asked[:LARGEST_RUN]
        if not asked:
            return _skip(context, UP_TO_DATE)
        data = _evaluate(context, snapshot, asked)
        record_asked(settings, snapshot.surely_tried(asked))
        return data

    def _complete(self, settings: Settings, context: dg.SensorEvaluationContext) -> None:
        """Make Dagster, MLflow and the warehouse agree on runs that were killed."""
        dead = fail_dead_runs_of(settings, context.instance, {n.name for n in self._nodes})
        if dead:
            context.log.warning("Runs whose process is gone: %s", ", ".join(dead))
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
        All assets and sources, each after those it reads.
    changed
        Asked on every tick: why the definitions are no longer those of these nodes, so that
        nothing is asked for by what is out of date.
    settle
        Called on every tick.
    """
    return DefinitionsSensor(settings, nodes, changed, settle)


def run_tags(snapshot: Snapshot, asked: Sequence[Node]) -> dict[str, str]:
    """Tags of a run of these assets: when it is stopped, by how long each took last."""
    settings = snapshot.settings
    expected = sum(snapshot.state(node.name).seconds or 0.0 for node in asked)
    deadline = max(settings.deadline_floor_seconds, expected * settings.deadline_factor)
    return {"dagster/max_runtime": str(int(deadline))}


def _evaluate(
    context: dg.SensorEvaluationContext, snapshot: Snapshot, asked: Sequence[Node]
) -> SensorExecutionData:
    """Dagster's evaluation of what is asked for: without partitions, it makes it one run.

    With all checks of the assets. Dagster names those that cannot be left out of a step, such as
    a label model's, and the run would then have no others: no test of dbt, for one.
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
    return SensorExecutionData(
        run_requests=[
            dg.RunRequest(asset_selection=request.asset_selection, tags=request.tags)
            for request in data.run_requests or ()
        ],
        cursor=data.cursor,
        automation_condition_evaluations=data.automation_condition_evaluations,
    )


def _selection(nodes: Sequence[Node]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(dg.AssetKey(node.key) for node in nodes))


def _skip(context: dg.SensorEvaluationContext, message: str) -> SensorExecutionData:
    return SensorExecutionData(skip_message=message, cursor=context.cursor)
