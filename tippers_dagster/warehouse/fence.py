"""No transaction of a thread commits after another process took over what the thread has locked.

Advisory locks go with their connection. Whoever takes one also writes a row with a token of its
own, in the place of the row of whoever had it before; a transaction looks for its thread's rows
right before it commits, and keeps them from being replaced until it has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.errors import TippersError


class LocksLost(TippersError):
    """Another process took over what this one had locked."""


@dataclass(frozen=True, eq=False)
class Fence:
    """The locks of a block of code: where they are, their names, and the token of their rows."""

    database: sa.URL
    names: tuple[str, ...]
    token: int


class _Fences(threading.local):
    def __init__(self) -> None:
        self.list: list[Fence] = []


_fences = _Fences()


def enter(fence: Fence) -> None:
    """From here on the transactions of this thread need these locks, until ``leave``."""
    _fences.list.append(fence)


def leave(fence: Fence) -> None:
    """They do not any more."""
    if fence in _fences.list:
        _fences.list.remove(fence)


@contextmanager
def lifted() -> Iterator[None]:
    """The transactions of this thread need no locks meanwhile.

    For what who lost them must still say: that something does not hold.
    """
    before, _fences.list = _fences.list, []
    try:
        yield
    finally:
        _fences.list = before


def guard_commits(engine: sa.Engine) -> None:
    """Have the transactions of an engine look for their thread's locks before they commit."""
    sa.event.listen(engine, "commit", _check)


def _check(connection: sa.Connection) -> None:
    for fence in _fences.list:
        if fence.database == connection.engine.url:
            held = connection.scalar(_HELD, {"names": list(fence.names), "token": fence.token})
            if held != len(fence.names):
                raise LocksLost(
                    "Another run took over what this one computes, while this one had lost its "
                    "connection to the warehouse; nothing more of it is recorded.",
                    "Nothing is to be done: what both may have written is computed again.",
                )


_HELD = sa.text(
    "SELECT count(*) FROM (SELECT FROM tippers.held_lock "
    "WHERE token = :token AND name = ANY(CAST(:names AS text[])) FOR SHARE) AS held"
)
