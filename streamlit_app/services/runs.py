"""Dagster's runs: find, inspect, cancel and repeat them."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.automation.failures import failure_reason
from tippers_dagster.automation.state import forget_failures
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.start import BY_TAG, start_run, stop_run
from tippers_dagster.occupancy.records import forget_attempts
from tippers_dagster.platform.redaction import redact
from tippers_dagster.platform.warehouse.engine import warehouse_engine

if TYPE_CHECKING:
    from dagster import DagsterRun, EventLogEntry, RunRecord

STATES: dict[str, tuple[str, ...]] = {
    "waiting": ("QUEUED", "NOT_STARTED", "MANAGED"),
    "running": ("STARTING", "STARTED", "CANCELING"),
    "succeeded": ("SUCCESS",),
    "failed": ("FAILURE",),
    "cancelled": ("CANCELED",),
}
"""The state that pages show, and the Dagster statuses that it stands for."""

UNFINISHED = ("waiting", "running")

_BATCH = 200
_MAX_SEARCHED = 10_000
"""Runs that a text search reads, from the newest on; Dagster's own page searches all of them."""

_REPEATED_TAGS = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)
_LOG_ENTRIES = 300


@dataclass(frozen=True)
class Run:
    """One run.

    ``assets``: names of the assets that it computes, such as ``device/devices``. ``partitions``:
    its partition, or the first and last of its range. Times are in UTC.
    """

    run_id: str
    state: str
    assets: tuple[str, ...]
    partitions: tuple[str, ...]
    by: str
    created: dt.datetime
    started: dt.datetime | None
    ended: dt.datetime | None

    @property
    def unfinished(self) -> bool:
        """Whether it is waiting or running."""
        return self.state in UNFINISHED

    def seconds(self, now: dt.datetime) -> float | None:
        """How long it ran, until now if it is running; None if it has not started."""
        if self.started is None:
            return None
        return ((self.ended or now) - self.started).total_seconds()

    @property
    def what(self) -> str:
        """The first of its assets."""
        shown = ", ".join(self.assets[:3]) or "started from the command line"
        return f"{shown} and {len(self.assets) - 3:,} more" if len(self.assets) > 3 else shown

    @property
    def part(self) -> str:
        """Its partitions; empty if it has none."""
        return " to ".join(self.partitions)


@dataclass(frozen=True)
class Page:
    """Some runs, the newest first; ``cursor``: start of the next page, None on the last page."""

    runs: list[Run]
    cursor: str | None


@dataclass(frozen=True)
class Step:
    """One step of a run; ``state``: Dagster's own; ``seconds``: None until it has ended."""

    name: str
    state: str
    seconds: float | None


@dataclass(frozen=True)
class LogLine:
    """One entry of a run's log, with secrets removed."""

    at: dt.datetime
    level: str
    step: str
    message: str


@dataclass(frozen=True)
class Details:
    """A run, its steps, why it failed (empty if it did not), and the end of its log."""

    run: Run
    steps: list[Step]
    reason: str
    log: list[LogLine]


def find(
    app: App,
    *,
    states: Collection[str] = (),
    text: str = "",
    days: int | None = None,
    cursor: str | None = None,
    limit: int = 25,
) -> Page:
    """The newest runs.

    Parameters
    ----------
    states
        Keys of ``STATES``; empty for all states.
    text
        Part of the name of an asset or partition, of a person, or of the run's id.
    days
        Maximum age.
    cursor
        The cursor of the previous page.
    """
    from dagster import DagsterRunStatus, RunsFilter

    statuses = [DagsterRunStatus(s) for state in states for s in STATES[state]]
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days) if days else None
    filters = RunsFilter(statuses=statuses or None, created_after=since)
    found: list[Run] = []
    for record in _records(app, filters, cursor, limit if not text else _BATCH):
        run = _run(record)
        if text and text.lower() not in _searched(run):
            continue
        if len(found) == limit:
            return Page(found, found[-1].run_id)
        found.append(run)
    return Page(found, None)


def counts(app: App) -> dict[str, int]:
    """Number of runs per state."""
    from dagster import DagsterRunStatus, RunsFilter

    instance = app.instance
    return {
        state: instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus(s) for s in statuses]))
        for state, statuses in STATES.items()
    }


def details(app: App, run_id: str) -> Details:
    """One run in full.

    Raises
    ------
    BadInput
        There is no such run.
    """
    record = _record(app, run_id)
    stats = app.instance.get_run_step_stats(run_id)
    steps = [
        Step(
            s.step_key,
            s.status.value.lower().replace("_", " ") if s.status else "waiting",
            s.end_time - s.start_time if s.start_time and s.end_time else None,
        )
        for s in sorted(stats, key=lambda s: (s.start_time or float("inf"), s.step_key))
    ]
    found = app.instance.get_records_for_run(run_id, limit=_LOG_ENTRIES, ascending=False)
    entries = [record.event_log_entry for record in reversed(found.records)]
    run = _run(record)
    reason = failure_reason(app.settings, app.instance, run_id) if run.state == "failed" else ""
    return Details(run, steps, reason, [_line(app, entry) for entry in entries])


def cancel(app: App, run_id: str) -> None:
    """Cancel a run; results that it has already computed are kept.

    Raises
    ------
    TippersError
        The deployment is not running, or the run has ended.
    """
    app.person.require(Role.ANALYST, "cancel runs")
    stop_run(app.settings, run_id)


def repeat(app: App, run_id: str) -> str:
    """Start a run of the same assets and partitions; returns its id.

    Also resets the counts of failed attempts, so that automation retries everything again.
    """
    app.person.require(Role.ANALYST, "start runs")
    run = _record(app, run_id).dagster_run
    names = _assets(run)
    if not names:
        raise BadInput("This run has no assets to compute again.", "Repeat it in Dagster.")
    forget_attempts(warehouse_engine(app.settings))
    forget_failures(app.settings)
    tags = {name: run.tags[name] for name in _REPEATED_TAGS if name in run.tags}
    return start_run(app.settings, names, by=app.person.name, tags=tags)


# --- reading Dagster's records -------------------------------------------------------------------
def _records(app: App, filters: Any, cursor: str | None, limit: int) -> Iterator[RunRecord]:
    """Records in batches; the first has one more than the limit."""
    read, batch = 0, limit + 1
    while read < _MAX_SEARCHED:
        records = app.instance.get_run_records(filters, limit=batch, cursor=cursor)
        yield from records
        if len(records) < batch:
            return
        read, cursor, batch = read + batch, records[-1].dagster_run.run_id, _BATCH


def _record(app: App, run_id: str) -> RunRecord:
    from dagster import RunsFilter

    records = app.instance.get_run_records(RunsFilter(run_ids=[run_id]), limit=1)
    if not records:
        raise BadInput(f"There is no run {run_id}.", "It may have been deleted in Dagster.")
    return records[0]


def _run(record: RunRecord) -> Run:
    run = record.dagster_run
    tags = run.tags
    first, last = (tags.get(name, "") for name in _REPEATED_TAGS[1:])
    one = tags.get(_REPEATED_TAGS[0], "")
    status = run.status.value
    return Run(
        run_id=run.run_id,
        state=next((s for s, values in STATES.items() if status in values), status.lower()),
        assets=_assets(run),
        partitions=tuple(dict.fromkeys(filter(None, (one, first, last)))),
        by=tags.get(BY_TAG) or _started_by(tags),
        created=record.create_timestamp,
        started=_time(record.start_time),
        ended=_time(record.end_time),
    )


def _assets(run: DagsterRun) -> tuple[str, ...]:
    return tuple(sorted("/".join(key.path) for key in run.asset_selection or ()))


def _started_by(tags: Mapping[str, str]) -> str:
    """Who started a run that the app did not start: automation, or a user of Dagster's UI."""
    sensor = tags.get("dagster/sensor_name")
    return "automation" if sensor else tags.get("user", "")


def _searched(run: Run) -> str:
    return " ".join((run.run_id, run.by, *run.assets, *run.partitions)).lower()


def _time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


def _line(app: App, entry: EventLogEntry) -> LogLine:
    return LogLine(
        at=dt.datetime.fromtimestamp(entry.timestamp, dt.UTC),
        level=_level(entry),
        step=entry.step_key or "",
        message=redact(entry.user_message or entry.message, app.settings),
    )


def _level(entry: EventLogEntry) -> str:

    event = entry.dagster_event
    if event is not None and event.is_failure:
        return "ERROR"
    level = entry.level
    return level if isinstance(level, str) else logging.getLevelName(level)
