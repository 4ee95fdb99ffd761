"""Deletes old MLflow runs that no result and no registered model refers to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from tippers_dagster.automation.mlflow_runs import CHILD_TAG
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.platform.mlflow.client import mlflow_client
from tippers_dagster.platform.mlflow.deleting import delete_runs_for_good
from tippers_dagster.platform.mlflow.search import pages
from tippers_dagster.platform.mlflow.store import is_server, tracking_uri
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

PARENT_TAG = "mlflow.parentRunId"


def delete_old_runs(settings: Settings, before: dt.datetime) -> int:
    """Delete runs of ours that ended before a moment; returns their number.

    Runs of what is recorded now, of registered models, and their children stay. In the local
    stack's MLflow the others are gone for good; on a server of its own they are marked as deleted,
    and its administrator removes them with ``mlflow gc``.
    """
    uri = tracking_uri(settings)
    if uri is None:
        return 0
    with mlflow_client(settings) as client:
        experiments = [e.experiment_id for e in pages(client.search_experiments)]
        needed = _recorded(settings) | {
            version.run_id for version in pages(client.search_model_versions)
        }
        old = [
            run
            for run in _ended(client, uri, experiments, before)
            if not needed & {run.info.run_id, run.data.tags.get(PARENT_TAG)}
        ]
        for run in old:
            if run.info.lifecycle_stage == "active":
                client.delete_run(run.info.run_id)
    if not is_server(uri):
        delete_runs_for_good(uri, {run.info.run_id: run.info.artifact_uri for run in old})
    return len(old)


def _recorded(settings: Settings) -> set[str]:
    """The MLflow runs of what is recorded of all assets."""
    with warehouse_engine(settings).connect() as connection:
        query = sa.select(asset_state.c.details["mlflow_run"].astext)
        return {run_id for run_id in connection.scalars(query) if run_id}


def _ended(client: Any, uri: str, experiments: Sequence[str], before: dt.datetime) -> list[Any]:
    """Finished runs with a tag of ours; those of notebooks are other people's."""
    if not experiments:
        return []
    from mlflow.entities import ViewType

    limit = int(before.timestamp() * 1000)
    ended = f"attributes.end_time < {limit} AND attributes.status != 'RUNNING'"
    # Also those that were marked as deleted when deleting them for good failed.
    kind = ViewType.ACTIVE_ONLY if is_server(uri) else ViewType.ALL
    found = pages(partial(client.search_runs, run_view_type=kind), list(experiments), ended)
    return [run for run in found if {"dagster_run_id", CHILD_TAG} & run.data.tags.keys()]
