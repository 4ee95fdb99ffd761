"""The figures of a deployment at one moment. Ages are in seconds, sizes in bytes.

They name assets, tables and folders; no device, person or address, and no secret.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from tippers_dagster.graph.status import Standing
from tippers_dagster.occupancy.status import LevelStatus


@dataclass(frozen=True)
class Newest:
    """The chunk that contains the present local date; if it is not tracked, the last one before.

    Attributes
    ----------
    live
        Whether it contains the present date.
    counts_age
        Since counts of the chunk were last computed; None: never.
    observed_age
        Since the source's rows of the chunk were last checked; None: never.
    rows
        Rows in the source when last checked.
    unfinished
        Partitions of the chunk's sessions and counts that are not up to date.
    behind
        How long, at least, they have not been; 0 if all are up to date, or a change was just seen.
    rejected_share
        Of the rows read, those rejected; None while its sessions are not computed.
    """

    chunk: str
    live: bool
    counts_age: float | None
    observed_age: float | None
    rows: int | None
    unfinished: int
    behind: float = 0.0
    rejected_share: float | None = None


@dataclass(frozen=True)
class Occupancy:
    """Progress of the levels, upstream first.

    Attributes
    ----------
    newest
        None when no tracked chunk has begun.
    replacing, replacing_age
        Partitions whose files are being replaced, or were when their run died, and since when the
        oldest is.
    """

    levels: tuple[LevelStatus, ...]
    newest: Newest | None = None
    replacing: int = 0
    replacing_age: float = 0.0


@dataclass(frozen=True)
class Problem:
    """A definition that failed or is broken, and why."""

    name: str
    standing: Standing
    why: str


@dataclass(frozen=True)
class Definitions:
    """Definition assets.

    Attributes
    ----------
    standings
        Their numbers by standing.
    due
        How many automation would compute now: stale ones whose inputs can be used.
    problems
        Those that cannot be computed.
    """

    standings: Mapping[str, int]
    due: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Queue:
    """Runs, and what starts them.

    Attributes
    ----------
    queued, oldest_wait
        Runs that wait for a slot, and the longest wait.
    running, longest_run
        Runs by kind (``occupancy``, ``others``), and the age of the oldest.
    failed_hour, failed_day
        Runs that failed in that time.
    ticks
        Age of the last tick, by sensor.
    heartbeats
        Age of the last heartbeat, by thread of the daemon.
    """

    queued: int
    oldest_wait: float
    running: Mapping[str, int]
    longest_run: float
    failed_hour: int
    failed_day: int
    ticks: Mapping[str, float]
    heartbeats: Mapping[str, float]


@dataclass(frozen=True)
class Rejects:
    """Rows rejected when loading files and when extracting sessions; spaces left out."""

    loading: int
    extraction: int
    left_out: int


@dataclass(frozen=True)
class Database:
    """The warehouse's server.

    Attributes
    ----------
    held
        Locks of runs, partitions and assets that are held.
    waiting, longest_wait
        Processes that wait for such a lock, and since when the first does.
    blocked, longest_blocked
        Sessions that wait for a lock of PostgreSQL, and since when the first does.
    connections, max_connections
        In use and possible, of the whole server.
    longest_transaction
        Age of the oldest transaction in the warehouse.
    """

    held: int
    waiting: int
    longest_wait: float
    blocked: int
    longest_blocked: float
    connections: int
    max_connections: int
    longest_transaction: float


@dataclass(frozen=True)
class Disk:
    """The disk of the home."""

    free: int
    total: int


@dataclass(frozen=True)
class Folder:
    """Files in a folder of the lake, and their bytes."""

    files: int
    size: int


@dataclass(frozen=True)
class Storage:
    """Sizes, measured every few minutes.

    Attributes
    ----------
    databases
        By use: ``warehouse``, ``dagster``, ``mlflow`` where it is on the same server.
    schemas
        Tables of the warehouse with their indexes, by schema.
    """

    databases: Mapping[str, int]
    schemas: Mapping[str, int]


@dataclass(frozen=True)
class Retention:
    """Whether presence is deleted after a time, and what became of it.

    Attributes
    ----------
    success_age
        Since it last succeeded in Dagster; None: never.
    held_back
        Chunks that it could not delete when it last ran in Dagster.
    sealed
        Chunks of which only counts are kept.
    late_rows
        Rows of the source that arrived after their chunk was sealed, and are not counted.
    """

    on: bool
    success_age: float | None
    held_back: int
    sealed: int
    late_rows: int


@dataclass(frozen=True)
class Reading:
    """All figures. A part that could not be read is None, and ``failures`` says why, by its name.

    Attributes
    ----------
    seconds
        How long the slowest part took when it was read last.
    services
        Services that should run, and why they do not work; None: they work. Empty if no stack of
        this deployment is known to run.
    lake
        By folder.
    """

    at: dt.datetime
    version: str
    seconds: float = 0.0
    services: Mapping[str, str | None] | None = None
    occupancy: Occupancy | None = None
    definitions: Definitions | None = None
    queue: Queue | None = None
    rejects: Rejects | None = None
    database: Database | None = None
    retention: Retention | None = None
    disk: Disk | None = None
    storage: Storage | None = None
    lake: Mapping[str, Folder] | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
