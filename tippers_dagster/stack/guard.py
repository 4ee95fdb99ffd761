"""Ends process groups when the process that started this one has ended, in whatever way.

Run as a program that reads a pipe: a line ``+N`` adds process group N, ``-N`` removes it. When the
pipe closes, the remaining groups get SIGTERM, and SIGKILL after a grace period. Imports nothing
from the package, to stay small.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 10


def main() -> None:
    """Read lines until the pipe closes, then end the remaining groups."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    end_groups(groups)


def end_groups(groups: set[int]) -> None:
    """Send SIGTERM, and after the grace period SIGKILL to groups that still have a process."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = {group for group in left if send(group, 0)}
    for group in left:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Signal a process group; False when it has no processes left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
