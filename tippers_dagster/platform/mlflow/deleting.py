"""Deletes runs from a store of MLflow for good.

``mlflow gc`` would also delete everything else in the bin: experiments and models that people may
want to restore.
"""

from __future__ import annotations

from collections.abc import Mapping


def delete_runs_for_good(uri: str, artifacts: Mapping[str, str]) -> None:
    """Delete runs that are marked as deleted, with their artifacts.

    ``_hard_delete_run`` is what ``mlflow gc`` calls; a test fails where it changes.

    Parameters
    ----------
    uri
        Of the store, a database.
    artifacts
        Where the artifacts of each run are, by the run's id.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking._tracking_service.utils import _get_store

    store = _get_store(uri)
    for run_id, place in artifacts.items():
        # First, so that a run whose artifacts could not be deleted is found again.
        get_artifact_repository(place).delete_artifacts()
        store._hard_delete_run(run_id)
