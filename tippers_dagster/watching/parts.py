"""Parts of a reading: each read in a thread, by one at a time however many ask for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.postgres.unavailable import unavailable_errors
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.settings import Settings

T = TypeVar("T")

_log = logging.getLogger("tippers.watching")


@dataclass(frozen=True)
class Result(Generic[T]):
    """A value, or why there is none."""

    value: T | None
    failure: str | None = None


class Part(Generic[T]):
    """Something that is read again and again, in a thread of ``pool``.

    Parameters
    ----------
    keep_seconds
        A value is not read again before it is so old.
    outdated
        Whether the last value, or none, is given as long as a newer one is being read.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Executor,
        name: str,
        read: Callable[[], T],
        *,
        keep_seconds: float,
        outdated: bool = False,
    ) -> None:
        self._settings, self._pool, self._read = settings, pool, read
        self.name, self._keep_seconds, self._outdated = name, keep_seconds, outdated
        self._lock = Lock()
        self._reading: Future[tuple[float, T]] | None = None
        self._last: tuple[float, T] | None = None
        self._reported: str | None = None
        self.seconds = 0.0
        """How long it took when it was read last."""

    def begin(self) -> None:
        """Begin to read it, unless it is being read or was just now."""
        with self._lock:
            self._take_over()
            kept = self._last is not None and time.monotonic() - self._last[0] < self._keep_seconds
            if self._reading is None and not kept:
                self._reading = self._pool.submit(self._timed)

    def result(self, deadline: float) -> Result[T]:
        """The value, at a time of ``time.monotonic()`` at the latest. Call ``begin`` before."""
        with self._lock:
            reading, last = self._reading, self._last
        if reading is None:
            return Result(None if last is None else last[1])
        try:
            error = reading.exception(max(0.0, deadline - time.monotonic()))
        except TooLate:
            if self._outdated:
                return Result(None if last is None else last[1])
            return Result(None, "It takes too long to read.")
        with self._lock:
            if self._reading is reading:
                self._take_over()
        return Result(reading.result()[1]) if error is None else Result(None, self._reason(error))

    def _timed(self) -> tuple[float, T]:
        began = time.monotonic()
        value = self._read()
        self.seconds = time.monotonic() - began
        return time.monotonic(), value

    def _take_over(self) -> None:
        """Keep what was read, if that is done. With the lock held."""
        if self._reading is None or not self._reading.done():
            return
        error = self._reading.exception()
        if error is None:
            self._last = self._reading.result()
        self._reading = None
        self._report(error)

    def _report(self, error: BaseException | None) -> None:
        """Log a failure once, until it is another one."""
        reason = None if error is None else self._reason(error)
        if reason is not None and reason != self._reported:
            expected = isinstance(error, (TippersError, OSError, *unavailable_errors()))
            trace: Any = None if expected else error
            _log.error("Could not read %s: %s", self.name, reason, exc_info=trace)
        self._reported = reason

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, TippersError):
            return recordable(error.message, self._settings)
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        return recordable(lines[0] if lines else type(error).__name__, self._settings)
