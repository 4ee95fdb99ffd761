"""Runs independent tasks on this machine's processes or on a Dask cluster."""

from tippers_dagster.workers.tasks import WorkerLost, for_workers, run_tasks, threads_or_cluster

__all__ = ["WorkerLost", "for_workers", "run_tasks", "threads_or_cluster"]
