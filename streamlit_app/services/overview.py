"""The campus at a glance: now and usually, freshness, failures, rejected rows."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from streamlit_app.services import runs
from streamlit_app.services.app import App
from streamlit_app.services.occupancy import local_time
from streamlit_app.services.occupancy.children import top_children
from streamlit_app.services.occupancy.computed import Log, log_span
from streamlit_app.services.occupancy.series import Series, series
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.pipeline.graph import TABLES, count_in_words, load_graph
from streamlit_app.services.words import moment
from tippers_dagster.access.model import Role
from tippers_dagster.automation.state import forget_failures, load_states
from tippers_dagster.campus.intake.tables import reject
from tippers_dagster.campus.spaces.tracking import LOG_ONLY, list_tracked, wanted_grid
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy import log_identities
from tippers_dagster.occupancy.rejects import left_out, undated
from tippers_dagster.occupancy.sessions import UNDATED
from tippers_dagster.occupancy.tables import partition_figures, session_reject, source_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

PAST_WEEKS = 4
OLD_AFTER = dt.timedelta(hours=3)
"""A log that ends longer ago than this is reported as old."""

HOUR = dt.timedelta(hours=1)
WEEK = dt.timedelta(7)

MAX_BUILDINGS = 8
REJECT_CHUNKS = 8
"""Reject reasons are counted over this many of the newest chunks with rejected rows."""

MAX_RUNS = 5
FAILED_DAYS = 7


# --- now and usually -----------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Now:
    """The last complete hour of the log, and the same hour of past weeks.

    Attributes
    ----------
    hour
        Local time at which the hour begins.
    log_end
        Local time at which the last session begins.
    is_old
        The log ended a while ago: ``hour`` is the log's last hour, not the current one.
    devices
        Distinct devices in the space in that hour; None when not computed.
    past
        Devices in the same hour one, two ... weeks before; None where not computed.
    day
        The 24 hours up to the end of that hour.
    usual
        Mean of each of these hours over the past weeks; NaN where no week is computed.
    """

    space: str
    hour: dt.datetime
    log_end: dt.datetime
    is_old: bool
    devices: int | None
    past: list[int | None]
    day: Series
    usual: np.ndarray

    @property
    def usually(self) -> float | None:
        """Mean over the past weeks that are computed."""
        known = [p for p in self.past if p is not None]
        return sum(known) / len(known) if known else None


def last_hour(settings: Settings) -> tuple[dt.datetime, Log] | None:
    """The local time at which the log's last complete hour begins, and the span of the log."""
    log = log_span(settings)
    if log is None:
        return None
    return log.end.replace(minute=0, second=0, microsecond=0) - HOUR, log


def now(settings: Settings, space: str) -> Now | None:
    """A space in the log's last hour; None when no session is computed."""
    found = last_hour(settings)
    if found is None:
        return None
    hour, log = found
    day = Window(hour - 23 * HOUR, hour + HOUR)
    days = [
        series(settings, [space], day.moved(-WEEK * k), 3600, log)[0] for k in range(PAST_WEEKS + 1)
    ]
    values = [_last(one) for one in days]
    # A day on which clocks change has 23 or 25 hours: match hours from the end.
    hours = len(days[0].counts)
    past = np.full((PAST_WEEKS, hours), np.nan)
    for row, one in zip(past, days[1:], strict=True):
        n = min(hours, len(one.counts))
        row[hours - n :] = np.where(one.computed, one.counts, np.nan)[len(one.counts) - n :]
    return Now(
        space=space,
        hour=hour,
        log_end=log.end,
        is_old=local_time.now(settings) - log.end > OLD_AFTER,
        devices=values[0],
        past=values[1:],
        day=days[0],
        usual=_mean(past),
    )


def _last(one: Series) -> int | None:
    return int(one.counts[-1]) if len(one.counts) and one.computed[-1] else None


def _mean(past: np.ndarray) -> np.ndarray:
    known = ~np.isnan(past)
    total = np.where(known, past, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


@dataclass(frozen=True)
class Building:
    """A building in the last hour; None where not computed. ``usual``: mean over past weeks."""

    space: str
    name: str
    devices: int | None
    usual: float | None


def busiest(settings: Settings, tree: SpaceTree, hour: dt.datetime, log: Log) -> list[Building]:
    """The children of the roots, busiest first; the roots themselves if no root has children."""
    spaces = [c for root in tree.roots for c in top_children(settings, tree, root)]
    spaces = spaces or tree.roots
    windows = [Window(hour - WEEK * k, hour - WEEK * k + HOUR) for k in range(PAST_WEEKS + 1)]
    found = [series(settings, spaces, w, 3600, log) for w in windows]
    buildings = []
    for i, space in enumerate(spaces):
        known = [v for w in found[1:] if (v := _last(w[i])) is not None]
        usual = sum(known) / len(known) if known else None
        name = tree.names[tree.index[space]]
        buildings.append(Building(space, name, _last(found[0][i]), usual))
    ranked = sorted(buildings, key=lambda b: (b.devices is not None, b.devices or 0), reverse=True)
    return ranked[:MAX_BUILDINGS]


# --- freshness -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Freshness:
    """What is tracked, and when the source was last checked and counts last computed.

    Times are UTC; None: never.
    """

    roots: int
    spaces: int
    chunks: int
    first_chunk: str | None
    last_chunk: str | None
    observed_at: dt.datetime | None
    computed_at: dt.datetime | None


def freshness(settings: Settings, tree: SpaceTree) -> Freshness:
    """Read the freshness of the tracked grid."""
    grid = wanted_grid(settings, tree)
    query = sa.select(
        sa.select(sa.func.max(source_chunk.c.observed_at)).scalar_subquery(),
        sa.select(sa.func.max(partition_figures.c.computed_at)).scalar_subquery(),
    )
    with warehouse_engine(settings).connect() as connection:
        observed, computed = connection.execute(query).one()
    return Freshness(
        roots=len({t.space for t in list_tracked(settings)} - {LOG_ONLY}),
        spaces=int(grid.tracked.sum()),
        chunks=len(grid.chunks),
        first_chunk=grid.chunks[0] if grid.chunks else None,
        last_chunk=grid.chunks[-1] if grid.chunks else None,
        observed_at=observed,
        computed_at=computed,
    )


# --- identities ----------------------------------------------------------------------------------
def log_token(settings: Settings) -> str:
    """A text that differs whenever the identities of the log may."""
    return log_identities.log_token(settings)


def identities(settings: Settings) -> pa.Table:
    """Devices by kind, new devices and known persons by week; see ``identities_by_week``."""
    return log_identities.log_identities(settings)


# --- rejected rows -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rejected:
    """Numbers of rejected rows.

    Attributes
    ----------
    rows, of
        Rejected rows, and all rows read, over all computed chunks.
    reasons
        Rejected rows by reason, over ``chunks``, and those of which no start is known.
    chunks
        The newest chunks with rejected rows.
    ingested
        Rejected rows of ingested files, by kind of file and reason.
    left_out
        Spaces of the source that are left out because their ids cannot be used.
    """

    rows: int
    of: int
    reasons: dict[str, int]
    chunks: list[str]
    ingested: dict[tuple[str, str], int]
    left_out: int


def rejected(settings: Settings) -> Rejected:
    """Count rejected rows; the rows themselves are not read, as they name devices."""
    figures, rejects = partition_figures.c, session_reject.c
    sums = sa.select(
        sa.func.coalesce(sa.func.sum(figures.rejected), 0),
        sa.func.coalesce(sa.func.sum(figures.rows + figures.rejected), 0),
    ).where(figures.asset == "sessions")
    newest = (
        sa.select(figures.chunk)
        .where(figures.asset == "sessions", figures.rejected > 0)
        .order_by(figures.chunk.desc())
        .limit(REJECT_CHUNKS)
    )
    files = (
        sa.select(reject.c.kind, reject.c.reason, sa.func.count())
        .group_by(reject.c.kind, reject.c.reason)
        .order_by(sa.func.count().desc())
        .limit(50)
    )
    with warehouse_engine(settings).connect() as connection:
        rows, of = connection.execute(sums).one()
        without_start = connection.scalar(sa.select(undated())) or 0
        chunks = list(connection.scalars(newest))
        by_reason = (
            sa.select(rejects.reason, sa.func.count())
            .where(rejects.chunk.in_([*chunks, UNDATED]))
            .group_by(rejects.reason)
            .order_by(sa.func.count().desc())
        )
        reasons = {row[0]: int(row[1]) for row in connection.execute(by_reason)}
        ingested = {(row[0], row[1]): int(row[2]) for row in connection.execute(files)}
    spaces = len(left_out(settings))
    return Rejected(
        int(rows) + without_start,
        int(of) + without_start,
        reasons,
        sorted(chunks),
        ingested,
        spaces,
    )


# --- definitions ---------------------------------------------------------------------------------
def definitions_in_words(app: App) -> str:
    """How many definitions are up to date, and when those that wait for a refresh are due."""
    graph = load_graph(app)
    counts = count_in_words(item for item in graph.items.values() if item.kind not in TABLES)
    due = [s.due for s in graph.statuses.values() if s.due is not None]
    if not due:
        return counts
    when = min(due).astimezone(ZoneInfo(app.settings.timezone))
    return f"{counts} Next refresh: {moment(when)}."


# --- failures ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class FailedAsset:
    """A definition asset whose last attempt failed; ``at`` is UTC."""

    name: str
    error: str
    at: dt.datetime
    attempts: int
    will_retry: bool


def failed_assets(settings: Settings) -> list[FailedAsset]:
    """Definition assets whose last attempt failed, newest first."""
    found = [
        FailedAsset(
            name=name,
            error=state.error,
            at=state.failed_at,
            attempts=state.tries,
            will_retry=state.next_try(settings, state.failed_version or "") is not None,
        )
        for name, state in load_states(settings).items()
        if state.error is not None
        and state.failed_at is not None
        and (state.materialized_at is None or state.failed_at > state.materialized_at)
    ]
    return sorted(found, key=lambda f: f.at, reverse=True)


@dataclass(frozen=True)
class FailedRun:
    """A failed run and its error."""

    run: runs.Run
    error: str


def failed_runs(app: App) -> list[FailedRun]:
    """The newest failed runs of the last ``FAILED_DAYS`` days."""
    found = runs.find(app, states=["failed"], days=FAILED_DAYS, limit=MAX_RUNS).runs
    return [FailedRun(run, runs.details(app, run.run_id).reason) for run in found]


def running(app: App) -> list[runs.Run]:
    """The newest runs that are running or queued."""
    return runs.find(app, states=runs.UNFINISHED, limit=MAX_RUNS).runs


def retry_definitions(app: App) -> int:
    """Let definition assets that used up their attempts run again; returns how many."""
    app.person.require(Role.ANALYST, "retry failed definitions")

    return forget_failures(app.settings)
