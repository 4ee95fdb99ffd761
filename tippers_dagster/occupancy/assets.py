"""The main job: session_source -> sessions -> source_occupancy -> derived_occupancy, and from
sessions the days and encounters that rules read.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.occupancy.counting import (
    BETWEEN_CHILDREN,
    WIDER_BINS,
    WITHIN_DEVICES,
    InconsistentCounts,
)
from tippers_dagster.occupancy.describe import SCHEMAS, describe
from tippers_dagster.occupancy.partitions import (
    chunk_partitions,
    derived_partitions,
    sessions_to_source,
    source_partitions,
    source_to_derived,
    split_key,
)
from tippers_dagster.occupancy.records import record_duration, take_back_attempts
from tippers_dagster.occupancy.runs import run_locks
from tippers_dagster.occupancy.sessions import VERSION as SESSIONS_VERSION
from tippers_dagster.occupancy.snapshot import keep_up_to_date
from tippers_dagster.occupancy.source_checks import observe
from tippers_dagster.occupancy.state import DAYS, DAYS_VERSION, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.state import VERSION as COUNTS_VERSION
from tippers_dagster.occupancy.work import Outcome, compute
from tippers_dagster.platform.disk import environment_fault
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

GROUP = "occupancy"
SESSION_SOURCE = "session_source"
REJECTED_SHARE = "rejected_share"


def _check(asset: str, name: str, description: str, *, blocking: bool = True) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        f"{asset}__{name}", asset=asset, description=description, blocking=blocking
    )


def _common(asset: str) -> dict[str, Any]:
    """Arguments that all assets share; a run takes all of its partitions at once."""
    return {
        "name": asset,
        "group_name": GROUP,
        "owners": ["team:platform"],
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "automation_condition": keep_up_to_date(),
        "metadata": {"dagster/column_schema": SCHEMAS[asset]},
    }


@dg.observable_source_asset(
    name=SESSION_SOURCE,
    partitions_def=chunk_partitions,
    group_name=GROUP,
    description="One fingerprint per time chunk of the campus's own session log, which is never "
    "written to. A late or changed row changes the fingerprint of its chunk.",
)
def session_source(context: dg.OpExecutionContext) -> dg.DataVersionsByPartition:
    """One fingerprint per time chunk of the source's sessions."""
    settings = get_settings()
    observed = observe(settings, list(context.partition_keys))
    return dg.DataVersionsByPartition({c: f"{o.fingerprint:016x}" for c, o in observed.items()})


@dg.asset(
    partitions_def=chunk_partitions,
    deps=[session_source],
    kinds={"postgres", "parquet"},
    code_version=str(SESSIONS_VERSION),
    **_common(SESSIONS),
    check_specs=[
        _check(
            SESSIONS,
            REJECTED_SHARE,
            "The share of rejected rows is at most TIPPERS_MAX_REJECTED_SHARE in every chunk.",
            blocking=False,  # the other rows are right; people judge how many may be missing
        )
    ],
)
def sessions(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row per device session that overlaps a time chunk: cleaned, pseudonymised, and sorted by
    device and start. A session that starts in an earlier chunk is marked as carried.
    """
    outcome = _run(context, SESSIONS)
    yield _rejected_share(outcome)
    yield from _results(context, outcome, [])


@dg.asset(
    partitions_def=source_partitions,
    deps=[dg.AssetDep(SESSIONS, partition_mapping=sessions_to_source)],
    kinds={"python", "parquet"},
    code_version=str(COUNTS_VERSION),
    **_common(SOURCE),
    check_specs=[
        _check(SOURCE, WITHIN_DEVICES, "No count exceeds the number of devices in the chunk."),
        _check(SOURCE, WIDER_BINS, "A wider bin counts at least as many as any bin within it."),
    ],
)
def source_occupancy(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row per non-empty bin of a space in a time chunk: its distinct devices, for spaces that
    sessions name. The presence that they are counted from is stored beside them.
    """
    outcome = _run(context, SOURCE)
    yield from _results(context, outcome, [WITHIN_DEVICES, WIDER_BINS])


@dg.asset(
    partitions_def=derived_partitions,
    deps=[dg.AssetDep(SOURCE, partition_mapping=source_to_derived)],
    kinds={"python", "parquet"},
    code_version=str(COUNTS_VERSION),
    **_common(DERIVED),
    check_specs=[
        _check(DERIVED, WITHIN_DEVICES, "No count exceeds the number of devices in the chunk."),
        _check(DERIVED, WIDER_BINS, "A wider bin counts at least as many as any bin within it."),
        _check(
            DERIVED,
            BETWEEN_CHILDREN,
            "A space has at least as many devices as its fullest child, and at most as many as "
            "all its children together.",
        ),
    ],
)
def derived_occupancy(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row per non-empty bin of a space in a time chunk: its distinct devices, for spaces with
    children. Counted from the union of the subtree's presence, never as a sum.
    """
    outcome = _run(context, DERIVED)
    yield from _results(context, outcome, [WITHIN_DEVICES, WIDER_BINS, BETWEEN_CHILDREN])


@dg.asset(
    partitions_def=chunk_partitions,
    deps=[SESSIONS],
    kinds={"python", "parquet"},
    code_version=str(DAYS_VERSION),
    **_common(DAYS),
)
def days_and_encounters(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row per device, date and place with sessions (place_days), per device and date
    (device_days), and per device and those that it meets (encounters): what rules read of a time
    chunk. A session counts in the chunk in which it starts.
    """
    outcome = _run(context, DAYS)
    yield from _results(context, outcome, [])


ASSETS: list[dg.AssetsDefinition | dg.SourceAsset] = [
    session_source,
    sessions,
    source_occupancy,
    derived_occupancy,
    days_and_encounters,
]


def _run(context: dg.AssetExecutionContext, asset: str) -> Outcome:
    settings = get_settings()
    partitions = [split_key(asset, key) for key in context.partition_keys]
    chunks = sorted({chunk for _, chunk in partitions})
    with (
        _excusing(settings, asset, partitions),
        run_locks(settings, context.run.run_id, asset, chunks, context.log),
    ):
        outcome = compute(
            settings,
            asset,
            partitions,
            context.run.run_id,
            stale_only=STALE_ONLY_TAG in context.run.tags,
        )
        _excuse(settings, asset, partitions, outcome.failed)
    context.log.info(
        f"Partitions computed: {outcome.computed}, in {outcome.seconds:.1f} s; already up to "
        f"date: {outcome.skipped}; failed chunks: {len(outcome.failed)}."
    )
    if outcome.computed:
        engine = warehouse_engine(settings)
        record_duration(engine, context.run.run_id, asset, outcome.computed, outcome.seconds)
    return outcome


@contextmanager
def _excusing(settings: Settings, asset: str, partitions: list[tuple[str, str]]) -> Iterator[None]:
    """Do not count a run as an attempt at its partitions if the environment failed.

    Raises
    ------
    EnvironmentFault
        In place of the error that the fault caused.
    """
    try:
        yield
    except Exception as error:
        fault = environment_fault(error)
        if fault is None:
            raise
        _excuse(settings, asset, partitions, dict.fromkeys({c for _, c in partitions}, fault))
        raise fault from error


def _excuse(
    settings: Settings,
    asset: str,
    partitions: list[tuple[str, str]],
    failed: Mapping[str, BaseException],
) -> None:
    """Do not count attempts at chunks that failed through the environment; retry them later."""
    excused = {chunk for chunk, error in failed.items() if environment_fault(error) is not None}
    if excused:
        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=settings.environment_retry_seconds)
        cells = [cell for cell in partitions if cell[1] in excused]
        take_back_attempts(warehouse_engine(settings), asset, cells, until)


def _results(
    context: dg.AssetExecutionContext, outcome: Outcome, checks: list[str]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """The run's check results and materialization; raises if a chunk failed."""
    wrong = {
        error.check: f"{chunk}: {error.message}"
        for chunk, error in outcome.failed.items()
        if isinstance(error, InconsistentCounts)
    }
    for name in checks:
        yield dg.AssetCheckResult(
            check_name=f"{outcome.asset}__{name}",
            passed=name not in wrong,
            metadata={
                "partitions_checked": outcome.computed,
                **({"example": wrong[name]} if name in wrong else {}),
            },
        )
    if outcome.failed:
        chunk, error = next(iter(outcome.failed.items()))
        reason = recordable(str(error), get_settings())
        raise dg.Failure(
            f"Failed chunks: {len(outcome.failed)} of {len(outcome.chunks)}; the others are "
            f"recorded. First failure, in {chunk}: {reason}",
            metadata={"failed_chunks": sorted(outcome.failed)},
        ) from (error if reason == str(error) else None)
    yield dg.MaterializeResult(metadata=describe(context, get_settings(), outcome))


def _rejected_share(outcome: Outcome) -> dg.AssetCheckResult:
    limit = get_settings().max_rejected_share
    shares = {s.chunk: s.rejected / max(1, s.rejected + s.rows) for s in outcome.sessions}
    over = {chunk: round(share, 4) for chunk, share in shares.items() if share > limit}
    return dg.AssetCheckResult(
        check_name=f"{SESSIONS}__{REJECTED_SHARE}",
        passed=not over,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "limit": limit,
            "largest_share": max(shares.values(), default=0.0),
            "chunks_over_the_limit": over,
            "what_to_do": "`tippers rejects` lists the rows and the reasons",
        },
    )
