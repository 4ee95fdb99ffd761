"""Measures the memory available to this process, and waits until there is enough.

A container has its own limit, which the machine's figures do not show. Control groups are nested,
and each limits those inside it: the tightest limit counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from logging import Logger
from pathlib import Path

import psutil

from tippers_dagster.errors import LowMemory
from tippers_dagster.settings import Settings

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")

_NO_LIMIT = 1 << 60
"""Control groups of version 1 without a limit show about this number."""

_POLL_SECONDS = 2.0


def free_memory(groups: Path = _CGROUP_ROOT, own_groups: Path = _OWN_CGROUPS) -> int:
    """Bytes that this process may still use, on the machine and within its control groups.

    Parameters
    ----------
    groups
        The folder where control groups are mounted.
    own_groups
        The file that lists the control groups of this process.
    """
    return min([psutil.virtual_memory().available, *_left_in_groups(groups, own_groups)])


def wait_for_memory(settings: Settings, log: Logger) -> None:
    """Wait until ``TIPPERS_MIN_FREE_MEMORY_MB`` are free. Call it before taking locks.

    Raises
    ------
    LowMemory
        When they are not free within ``TIPPERS_MEMORY_WAIT_SECONDS``.
    """
    wanted, until = settings.min_free_memory_mb, time.monotonic() + settings.memory_wait_seconds
    announced = False
    while (free := free_memory() >> 20) < wanted:
        if time.monotonic() >= until:
            raise LowMemory(
                f"Only {free} MB of memory are free after waiting "
                f"{settings.memory_wait_seconds:g} s for {wanted} MB.",
                "Stop other programs, give the machine or the container more memory, lower "
                "TIPPERS_MAX_CONCURRENT_RUNS, or lower TIPPERS_MIN_FREE_MEMORY_MB.",
            )
        if not announced:
            log.warning(
                f"Waiting for memory: {free} MB free, TIPPERS_MIN_FREE_MEMORY_MB is {wanted}."
            )
            announced = True
        time.sleep(_POLL_SECONDS)


def _left_in_groups(groups: Path, own_groups: Path) -> Iterator[int]:
    """Bytes left within each limit that applies to this process."""
    with suppress(FileNotFoundError):  # not Linux, or no control groups
        for line in own_groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _left(groups, path, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _left(groups / "memory", path, names)


def _left(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Bytes left in a group and its ancestors; only in the root if the path does not exist."""
    limit_name, used_name, cache_name = names
    inside = root / path.lstrip("/")
    if ".." in inside.parts or not inside.is_dir():
        inside = root
    for group in (inside, *inside.parents):
        with suppress(OSError):  # the root has no limit, and others may not be readable
            limit = (group / limit_name).read_text().strip()
            if limit != "max" and int(limit) < _NO_LIMIT:
                used = int((group / used_name).read_text())
                yield max(int(limit) - used + _statistic(group / "memory.stat", cache_name), 0)
        if group == root:
            return


def _statistic(file: Path, name: str) -> int:
    """A value from a control group's statistics."""
    lines = (line.split() for line in file.read_text().splitlines())
    return next((int(value) for key, value in lines if key == name), 0)
