"""Two worker processes of a Dask cluster on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event


@contextmanager
def two_workers() -> Iterator[str]:
    """The scheduler's address for two workers, each a process with one thread."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=0,
    ) as cluster:
        yield cluster.scheduler_address


@contextmanager
def losing_a_worker(scheduler: str) -> Iterator[None]:
    """Kill the first worker found working; its nanny starts another."""
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(_kill_one_at_work, scheduler, over)
        try:
            yield
        finally:
            over.set()
        assert killed.result(), "no worker was seen at work"


def _kill_one_at_work(scheduler: str, over: Event) -> bool:
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        processes = client.run(os.getpid)
        while not over.is_set():
            busy = [worker for worker, tasks in client.processing().items() if tasks]
            if busy:
                os.kill(processes[busy[0]], signal.SIGKILL)
                return True
            time.sleep(0.002)
    return False
