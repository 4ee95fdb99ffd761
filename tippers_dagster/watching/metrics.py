"""The metrics that a reading gives, for Prometheus and OpenTelemetry alike. All are gauges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tippers_dagster.watching.figures import Newest, Reading

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

Values = Iterable[tuple[tuple[str, ...], float]]
"""Values of labels, in the order of the metric's, and the metric's value."""

PREFIX = "tippers_"

SECONDS, BYTES, ONE = "s", "By", "1"
"""Units, as OpenTelemetry writes them."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name
        Without ``PREFIX``.
    text
        What it says, in a sentence.
    values
        Its values in a reading; none where there is no such figure.
    """

    name: str
    text: str
    values: Callable[[Reading], Values]
    labels: tuple[str, ...] = ()
    unit: str = ONE

    @property
    def full_name(self) -> str:
        """The name that is exposed."""
        return f"{PREFIX}{self.name}"


def families(reading: Reading) -> Iterator[Family]:
    """The metrics with their values, as Prometheus's client takes them."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    for metric in METRICS:
        family = GaugeMetricFamily(metric.full_name, metric.text, labels=metric.labels)
        for labels, value in metric.values(reading):
            family.add_metric(labels, value)
        yield family


def _one(value: float | None) -> Values:
    return [] if value is None else [((), float(value))]


def _by(values: Mapping[str, float] | None) -> Values:
    return [((name,), float(value)) for name, value in (values or {}).items()]


def _parts(reading: Reading) -> Values:
    return [((name,), float(name not in reading.failures)) for name in PARTS]


def _services(reading: Reading) -> Values:
    return [((name,), float(why is None)) for name, why in (reading.services or {}).items()]


def _partitions(reading: Reading) -> Values:
    if reading.occupancy is None:
        return
    for level in reading.occupancy.levels:
        states = {
            "done": level.done,
            "running": level.running,
            "stale": level.stale,
            "failed": level.failed,
        }
        yield from (((level.asset, state), float(number)) for state, number in states.items())


def _wanted(reading: Reading) -> Values:
    levels = reading.occupancy.levels if reading.occupancy is not None else ()
    return [((level.asset,), float(level.wanted)) for level in levels]


def _of_newest(value: Callable[[Newest], float | None]) -> Callable[[Reading], Values]:
    def values(reading: Reading) -> Values:
        newest = reading.occupancy.newest if reading.occupancy is not None else None
        return [] if newest is None else _one(value(newest))

    return values


def _live(reading: Reading) -> Values:
    if reading.occupancy is None:
        return []
    newest = reading.occupancy.newest
    return _one(newest is not None and newest.live)


def _runs(reading: Reading) -> Values:
    queue = reading.queue
    return [] if queue is None else [(("1h",), queue.failed_hour), (("24h",), queue.failed_day)]


def _rejected(reading: Reading) -> Values:
    found = reading.rejects
    if found is None:
        return []
    return [(("loading",), found.loading), (("extraction",), found.extraction)]


def _lake(reading: Reading, *, files: bool) -> Values:
    folders = reading.lake or {}
    return [((name,), float(f.files if files else f.size)) for name, f in folders.items()]


PARTS = (
    "services",
    "occupancy",
    "definitions",
    "queue",
    "rejects",
    "database",
    "retention",
    "disk",
    "storage",
    "lake",
)
"""The parts of a reading: fields of ``Reading``."""

METRICS = (
    Metric(
        "up",
        "1 if all figures could be read, 0 if any part is missing.",
        lambda r: _one(not r.failures),
    ),
    Metric("part_up", "1 if this part of the figures could be read.", _parts, ("part",)),
    Metric(
        "info",
        "Always 1; the label is the version of tippers.",
        lambda r: [((r.version,), 1.0)],
        ("version",),
    ),
    Metric(
        "reading_seconds",
        "Time that the slowest part of the figures took to read.",
        lambda r: _one(r.seconds),
        unit=SECONDS,
    ),
    Metric(
        "service_up",
        "1 if a service works; none where no stack is known to run.",
        _services,
        ("service",),
    ),
    # --- occupancy ------------------------------------------------------------------------------
    Metric(
        "live", "1 if the present date is tracked, so that counts should be minutes old.", _live
    ),
    Metric(
        "newest_count_age_seconds",
        "Time since counts of the newest chunk were last computed; it also grows while no row "
        "changes.",
        _of_newest(lambda newest: newest.counts_age),
        unit=SECONDS,
    ),
    Metric(
        "newest_unfinished_partitions",
        "Partitions of the newest chunk's sessions and counts that are not up to date.",
        _of_newest(lambda newest: newest.unfinished),
    ),
    Metric(
        "newest_behind_seconds",
        "How long, at least, they have been out of date; 0: they are not, or a change was just "
        "seen.",
        _of_newest(lambda newest: newest.behind),
        unit=SECONDS,
    ),
    Metric(
        "observation_age_seconds",
        "Time since the source's rows of the newest chunk were last checked.",
        _of_newest(lambda newest: newest.observed_age),
        unit=SECONDS,
    ),
    Metric(
        "newest_source_rows",
        "Rows of the newest chunk in the source when last checked; if it stays the same, the log "
        "has stopped.",
        _of_newest(lambda newest: newest.rows),
    ),
    Metric(
        "newest_rejected_ratio",
        "Share of the newest chunk's rows that were rejected, from 0 to 1.",
        _of_newest(lambda newest: newest.rejected_share),
    ),
    Metric("partitions_wanted", "Tracked partitions of an asset.", _wanted, ("asset",)),
    Metric(
        "partitions",
        "Partitions of an asset by state: done, running, stale, failed. Stale ones are not running "
        "and have attempts left.",
        _partitions,
        ("asset", "state"),
    ),
    Metric(
        "replacing_partitions",
        "Partitions whose files are being replaced, or were when their run died.",
        lambda r: _one(r.occupancy.replacing if r.occupancy else None),
    ),
    Metric(
        "replacing_age_seconds",
        "Since when the oldest of them is; 0: none.",
        lambda r: _one(r.occupancy.replacing_age if r.occupancy else None),
        unit=SECONDS,
    ),
    # --- definitions ----------------------------------------------------------------------------
    Metric(
        "definitions",
        "Assets of definitions by state: fresh, waiting (for a refresh policy), stale, running, "
        "failed, broken.",
        lambda r: _by(r.definitions.standings if r.definitions else None),
        ("state",),
    ),
    # --- Dagster --------------------------------------------------------------------------------
    Metric(
        "runs_queued",
        "Runs that wait for a slot.",
        lambda r: _one(r.queue.queued if r.queue else None),
    ),
    Metric(
        "queue_wait_seconds",
        "How long the first of them has waited; 0: none waits.",
        lambda r: _one(r.queue.oldest_wait if r.queue else None),
        unit=SECONDS,
    ),
    Metric(
        "runs_running",
        "Running runs by kind: of occupancy assets alone, or others.",
        lambda r: _by(r.queue.running if r.queue else None),
        ("kind",),
    ),
    Metric(
        "longest_run_seconds",
        "Age of the oldest running run; 0: none runs.",
        lambda r: _one(r.queue.longest_run if r.queue else None),
        unit=SECONDS,
    ),
    Metric("runs_failed", "Runs that failed in the last hour and day.", _runs, ("window",)),
    Metric(
        "tick_age_seconds",
        "Time since the last tick of a sensor that is on.",
        lambda r: _by(r.queue.ticks if r.queue else None),
        ("sensor",),
        SECONDS,
    ),
    Metric(
        "heartbeat_age_seconds",
        "Time since the last heartbeat of a thread of the daemon.",
        lambda r: _by(r.queue.heartbeats if r.queue else None),
        ("thread",),
        SECONDS,
    ),
    # --- rejected rows --------------------------------------------------------------------------
    Metric(
        "rejected_rows",
        "Rows that were rejected, when a file was loaded or sessions were extracted.",
        _rejected,
        ("found_at",),
    ),
    Metric(
        "spaces_left_out",
        "Spaces of the source that are left out.",
        lambda r: _one(r.rejects.left_out if r.rejects else None),
    ),
    # --- locks ----------------------------------------------------------------------------------
    Metric(
        "locks_held",
        "Locks of runs, partitions and assets that are held.",
        lambda r: _one(r.database.held if r.database else None),
    ),
    Metric(
        "lock_waiters",
        "Threads that wait for such locks.",
        lambda r: _one(r.database.waiting if r.database else None),
    ),
    Metric(
        "lock_wait_seconds",
        "How long the first of them has waited; 0: none waits.",
        lambda r: _one(r.database.longest_wait if r.database else None),
        unit=SECONDS,
    ),
    Metric(
        "database_lock_waiters",
        "Database sessions that wait for a lock of PostgreSQL, such as that of a row.",
        lambda r: _one(r.database.blocked if r.database else None),
    ),
    Metric(
        "database_lock_wait_seconds",
        "How long the first of them has waited; 0: none waits.",
        lambda r: _one(r.database.longest_blocked if r.database else None),
        unit=SECONDS,
    ),
    Metric(
        "database_connections",
        "Connections to the warehouse's server.",
        lambda r: _one(r.database.connections if r.database else None),
    ),
    Metric(
        "database_max_connections",
        "Connections that it allows.",
        lambda r: _one(r.database.max_connections if r.database else None),
    ),
    Metric(
        "longest_transaction_seconds",
        "Age of the oldest transaction in the warehouse.",
        lambda r: _one(r.database.longest_transaction if r.database else None),
        unit=SECONDS,
    ),
    # --- storage --------------------------------------------------------------------------------
    Metric(
        "database_bytes",
        "Size of a database: warehouse, dagster, mlflow.",
        lambda r: _by(r.storage.databases if r.storage else None),
        ("database",),
        BYTES,
    ),
    Metric(
        "schema_bytes",
        "Size of the tables and indexes in a schema of the warehouse.",
        lambda r: _by(r.storage.schemas if r.storage else None),
        ("schema",),
        BYTES,
    ),
    Metric(
        "lake_bytes",
        "Size of the files in a folder of the lake.",
        lambda r: _lake(r, files=False),
        ("folder",),
        BYTES,
    ),
    Metric(
        "lake_files",
        "Number of files in a folder of the lake.",
        lambda r: _lake(r, files=True),
        ("folder",),
    ),
    Metric(
        "disk_free_bytes",
        "Free space on the disk of the home.",
        lambda r: _one(r.disk.free if r.disk else None),
        unit=BYTES,
    ),
    Metric(
        "disk_bytes",
        "Size of the disk of the home.",
        lambda r: _one(r.disk.total if r.disk else None),
        unit=BYTES,
    ),
    # --- retention ------------------------------------------------------------------------------
    Metric(
        "retention_on",
        "1 if sessions and presence are deleted after a set time.",
        lambda r: _one(r.retention.on if r.retention else None),
    ),
    Metric(
        "retention_success_age_seconds",
        "Time since retention last succeeded in Dagster; none if it never did.",
        lambda r: _one(r.retention.success_age if r.retention else None),
        unit=SECONDS,
    ),
    Metric(
        "retention_held_back_chunks",
        "Old chunks whose presence could not be deleted when retention last ran in Dagster.",
        lambda r: _one(r.retention.held_back if r.retention else None),
    ),
    Metric(
        "sealed_chunks",
        "Chunks of which only counts are kept.",
        lambda r: _one(r.retention.sealed if r.retention else None),
    ),
    Metric(
        "late_rows",
        "Rows of the source that arrived after their chunk was sealed, and are not counted.",
        lambda r: _one(r.retention.late_rows if r.retention else None),
    ),
)
