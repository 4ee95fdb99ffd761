"""Independent tasks, on the processes of this machine or on a Dask cluster."""

from tippers_dagster.workers.tasks import run_tasks

__all__ = ["run_tasks"]
