"""What ran and runs, what it said, and cancelling and repeating it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.start import BY_TAG, start_run, stop_run
from tippers_dagster.platform.redaction import redact

if TYPE_CHECKING:
    from dagster import DagsterRun, EventLogEntry, RunRecord

STATES: dict[str, tuple[str, ...]] = {
    "waiting": ("QUEUED", "NOT_STARTED", "MANAGED"),
    "running": ("STARTING", "STARTED", "CANCELING"),
    "succeeded": ("SUCCESS",),
    "failed": ("FAILURE",),
    "cancelled": ("CANCELED",),
}
"""Our word for a run's state, and Dagster's statuses behind it."""

UNFINISHED = ("waiting", "running")

_BATCH = 200
_MOST_READ = 10_000
"""A search by text looks at so many of the newest runs; the address of Dagster's page has all."""

_REPEATED_TAGS = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)
_LOG_ENTRIES = 300


@dataclass(frozen=True)
class Run:
    """One run.

    ``assets``: names of what it was asked to compute, as ``device/devices``; ``partitions``: the
    partition, or the first and the last of its range. Times in UTC.
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
        """Whether it waits or runs."""
        return self.state in UNFINISHED

    def seconds(self, now: dt.datetime) -> float | None:
        """How long it ran, up to now if it runs; None: it has not started."""
        if self.started is None:
            return None
        return ((self.ended or now) - self.started).total_seconds()

    @property
    def what(self) -> str:
        """Its assets in a few words."""
        shown = ", ".join(self.assets[:3]) or "what was asked for here and now"
        return f"{shown} and {len(self.assets) - 3:,} more" if len(self.assets) > 3 else shown

    @property
    def part(self) -> str:
        """Its partitions in a few words; empty: it has none."""
        return " to ".join(self.partitions)


@dataclass(frozen=True)
class Page:
    """Some runs, newest first; ``cursor``: where the next page begins, None at the end."""

    runs: list[Run]
    cursor: str | None


@dataclass(frozen=True)
class Step:
    """One step of a run: ``state`` as Dagster says it; ``seconds``: None until it has ended."""

    name: str
    state: str
    seconds: float | None


@dataclass(frozen=True)
class LogLine:
    """One event of a run, without secrets."""

    at: dt.datetime
    level: str
    step: str
    message: str


@dataclass(frozen=True)
class Details:
    """A run, its steps, why it failed (empty: it did not), and the last of its log."""

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
    """The newest runs of these states; none: of all.

    Parameters
    ----------
    text
        What the names of their assets, partitions, authors or ids contain.
    days
        No older than so many days.
    cursor
        Of the page before.
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
    """How many runs there are of each state."""
    from dagster import DagsterRunStatus, RunsFilter

    instance = app.instance
    return {
        state: instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus(s) for s in statuses]))
        for state, statuses in STATES.items()
    }


def details(app: App, run_id: str) -> Details:
    """All that is to be seen of one run.

    Raises
    ------
    BadInput
        When there is none of this id.
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
    reason = _reason(app, run_id) if run.state == "failed" else ""
    return Details(run, steps, reason, [_line(app, entry) for entry in entries])


def cancel(app: App, run_id: str) -> None:
    """Have a run cancelled; what it has computed is kept.

    Raises
    ------
    TippersError
        When nothing runs that could, or it has ended.
    """
    app.person.require(Role.ANALYST, "cancel runs")
    stop_run(app.settings, run_id)


def repeat(app: App, run_id: str) -> str:
    """Have the assets and partitions of a run computed again; the new run's id.

    What failed as often as it may, in any run, is tried again by itself from then on.
    """
    from tippers_dagster.automation.state import forget_failures
    from tippers_dagster.occupancy.records import forget_attempts
    from tippers_dagster.platform.warehouse.engine import warehouse_engine

    app.person.require(Role.ANALYST, "start runs")
    run = _record(app, run_id).dagster_run
    names = _assets(run)
    if not names:
        raise BadInput("This run names no assets.", "Start it again from Dagster's page.")
    forget_attempts(warehouse_engine(app.settings))
    forget_failures(app.settings)
    tags = {name: run.tags[name] for name in _REPEATED_TAGS if name in run.tags}
    return start_run(app.settings, names, by=app.person.name, tags=tags)


# --- reading Dagster's records -------------------------------------------------------------------
def _records(app: App, filters: Any, cursor: str | None, limit: int) -> Iterator[RunRecord]:
    """Records batch by batch, one more than is asked for at first."""
    read, batch = 0, limit + 1
    while read < _MOST_READ:
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
        by=tags.get(BY_TAG) or _asked_by(tags),
        created=record.create_timestamp,
        started=_time(record.start_time),
        ended=_time(record.end_time),
    )


def _assets(run: DagsterRun) -> tuple[str, ...]:
    return tuple(sorted("/".join(key.path) for key in run.asset_selection or ()))


def _asked_by(tags: Mapping[str, str]) -> str:
    """Who asked, where nobody is named: a sensor, or somebody on Dagster's page."""
    sensor = tags.get("dagster/sensor_name")
    return "automation" if sensor else tags.get("user", "")


def _searched(run: Run) -> str:
    return " ".join((run.run_id, run.by, *run.assets, *run.partitions)).lower()


def _time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


def _reason(app: App, run_id: str) -> str:
    """The first step's failure, else what ended the run."""
    from dagster import DagsterEventType

    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    found = app.instance.get_records_for_run(run_id, of_type=kinds, limit=20)
    entries = [record.event_log_entry for record in found.records]
    steps = [e for e in entries if e.get_dagster_event().is_step_failure]
    return "\n".join(_failure(app, entry) for entry in _first(steps or entries))


def _first(entries: Sequence[EventLogEntry]) -> Sequence[EventLogEntry]:
    return entries[:3]


def _failure(app: App, entry: EventLogEntry) -> str:
    event = entry.get_dagster_event()
    said = entry.user_message or entry.message
    if event.is_step_failure:
        data = event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        cause = data.error
        while cause is not None and cause.cause is not None:
            cause = cause.cause
        told = described or (cause.message if cause is not None else said)
        said = f"{entry.step_key}: {told.strip()}"
    return redact(said, app.settings)


def _line(app: App, entry: EventLogEntry) -> LogLine:
    return LogLine(
        at=dt.datetime.fromtimestamp(entry.timestamp, dt.UTC),
        level=_level(entry),
        step=entry.step_key or "",
        message=redact(entry.user_message or entry.message, app.settings),
    )


def _level(entry: EventLogEntry) -> str:
    import logging

    event = entry.dagster_event
    if event is not None and event.is_failure:
        return "ERROR"
    level = entry.level
    return level if isinstance(level, str) else logging.getLevelName(level)
