"""Waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: ""
) -> None:
    """Return when the condition holds; fail with the explanation after that many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s\n{explain()}"
        time.sleep(0.1)
