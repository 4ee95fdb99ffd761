"""Many tasks that know nothing of each other, with equal results wherever they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tippers_dagster.settings import Settings

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    settings: Settings, function: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[tuple[int, Result]]:
    """Call ``function`` on each task; yields the task's position and its result, as they finish.

    On the Dask cluster that ``settings.dask_url`` names, else on ``settings.threads`` processes
    of this machine; in this process when there is one task or one thread. An exception of the
    function is raised here, and the other tasks are given up: return what may go wrong.

    Parameters
    ----------
    function
        Of a module, and picklable, as its tasks and results are. It must give the same result
        wherever and however often it is called: a task whose worker died is done again.
    """
    alone = settings.dask_url is None and (settings.threads == 1 or len(tasks) < 2)
    if alone:
        yield from ((at, function(task)) for at, task in enumerate(tasks))
        return
    import joblib

    numbered = (joblib.delayed(_numbered)(function, at, task) for at, task in enumerate(tasks))
    with _backend(settings):
        yield from joblib.Parallel(return_as="generator_unordered")(numbered)


def _numbered(function: Callable[[Task], Result], position: int, task: Task) -> tuple[int, Result]:
    return position, function(task)


@contextmanager
def _backend(settings: Settings) -> Iterator[None]:
    import joblib

    if settings.dask_url is None:
        with joblib.parallel_config("loky", n_jobs=settings.threads, inner_max_num_threads=1):
            yield
        return
    from dask.distributed import Client

    with (
        Client(settings.dask_url, set_as_default=False) as client,
        joblib.parallel_config("dask", client=client),
    ):
        yield
