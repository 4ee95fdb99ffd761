"""The sensor behind both automations: one snapshot per tick, and few runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from tippers_dagster.automation.conditions import TickSnapshot, evaluating
from tippers_dagster.automation.orphaned_runs import fail_dead_runs_of_assets
from tippers_dagster.platform.dagster.internals import skipped_tick
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import SensorExecutionData


class SnapshotSensor(dg.AutomationConditionSensorDefinition):
    """Dagster's automation sensor, deciding on a snapshot and regrouping what is requested.

    The only overridden method is ``evaluate_tick``. Neither it nor its result class is a public
    API of Dagster: tests check that they still work.

    Parameters
    ----------
    keys
        The assets that it keeps up to date.
    running
        Whether it is on from the start.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        keys: Sequence[dg.AssetKey],
        description: str,
        *,
        running: bool = True,
    ) -> None:
        status = dg.DefaultSensorStatus
        super().__init__(
            name=name,
            target=dg.AssetSelection.assets(*keys),
            use_user_code_server=True,  # the conditions are custom classes
            emit_backfills=False,
            default_status=status.RUNNING if running else status.STOPPED,
            minimum_interval_seconds=settings.sensor_interval_seconds,
            description=description,
        )
        self._assets = {key.to_user_string() for key in keys}

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """Skip, or end the records of dead runs and decide."""
        settings = get_settings()
        if (why := self.reason_to_skip(settings)) is not None:
            return skipped_tick(context, why)
        dead = fail_dead_runs_of_assets(settings, context.instance, self._assets)
        if dead:
            context.log.warning("Runs whose process has ended: %s", ", ".join(dead))
        return self.decide(settings, context)

    def reason_to_skip(self, settings: Settings) -> str | None:
        """Why this tick requests nothing, before anything is read that costs."""
        raise NotImplementedError

    def decide(
        self, settings: Settings, context: dg.SensorEvaluationContext
    ) -> SensorExecutionData:
        """Take a snapshot, evaluate the conditions on it, and regroup the requests."""
        raise NotImplementedError

    def evaluated(
        self,
        context: dg.SensorEvaluationContext,
        snapshot: TickSnapshot,
        part: dg.AutomationConditionSensorDefinition | None = None,
    ) -> SensorExecutionData:
        """Dagster's own evaluation on a snapshot, of all assets or of those of another sensor."""
        with evaluating(snapshot):
            if part is not None:
                return part.evaluate_tick(context)
            return super().evaluate_tick(context)
