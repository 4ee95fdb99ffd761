"""A simulated campus into the source tables: all of it, or nothing."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import (
    Load,
    clear_source,
    create_session_indexes,
    load_transaction,
)
from tippers_dagster.campus.source.schema import (
    TRUTH_DEVICE,
    TRUTH_PERSON,
    refuse_foreign_source,
    source_tables,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.simulation.campus import Batch, Campus
from tippers_dagster.simulation.options import CampusOptions

LONGEST_SESSION = 2 * 86400
"""Seconds; no simulated session with an end lasts longer."""


@dataclass
class SimulationReport:
    """What was written, and how long it took.

    ``rows`` are by kind of table, ``unusable`` rows of the session table (part of its rows) by
    reason, ``people`` and ``devices`` by type, ``seconds`` by stage.
    """

    options: CampusOptions
    rows: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    people: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def write_campus(
    settings: Settings,
    campus: Campus,
    replace: bool = False,
    progress: Callable[[float], None] | None = None,
) -> SimulationReport:
    """Generate the campus's sessions and truth, and load everything in one transaction.

    Parameters
    ----------
    settings
        Of the home, or deployment, whose source tables are filled.
    campus
        From ``simulate_campus``; its time zone and length of open sessions must be the settings'.
    replace
        Empty the source tables first, with what was ingested into them.
    progress
        Called with the share (0 to 1) that is done.

    Raises
    ------
    SourceError
        When the source is a deployment's own database.
    BadInput
        When the tables hold data and ``replace`` is not set, or the campus does not suit the
        settings. Nothing is changed then.
    """
    refuse_foreign_source(settings)
    _check_suits(settings, campus)
    _migrate(settings)
    create_source_schema(settings)
    report = SimulationReport(campus.options)
    began = time.perf_counter()
    with load_transaction(settings) as load:
        if not replace:
            _refuse_overwriting(load, settings)
        clear_source(load, settings)
        _load(load, settings, campus, report, progress)
        loaded = time.perf_counter()
        create_session_indexes(load, settings)
    report.seconds = {
        "generate and load": loaded - began,
        "index": time.perf_counter() - loaded,
    }
    return report


def _check_suits(settings: Settings, campus: Campus) -> None:
    options = campus.options
    if options.timezone != settings.timezone:
        raise BadInput(
            f"The campus lives by {options.timezone}, TIPPERS_TIMEZONE is {settings.timezone}.",
            "Simulate with the settings' time zone.",
        )
    if options.open_session_seconds != settings.open_session_seconds:
        raise BadInput(
            f"The campus counts open sessions for {options.open_session_seconds} s, "
            f"TIPPERS_OPEN_SESSION_SECONDS is {settings.open_session_seconds}.",
            "Simulate with the settings' value, or the true counts would not be true.",
        )
    first = dt.datetime.combine(options.start, dt.time())
    after = first + dt.timedelta(days=options.days)
    earliest, latest = settings.plausible_range()
    if first < earliest or after > latest:
        raise BadInput(
            f"The campus lives from {first:%Y-%m-%d} to {after:%Y-%m-%d}; times outside "
            f"{earliest:%Y-%m-%d %H:%M} to {latest:%Y-%m-%d %H:%M} are rejected as implausible.",
            "Choose another --start or fewer --days, or set TIPPERS_EARLIEST_TIME and "
            "TIPPERS_LATEST_TIME.",
        )
    if settings.longest_session_seconds < LONGEST_SESSION:
        raise BadInput(
            f"TIPPERS_LONGEST_SESSION_SECONDS is {settings.longest_session_seconds}: sessions of "
            "always-on devices would be rejected.",
            f"Set it to at least {LONGEST_SESSION}.",
        )


def _migrate(settings: Settings) -> None:
    # SQLAlchemy and Alembic are slow to import; everything else here does without them.
    from tippers_dagster.platform.warehouse.engine import warehouse_engine

    warehouse_engine(settings)


def _refuse_overwriting(load: Load, settings: Settings) -> None:
    full = [t for t in source_tables(settings).values() if not load.is_empty(t)]
    if full:
        names = ", ".join(f"{table.schema}.{table.name}" for table in full)
        raise BadInput(
            f"There is data already in {names}.",
            "Use --replace to delete it and everything ingested, or another TIPPERS_HOME.",
        )


def _load(
    load: Load,
    settings: Settings,
    campus: Campus,
    report: SimulationReport,
    progress: Callable[[float], None] | None,
) -> None:
    tables = source_tables(settings)
    report.people.update(_counts(campus.tables[TRUTH_PERSON]["person_type"]))
    report.devices.update(_counts(campus.tables[TRUTH_DEVICE]["device_type"]))
    fixed = [Batch(kind, rows, done=0.0) for kind, rows in campus.tables.items()]
    for batch in itertools.chain(fixed, campus.batches()):
        report.rows[batch.kind] += load.copy_in(tables[batch.kind], batch.rows)
        report.unusable.update(batch.unusable)
        if progress is not None:
            progress(batch.done)


def _counts(types: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in types.value_counts().to_pylist()}
