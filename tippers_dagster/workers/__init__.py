"""Independent tasks, on the processes of this machine or on a Dask cluster."""

from tippers_dagster.workers.tasks import WorkerLost, for_workers, run_tasks, threads_or_cluster

__all__ = ["WorkerLost", "for_workers", "run_tasks", "threads_or_cluster"]
