"""Which process holds something, and whether it lives: seen from the same host only."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache

import psutil

_CLOCK_SECONDS = 3.0
"""The start of a process is worked out from the clock, which may have been set since."""


@dataclass(frozen=True)
class Process:
    """A process: where it runs, its number there, and when it began (Unix seconds)."""

    place: str
    pid: int
    began: float

    @property
    def here(self) -> bool:
        """Whether this process could see it."""
        return self.place == _place()

    @property
    def lives(self) -> bool:
        """Whether it runs still; always False of one that is not ``here``."""
        if not self.here:
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.began) < _CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True  # there is one of this number, and it is somebody else's to look at


def this_process() -> Process:
    """The process that asks."""
    return _process(os.getpid())


@lru_cache(maxsize=1)
def _process(pid: int) -> Process:
    return Process(_place(), pid, psutil.Process(pid).create_time())


@lru_cache(maxsize=1)
def _place() -> str:
    """The host and, where there are such, the namespace of its process numbers."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not on Linux: there is one
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()
