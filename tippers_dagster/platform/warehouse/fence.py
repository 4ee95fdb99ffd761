"""Fencing: a thread's transactions cannot commit after another process took over its locks.

Advisory locks are lost with their connection. A process that takes one also writes a row with a
unique token, which replaces the previous holder's row. Just before a transaction commits, it checks
its thread's rows, and protects them from replacement until the commit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.errors import TippersError


class LocksLost(TippersError):
    """Another process took over this one's locks."""


@dataclass(frozen=True, eq=False)
class Fence:
    """The locks that a block of code holds: their database, names, and the token of their rows."""

    database: sa.URL
    names: tuple[str, ...]
    token: int


class _Fences(threading.local):
    def __init__(self) -> None:
        self.list: list[Fence] = []


_fences = _Fences()


def enter(fence: Fence) -> None:
    """Make this thread's transactions require these locks until ``leave``."""
    _fences.list.append(fence)


def leave(fence: Fence) -> None:
    """Stop requiring these locks."""
    if fence in _fences.list:
        _fences.list.remove(fence)


@contextmanager
def unfenced() -> Iterator[None]:
    """Let this thread's transactions commit without locks within the block.

    For a process that lost its locks, and must still mark something as invalid.
    """
    before, _fences.list = _fences.list, []
    try:
        yield
    finally:
        _fences.list = before


def guard_commits(engine: sa.Engine) -> None:
    """Make an engine's transactions check their thread's locks before they commit."""
    sa.event.listen(engine, "commit", _check)


def _check(connection: sa.Connection) -> None:
    for fence in _fences.list:
        if fence.database == connection.engine.url:
            held = connection.scalar(_HELD, {"names": list(fence.names), "token": fence.token})
            if held != len(fence.names):
                raise LocksLost(
                    "Another run took over the work of this one, which had lost its connection to "
                    "the warehouse. This run records nothing more.",
                    "There is nothing to do: anything that both wrote will be computed again.",
                )


_HELD = sa.text(
    "SELECT count(*) FROM (SELECT FROM tippers.held_lock "
    "WHERE token = :token AND name = ANY(CAST(:names AS text[])) FOR SHARE) AS held"
)
