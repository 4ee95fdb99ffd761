"""Identifies processes, and whether they are running, as far as this host can see."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache

import psutil

_CLOCK_SECONDS = 3.0
"""Tolerance for start times, which are derived from a clock that may have been adjusted since."""


@dataclass(frozen=True)
class Process:
    """A process: its host, its process id there, and when it started (Unix seconds)."""

    place: str
    pid: int
    began: float

    @property
    def is_local(self) -> bool:
        """Whether this process can see it."""
        return self.place == _place()

    @property
    def is_running(self) -> bool:
        """Whether it is still running; always False for processes that are not local."""
        if not self.is_local:
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.began) < _CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True  # it exists, but belongs to another user


def this_process() -> Process:
    """The current process."""
    return _process(os.getpid())


@lru_cache(maxsize=1)
def _process(pid: int) -> Process:
    return Process(_place(), pid, psutil.Process(pid).create_time())


@lru_cache(maxsize=1)
def _place() -> str:
    """The host and, if there is one, its PID namespace."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not on Linux: no namespaces
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()
