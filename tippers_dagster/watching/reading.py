"""Reads all figures of a deployment, with few queries, as often as every few seconds."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import psycopg2

from tippers_dagster import __version__
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.dagster.internals import CONNECT_SECONDS
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.watching.definitions import DefinitionFigures
from tippers_dagster.watching.figures import Definitions, Reading
from tippers_dagster.watching.occupancy import read_occupancy_figures, read_rejects
from tippers_dagster.watching.parts import Part
from tippers_dagster.watching.queue import last_failure, read_queue, read_retention
from tippers_dagster.watching.services import read_services
from tippers_dagster.watching.storage import read_database, read_disk, read_lake, read_storage

if TYPE_CHECKING:
    from dagster import DagsterInstance

DEADLINE_SECONDS = 8.0
"""Prometheus gives up a scrape after ten seconds."""

KEEP_SECONDS = 2.0
"""So often at most figures are read, however many ask for them."""

KEEP_SIZES_SECONDS = 300.0
"""The same for the sizes of tables and of the lake, which take longer."""


class Reader:
    """Reads the figures; any number of threads may do so at once. Get it from :func:`reader`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = Event()
        self._opening, self._opened = Lock(), ExitStack()
        self._instance: DagsterInstance | None = None
        self._definitions: DefinitionFigures | None = None
        parts: dict[str, Callable[[], Any]] = {
            "services": lambda: read_services(settings),
            "occupancy": lambda: read_occupancy_figures(settings, self._dagster()),
            "definitions": self._read_definitions,
            "queue": lambda: read_queue(settings, self._dagster()),
            "rejects": lambda: read_rejects(settings),
            "database": lambda: read_database(settings),
            "retention": lambda: read_retention(settings, self._dagster()),
            "disk": lambda: read_disk(settings),
        }
        sizes: dict[str, Callable[[], Any]] = {
            "storage": lambda: read_storage(settings),
            "lake": lambda: read_lake(settings, self._stopped.is_set),
        }
        self._pool = ThreadPoolExecutor(len(parts) + len(sizes), "reading")
        self._parts = [
            *(self._part(name, read, KEEP_SECONDS) for name, read in parts.items()),
            *(self._part(n, read, KEEP_SIZES_SECONDS, outdated=True) for n, read in sizes.items()),
        ]

    def read(self, seconds: float = DEADLINE_SECONDS) -> Reading:
        """The figures as they are now; parts that are not read within ``seconds`` are missing."""
        began = time.monotonic()
        self.begin()
        results = {part.name: part.result(began + seconds) for part in self._parts}
        return Reading(
            dt.datetime.now(dt.UTC),
            __version__,
            seconds=max(part.seconds for part in self._parts),
            failures={name: r.failure for name, r in results.items() if r.failure is not None},
            **{name: result.value for name, result in results.items()},
        )

    def last_failure(self) -> str:
        """Why the newest failed run of occupancy failed; empty if that is not known."""
        return last_failure(self._settings, self._dagster())

    def begin(self) -> None:
        """Begin to read what is not being read, and was not just now."""
        for part in self._parts:
            part.begin()

    def close(self) -> None:
        """Stop what is still being read."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._opened.close()

    def _part(
        self, name: str, read: Callable[[], Any], keep_seconds: float, *, outdated: bool = False
    ) -> Part[Any]:
        return Part(
            self._settings, self._pool, name, read, keep_seconds=keep_seconds, outdated=outdated
        )

    def _read_definitions(self) -> Definitions:
        instance = self._dagster()
        if self._definitions is None:
            self._definitions = DefinitionFigures(self._settings, instance)
        return self._definitions.read()

    def _dagster(self) -> DagsterInstance:
        with self._opening:
            if self._instance is None:
                # Opening the instance tries for many seconds.
                url = databases(self._settings).dagster
                psycopg2.connect(url, connect_timeout=CONNECT_SECONDS).close()
                self._instance = self._opened.enter_context(dagster_instance(self._settings))
            return self._instance


@contextmanager
def reader(settings: Settings) -> Iterator[Reader]:
    """A reader, closed after the block."""
    made = Reader(settings)
    try:
        yield made
    finally:
        made.close()
