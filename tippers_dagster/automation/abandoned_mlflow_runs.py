"""Ends MLflow runs that a killed process left RUNNING, soon after their Dagster run ends."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

from tippers_dagster.automation.mlflow_runs import end_abandoned
from tippers_dagster.platform.mlflow.client import MlflowUnavailable, mlflow_client
from tippers_dagster.platform.mlflow.store import tracking_uri
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

FIRST_PERIOD = dt.timedelta(days=1)
RETRY_AFTER = dt.timedelta(minutes=1)
"""Wait before MLflow is asked again after it did not answer."""

_log = logging.getLogger(__name__)


class MlflowSettler:
    """Checks MLflow if runs have failed since the last check; otherwise costs one small query."""

    def __init__(self) -> None:
        self._settled_until = dt.datetime.now(dt.UTC) - FIRST_PERIOD
        self._not_before = dt.datetime.min.replace(tzinfo=dt.UTC)

    def __call__(self, settings: Settings, instance: DagsterInstance) -> None:
        """End runs that are over. When MLflow is unavailable, try again later."""
        from dagster import DagsterRunStatus, RunsFilter

        now = dt.datetime.now(dt.UTC)
        if now < self._not_before or tracking_uri(settings) is None:
            return
        failed = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
        since = RunsFilter(statuses=failed, updated_after=self._settled_until)
        if instance.get_run_records(since, limit=1):
            try:
                with mlflow_client(settings) as client:
                    experiments = [e.experiment_id for e in client.search_experiments()]
                    end_abandoned(settings, instance, client, experiments)
            except MlflowUnavailable as error:
                _log.warning("MLflow runs of failed runs are not ended yet: %s", error.message)
                self._not_before = now + RETRY_AFTER
                return
        self._settled_until = now
