"""What needs attention, by the figures of one reading, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings
from tippers_dagster.watching.figures import Reading
from tippers_dagster.watching.words import lasting, size

LATE_COUNTS_SECONDS = 600
"""Counts of the present time are out of date for so long."""

LATE_CHECK_SECONDS = 900
"""The source's newest rows were not checked for so long."""

LONG_WAIT_SECONDS = 1800
"""A run waits for a slot, or a thread for a lock, for so long."""

LATE_TICK_SECONDS = 900
MANY_FAILED_RUNS = 5
LATE_RETENTION_SECONDS = 36 * 3600
LOW_DISK_BYTES = 5 << 30
FULL_CONNECTIONS = 0.9


@dataclass(frozen=True)
class Concern:
    """What is wrong, and what to do."""

    what: str
    fix: str


def concerns(reading: Reading, settings: Settings, last_failure: str = "") -> list[Concern]:
    """Everything that needs attention, the most urgent first.

    Parameters
    ----------
    last_failure
        Why the newest failed run of occupancy failed.
    """
    return [
        *_unread(reading),
        *_services(reading),
        *_counts(reading, settings, last_failure),
        *_definitions(reading),
        *_runs(reading),
        *_database(reading),
        *_rejects(reading, settings),
        *_retention(reading),
    ]


def _unread(reading: Reading) -> Iterator[Concern]:
    for part, why in reading.failures.items():
        yield Concern(f"No figures of {part}: {why}", "`tippers doctor` says what is unavailable.")


def _services(reading: Reading) -> Iterator[Concern]:
    for name, why in (reading.services or {}).items():
        if why is not None:
            yield Concern(
                f"The {name} does not work. {why}",
                "`tippers up` restarts it; see <home>/logs, or the container's log.",
            )
    if reading.services == {} and (behind := _behind(reading)):
        yield Concern(
            f"Nothing is computed, as the stack is not running: {behind}.",
            "Start it: `tippers up`. Once: `tippers occupancy materialize`, `tippers pipeline "
            "materialize`.",
        )


def _behind(reading: Reading) -> str:
    """What a running stack would compute; nothing as long as nothing is tracked."""
    levels = reading.occupancy.levels if reading.occupancy is not None else ()
    if not any(level.wanted for level in levels):
        return ""
    partitions = sum(level.stale for level in levels)
    assets = reading.definitions.due if reading.definitions is not None else 0
    found = ((partitions, "stale partition"), (assets, "stale definition"))
    return ", ".join(counted(number, noun) for number, noun in found if number)


def _counts(reading: Reading, settings: Settings, last_failure: str) -> Iterator[Concern]:
    if reading.occupancy is None:
        return
    for level in reading.occupancy.levels:
        if level.failed:
            why = f": {last_failure.strip().splitlines()[0]}" if last_failure.strip() else ""
            yield Concern(
                f"{level.asset}: {counted(level.failed, 'failed partition')} "
                f"({level.failed_examples[0]}){why}",
                "Fix the cause (Dagster has the runs' logs), then `tippers occupancy retry`.",
            )
    newest = reading.occupancy.newest
    if newest is None or not newest.live:
        return
    if newest.behind >= LATE_COUNTS_SECONDS:
        yield Concern(
            f"The counts of now are late: {counted(newest.unfinished, 'partition')} out of date "
            f"for {lasting(newest.behind)}.",
            "See the runs in Dagster, and `tippers occupancy status`.",
        )
    late = max(LATE_CHECK_SECONDS, 3 * settings.observe_recent_seconds)
    if newest.observed_age is not None and newest.observed_age >= late:
        yield Concern(
            f"The source was last checked for new rows {lasting(newest.observed_age)} ago.",
            "See the sensor session_source_observer in Dagster, or start `tippers up`.",
        )


def _definitions(reading: Reading) -> Iterator[Concern]:
    problems = reading.definitions.problems if reading.definitions is not None else ()
    if problems:
        first, more = problems[0], len(problems) - 1
        rest = f" and {more:,} more" if more else ""
        yield Concern(
            f"{first.standing}: {first.name}{rest}: {first.why.splitlines()[0]}",
            "`tippers pipeline status` lists all; fix the cause, then `tippers pipeline retry`.",
        )


def _runs(reading: Reading) -> Iterator[Concern]:
    queue = reading.queue
    if queue is None:
        return
    if queue.oldest_wait >= LONG_WAIT_SECONDS:
        yield Concern(
            f"A run has waited for a slot for {lasting(queue.oldest_wait)}.",
            "Cancel what is not needed, or raise TIPPERS_MAX_CONCURRENT_RUNS.",
        )
    if queue.failed_hour >= MANY_FAILED_RUNS:
        yield Concern(
            f"{counted(queue.failed_hour, 'run')} failed in the last hour.",
            "Dagster has their logs.",
        )
    late = {name: age for name, age in queue.ticks.items() if age >= LATE_TICK_SECONDS}
    if late and reading.services:
        name = max(late, key=lambda sensor: late[sensor])
        yield Concern(
            f"The sensor {name} last ticked {lasting(late[name])} ago.",
            "See its ticks in Dagster; `tippers doctor` checks the daemon.",
        )


def _database(reading: Reading) -> Iterator[Concern]:
    found = reading.database
    if found is not None:
        wait = max(found.longest_wait, found.longest_blocked)
        if wait >= LONG_WAIT_SECONDS:
            yield Concern(
                f"Something has waited for a lock for {lasting(wait)}.",
                "See who holds it in tippers.held_lock and pg_locks, and whether that run works.",
            )
        if found.connections >= FULL_CONNECTIONS * found.max_connections:
            yield Concern(
                f"The database has {found.connections:,} of {found.max_connections:,} connections.",
                "Raise max_connections, or end what keeps them open.",
            )
    if reading.disk is not None and reading.disk.free < LOW_DISK_BYTES:
        yield Concern(
            f"The disk of the home has {size(reading.disk.free)} free.",
            "Free some space, or set TIPPERS_HOME to a larger disk.",
        )


def _rejects(reading: Reading, settings: Settings) -> Iterator[Concern]:
    newest = reading.occupancy.newest if reading.occupancy is not None else None
    share = newest.rejected_share if newest is not None else None
    if share is not None and share > settings.max_rejected_share:
        yield Concern(
            f"{share:.0%} of the newest rows of the source were rejected.",
            "`tippers rejects` shows why.",
        )


def _retention(reading: Reading) -> Iterator[Concern]:
    found = reading.retention
    if found is None or not found.on:
        return
    if found.held_back:
        yield Concern(
            f"The presence of {counted(found.held_back, 'old chunk')} could not be deleted.",
            "`tippers retention status` says why.",
        )
    if not reading.services:
        return
    if found.success_age is not None and found.success_age >= LATE_RETENTION_SECONDS:
        yield Concern(
            f"Old presence was last deleted {lasting(found.success_age)} ago.",
            "See the runs of presence_retention in Dagster, and `tippers retention status`.",
        )
