"""Writes a simulated campus to the source tables, completely or not at all."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from tippers_dagster.campus.devices import KINDS, device_kinds
from tippers_dagster.campus.log.people import persons
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import (
    Load,
    clear_source,
    create_session_indexes,
    load_transaction,
)
from tippers_dagster.campus.source.schema import (
    PERSON,
    SESSIONS,
    TRUTH_PERSON,
    require_own_source,
    source_tables,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.simulation.campus import USER_NAME, Batch, Campus
from tippers_dagster.simulation.identities import USER_NAMES
from tippers_dagster.simulation.options import CampusOptions
from tippers_dagster.simulation.people import DEVICE_TYPES

MAX_SESSION_SECONDS = 2 * 86400
"""Maximum duration in seconds of simulated sessions that have an end."""


@dataclass
class SimulationReport:
    """What was written, and how long it took.

    ``rows`` are numbers of rows by kind of table, ``unusable`` those of unusable session rows
    (included in ``rows``) by reason, ``repeated`` those of further rows of sessions, ``people`` and
    ``devices`` numbers by type, ``addresses`` by kind, ``seconds`` by stage.
    """

    options: CampusOptions
    rows: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    people: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class SourceRows:
    """Rows of batches as the source's tables have them: with persons in place of user names."""

    def __init__(self, settings: Settings, campus: Campus) -> None:
        names = campus.identities.user_names
        self._persons = persons(names, USER_NAMES, device_key(settings)).view(pa.int64())

    def __call__(self, batch: Batch) -> pa.Table:
        """The rows of one batch."""
        if batch.kind != SESSIONS:
            return batch.rows
        names = batch.rows[USER_NAME].combine_chunks()
        rows = batch.rows.drop_columns([USER_NAME])
        return rows.append_column(PERSON, self._persons.take(names.indices))


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
        Settings of the home, or deployment, whose source tables are filled.
    campus
        From ``simulate_campus``; its time zone and duration of open sessions must match the
        settings.
    replace
        Empty the source tables first, including everything ingested.
    progress
        Called with the share (0 to 1) that is done.

    Raises
    ------
    SourceError
        When the source is the deployment's own database.
    BadInput
        When the tables have data and ``replace`` is not set, or the campus does not match the
        settings. Nothing is changed then.
    """
    require_own_source(settings)
    _check_suits(settings, campus)
    warehouse_engine(settings)  # migrates the tables
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
            f"The campus uses the time zone {options.timezone}, but TIPPERS_TIMEZONE is "
            f"{settings.timezone}.",
            "Simulate with the time zone of the settings.",
        )
    if options.open_session_seconds != settings.open_session_seconds:
        raise BadInput(
            f"The campus counts open sessions for {options.open_session_seconds} s, but "
            f"TIPPERS_OPEN_SESSION_SECONDS is {settings.open_session_seconds}.",
            "Simulate with the value of the settings; otherwise the true counts would be wrong.",
        )
    first = dt.datetime.combine(options.start, dt.time())
    after = first + dt.timedelta(days=options.days)
    earliest, latest = settings.plausible_range()
    if first < earliest or after > latest:
        raise BadInput(
            f"The simulated days are {first:%Y-%m-%d} to {after:%Y-%m-%d}, but times outside "
            f"{earliest:%Y-%m-%d %H:%M} to {latest:%Y-%m-%d %H:%M} are rejected as implausible.",
            "Choose another --start or fewer --days, or set TIPPERS_EARLIEST_TIME and "
            "TIPPERS_LATEST_TIME.",
        )
    if settings.longest_session_seconds < MAX_SESSION_SECONDS:
        raise BadInput(
            f"TIPPERS_LONGEST_SESSION_SECONDS is {settings.longest_session_seconds}: sessions of "
            "always-on devices would be rejected.",
            f"Set it to at least {MAX_SESSION_SECONDS}.",
        )


def _refuse_overwriting(load: Load, settings: Settings) -> None:
    with_data = [t for t in source_tables(settings).values() if not load.is_empty(t)]
    if with_data:
        names = ", ".join(f"{table.schema}.{table.name}" for table in with_data)
        raise BadInput(
            f"There is already data in {names}.",
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
    report.devices.update(_counts(pa.array(DEVICE_TYPES).take(pa.array(campus.devices.type))))
    kinds = device_kinds(campus.identities.addresses)
    report.addresses.update(_counts(pa.array(KINDS).take(pa.array(kinds))))
    rows = SourceRows(settings, campus)
    fixed = [Batch(kind, table, done=0.0) for kind, table in campus.tables.items()]
    for batch in itertools.chain(fixed, campus.batches()):
        report.rows[batch.kind] += load.copy_in(tables[batch.kind], rows(batch))
        report.unusable.update(batch.unusable)
        report.repeated += batch.repeated
        if progress is not None:
            progress(batch.done)


def _counts(types: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in types.value_counts().to_pylist()}
