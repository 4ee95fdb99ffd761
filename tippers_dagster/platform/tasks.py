"""Runs many independent tasks, with the same results anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tippers_dagster.errors import SettingsError, TippersError
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

Task = TypeVar("Task")
Result = TypeVar("Result")

CONNECT_SECONDS = 30.0
"""How long to wait for a scheduler that is still starting."""


class WorkerLost(TippersError):
    """The processes working on a task died repeatedly."""


def made_ahead(items: Iterator[Result]) -> Iterator[Result]:
    """The items of an iterator, each made in another thread while the one before it is used.

    For work that releases the interpreter, such as Arrow's, and waiting.
    """
    nothing = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = thread.submit(next, items, nothing)
            yield item  # type: ignore[misc]


def run_tasks(
    settings: Settings, function: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[tuple[int, Result]]:
    """Call ``function`` on each task; yields each task's position and result as it finishes.

    Uses the Dask cluster of ``settings.dask_url``, otherwise ``settings.threads`` processes of this
    machine; or this process for one task or one thread. An exception of the function is raised
    here, and the other tasks are cancelled: return expected errors instead.

    Parameters
    ----------
    function
        A function of a module; it, its tasks and its results must be picklable. It must give the
        same result anywhere and if called repeatedly: a cluster repeats a task whose worker died.

    Raises
    ------
    WorkerLost
        When a process of this machine died, or a cluster's workers keep dying.
    SettingsError
        When the cluster cannot be reached.
    """
    if settings.dask_url is None and (settings.threads == 1 or len(tasks) < 2):
        yield from ((at, function(task)) for at, task in enumerate(tasks))
        return
    import joblib  # type: ignore[import-untyped]  # has no types

    numbered = (joblib.delayed(_numbered)(function, at, task) for at, task in enumerate(tasks))
    with _parallel(settings) as parallel, _lost_workers_as_errors(settings):
        yield from parallel(numbered)


@contextmanager
def threads_or_cluster(settings: Settings) -> Iterator[Executor]:
    """An executor for work in NumPy and Arrow: threads of this process, or the cluster.

    If ``settings.dask_url`` is set, submitted functions and arguments must be picklable and contain
    no secrets; see :func:`for_workers`.
    """
    if settings.dask_url is None:
        with ThreadPoolExecutor(settings.threads) as pool:
            yield pool
        return
    with _client(settings) as client, client.get_executor() as executor:
        yield executor


def for_workers(settings: Settings) -> Settings:
    """The settings that a worker needs for the lake: absolute paths, and no secrets.

    A worker has its own S3 credentials in its environment.
    """
    secrets = dict.fromkeys(
        (
            *("database_url", "dagster_url", "source_url", "builder_url", "reader_url"),
            *("mlflow_database_url", "device_key", "secrets_keys"),
        )
    )
    home = settings.home_path
    lake = settings.lake_url or str(home / "lake")
    return settings.model_copy(update={**secrets, "home": home, "lake_url": lake})


def _numbered(function: Callable[[Task], Result], position: int, task: Task) -> tuple[int, Result]:
    return position, function(task)


@contextmanager
def _parallel(settings: Settings) -> Iterator[Any]:
    """A ``joblib.Parallel`` that yields results as they come.

    joblib's configuration belongs to the thread, and the results are yielded from here: it is over
    before the first of them, or a caller that stops half-way would leave it behind.
    """
    import joblib

    if settings.dask_url is None:
        # Each task has one thread: run as many processes as there may be threads.
        with joblib.parallel_config("loky", n_jobs=settings.threads, inner_max_num_threads=1):
            parallel = joblib.Parallel(return_as="generator_unordered")
        yield parallel
        return
    with _client(settings) as client:
        with joblib.parallel_config("dask", client=client):
            parallel = joblib.Parallel(return_as="generator_unordered")
        yield parallel


@contextmanager
def _client(settings: Settings) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(settings.dask_url, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise SettingsError(
            f"The Dask scheduler cannot be reached: {redact(str(error), settings)}",
            "Start it, fix TIPPERS_DASK_URL, or leave it unset to use this machine.",
        ) from error
    with client:
        yield client


@contextmanager
def _lost_workers_as_errors(settings: Settings) -> Iterator[None]:
    lost: tuple[type[Exception], ...] = (BrokenExecutor,)
    if settings.dask_url is not None:
        from distributed.scheduler import KilledWorker

        lost = (KilledWorker,)
    try:
        yield
    except lost as error:
        raise WorkerLost(
            "The processes working on a task died.",
            "Most likely memory ran out: provide more, lower TIPPERS_THREADS, or set "
            "TIPPERS_DASK_URL to a cluster with more.",
        ) from error
