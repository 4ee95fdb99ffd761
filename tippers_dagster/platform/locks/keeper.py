"""The locks of this process, kept while the database restarts or the connection breaks.

A lock is a PostgreSQL advisory lock, which is freed at once when its process dies, plus a row of
``held_lock``, which outlives the connection. A thread monitors the connection; after a break it
takes the advisory locks again on a new one. A process that finds an advisory lock free, but a row
of a running process, waits: the holder is about to take it again.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2

from tippers_dagster.platform.fingerprint import of_text
from tippers_dagster.platform.locks.processes import Process, this_process
from tippers_dagster.platform.postgres.keepalives import KEEPALIVES

PING_SECONDS = 1.0
POLL_SECONDS = 0.2
MAX_OUTAGE_SECONDS = 600.0
"""How long a process that waits for locks tolerates an unavailable database."""

REMOTE_GRACE_SECONDS = 60.0
"""How long a lock is reserved for a process on another host after its connection was lost."""

SEEN_FREE_SECONDS = 5.0
"""The reservation starts again for a lock that was not seen free for this long: it may have been
retaken meanwhile."""

WAITING = 0x7469_7070
"""The first key of an advisory lock that a waiting process holds itself, so that others see it wait
although it tries again and again; the second key is since when (Unix seconds).
"""

_UNAVAILABLE = (psycopg2.OperationalError, psycopg2.InterfaceError)


@dataclass(eq=False)
class Group:
    """Locks that are taken and released together; other processes may hold ``shared`` ones too."""

    names: tuple[str, ...]
    token: int
    shared: bool
    locked: bool = True

    @property
    def keys(self) -> list[int]:
        """The keys of the advisory locks."""
        return [key_of(name) for name in self.names]


class Keeper:
    """All locks of this process in one warehouse. Get it from :func:`keeper_of`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._mutex = threading.Lock()
        self._connection: psycopg2.extensions.connection | None = None
        self._groups: list[Group] = []
        self._released: list[int] = []
        self._waits: list[int] = []
        self._seen_free: dict[int, tuple[float, float]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._monitor, name="locks", daemon=True).start()

    def take(self, names: Sequence[str], on_wait: Callable[[], None], *, shared: bool) -> Group:
        """Take all locks at once; call ``on_wait`` once before waiting for them.

        Raises
        ------
        psycopg2.OperationalError
            When the database is unavailable at first, or for longer than a restart takes.
        """
        since = int(time.time())
        last_answer: float | None = None
        waits = False
        try:
            while True:
                with self._mutex:
                    try:
                        group = self._try(names, shared)
                        last_answer = time.monotonic()
                    except _UNAVAILABLE:
                        self._disconnect()
                        if last_answer is None or (
                            time.monotonic() - last_answer > MAX_OUTAGE_SECONDS
                        ):
                            raise
                        group = None
                if group is not None:
                    return group
                if not waits:
                    waits = True
                    self._begin_wait(since)
                    on_wait()
                time.sleep(POLL_SECONDS)
        finally:
            if waits:
                self._end_wait(since)

    def holds(self, name: str) -> bool:
        """Whether this process holds a lock of this name."""
        with self._mutex:
            return any(name in group.names for group in self._groups)

    def release(self, group: Group) -> None:
        """Release locks; if the database is unavailable, later. Does not raise in that case."""
        with self._mutex:
            if group not in self._groups:
                return  # the process is ending, and has released everything
            self._groups.remove(group)
            self._released.append(group.token)
            if self._connection is not None:
                with self._or_disconnect():
                    if group.locked:
                        self._unlock(group.keys, group.shared)
                    self._forget_released()

    def close(self) -> None:
        """Release all locks at the end of the process."""
        self._closed.set()
        with self._mutex:
            self._released += [group.token for group in self._groups]
            self._groups.clear()
            if self._connection is not None:
                with self._or_disconnect():
                    self._forget_released()
            self._disconnect()

    def _begin_wait(self, since: int) -> None:
        with self._mutex:
            self._waits.append(since)
            if self._connection is not None:
                with self._or_disconnect():
                    self._execute(_WAIT, {"key": WAITING, "since": since})

    def _end_wait(self, since: int) -> None:
        with self._mutex:
            self._waits.remove(since)
            if self._connection is not None:
                with self._or_disconnect():
                    self._execute(_WAIT_NO_MORE, {"key": WAITING, "since": since})

    # --- with the mutex held ---------------------------------------------------------------------
    def _try(self, names: Sequence[str], shared: bool) -> Group | None:
        """Take the locks; None when any of them is taken."""
        ours = {name for group in self._groups if not group.shared for name in group.names}
        if ours.intersection(names):
            return None  # held by a thread of this process, on the same connection
        group = Group(tuple(names), secrets.randbits(62), shared)
        self._connect()
        self._forget_released()
        if not self._lock(group):
            return None
        if not shared and self._reserved(group):
            self._unlock(group.keys, shared)
            return None
        me = this_process()
        self._execute(
            _TAKE_SHARED if shared else _TAKE,
            {"names": list(names), "token": group.token, **vars(me)},
        )
        self._groups.append(group)
        return group

    def _lock(self, group: Group) -> bool:
        """Take all advisory locks of a group, or none."""
        try_lock = "pg_try_advisory_lock" + ("_shared" if group.shared else "")
        rows = self._execute(f"SELECT k, {try_lock}(k) {_KEYS}", {"keys": sorted(group.keys)})
        taken = [key for key, success in rows if success]
        if len(taken) == len(rows):
            return True
        self._unlock(taken, group.shared)
        return False

    def _unlock(self, keys: list[int], shared: bool) -> None:
        unlock = "pg_advisory_unlock" + ("_shared" if shared else "")
        self._execute(f"SELECT {unlock}(k) {_KEYS}", {"keys": keys})

    def _reserved(self, group: Group) -> bool:
        """Whether any of these locks belongs to a running process that lost its connection."""
        rows = self._execute(_HOLDERS, {"names": list(group.names)})
        now = time.monotonic()
        for token, place, pid, began in rows:
            holder = Process(place, pid, began)
            since, last = self._seen_free.get(token, (now, now))
            if now - last > SEEN_FREE_SECONDS:
                since = now
            self._seen_free[token] = since, now
            if holder.is_running and holder != this_process():
                return True
            if not holder.is_local and now - since < REMOTE_GRACE_SECONDS:
                return True
        return False

    def _connect(self) -> None:
        """Connect, unless the connection still works."""
        if self._connection is not None:
            with self._or_disconnect():
                self._execute("SELECT", {})
        if self._connection is None:
            self._connection = psycopg2.connect(
                self._url, application_name="tippers locks", **KEEPALIVES
            )
            self._connection.autocommit = True
            for group in self._groups:
                group.locked = False
            for since in self._waits:
                self._execute(_WAIT, {"key": WAITING, "since": since})
            self._retake()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None

    def _retake(self) -> None:
        """Retake locks lost with the last connection, unless another process held them since."""
        for group in [group for group in self._groups if not group.locked]:
            [(rows,)] = self._execute(_OWN_ROWS, {"names": list(group.names), "token": group.token})
            if rows == len(group.names):
                group.locked = self._lock(group)

    def _forget_released(self) -> None:
        if self._released:
            self._execute(_FORGET, {"tokens": self._released})
            self._released.clear()

    def _execute(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        with self._connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _or_disconnect(self) -> Iterator[None]:
        try:
            yield
        except _UNAVAILABLE:
            self._disconnect()

    # --- the thread ------------------------------------------------------------------------------
    def _monitor(self) -> None:
        while not self._closed.wait(PING_SECONDS):
            with self._mutex, self._or_disconnect():
                if not self._groups and not self._released and not self._waits:
                    self._disconnect()
                else:
                    self._connect()
                    self._retake()
                    self._forget_released()


_keepers: dict[str, Keeper] = {}
_keepers_lock = threading.Lock()
os.register_at_fork(after_in_child=_keepers.clear)


def keeper_of(url: str) -> Keeper:
    """The keeper of this process for the warehouse of a libpq URL."""
    with _keepers_lock:
        if url not in _keepers:
            _keepers[url] = Keeper(url)
        return _keepers[url]


@atexit.register
def close_keepers() -> None:
    """Release all locks of this process."""
    with _keepers_lock:
        for keeper in _keepers.values():
            keeper.close()
        _keepers.clear()


def key_of(name: str) -> int:
    """The key of the advisory lock for a name, a signed bigint."""
    value = of_text(name)
    return value - 2**64 if value >= 2**63 else value


_KEYS = "FROM unnest(%(keys)s::bigint[]) AS k"
_HOLDERS = "SELECT token, place, pid, began FROM tippers.held_lock WHERE name = ANY(%(names)s)"
_OWN_ROWS = (
    "SELECT count(*) FROM tippers.held_lock WHERE token = %(token)s AND name = ANY(%(names)s)"
)
_WAIT = "SELECT pg_advisory_lock_shared(%(key)s, %(since)s)"
_WAIT_NO_MORE = "SELECT pg_advisory_unlock_shared(%(key)s, %(since)s)"
_FORGET = "DELETE FROM tippers.held_lock WHERE token = ANY(%(tokens)s)"
_TAKE_SHARED = (
    "INSERT INTO tippers.held_lock (name, token, place, pid, began) "
    "SELECT n, %(token)s, %(place)s, %(pid)s, %(began)s FROM unnest(%(names)s) AS n"
)
_TAKE = f"WITH gone AS (DELETE FROM tippers.held_lock WHERE name = ANY(%(names)s)) {_TAKE_SHARED}"
