"""The main job: session_source -> sessions -> source_occupancy -> derived_occupancy, and from
sessions the days and encounters that rules read.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import dagster as dg

from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.occupancy.counting import (
    BETWEEN_CHILDREN,
    WIDER_BINS,
    WITHIN_DEVICES,
    InconsistentCounts,
)
from tippers_dagster.occupancy.describe import SCHEMAS, describe_run
from tippers_dagster.occupancy.partitions import (
    chunk_partitions,
    derived_partitions,
    sessions_to_source,
    source_partitions,
    source_to_derived,
    split_key,
)
from tippers_dagster.occupancy.records import record_duration, take_back_attempts
from tippers_dagster.occupancy.reporting import report_computed
from tippers_dagster.occupancy.runs import (
    ONE_KEY_TAG,
    ONWARD_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    keys_between,
    run_locks,
)
from tippers_dagster.occupancy.sessions import VERSION as SESSIONS_VERSION
from tippers_dagster.occupancy.snapshot import keep_up_to_date
from tippers_dagster.occupancy.source_checks import observe
from tippers_dagster.occupancy.state import ASSETS, DAYS, DAYS_VERSION, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.state import VERSION as COUNTS_VERSION
from tippers_dagster.occupancy.work import SAME_REQUEST_SECONDS, Outcome, compute, compute_due
from tippers_dagster.platform.disk import environment_fault
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

GROUP = "occupancy"
SESSION_SOURCE = "session_source"
REJECTED_SHARE = "rejected_share"

CHECKS = {
    SESSIONS: (),
    SOURCE: (WITHIN_DEVICES, WIDER_BINS),
    DERIVED: (WITHIN_DEVICES, WIDER_BINS, BETWEEN_CHILDREN),
    DAYS: (),
}
"""The checks of counts, by asset."""


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
        "output_required": False,
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
) -> Iterator[dg.AssetCheckResult]:
    """One row per device session that overlaps a time chunk: cleaned, pseudonymised, and sorted by
    device and start. A session that starts in an earlier chunk is marked as carried.
    """
    yield from _materialize(context, SESSIONS)


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
) -> Iterator[dg.AssetCheckResult]:
    """One row per non-empty bin of a space in a time chunk: its distinct devices, for spaces that
    sessions name. The presence that they are counted from is stored beside them.
    """
    yield from _materialize(context, SOURCE)


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
) -> Iterator[dg.AssetCheckResult]:
    """One row per non-empty bin of a space in a time chunk: its distinct devices, for spaces with
    children. Counted from the union of the subtree's presence, never as a sum.
    """
    yield from _materialize(context, DERIVED)


@dg.asset(
    partitions_def=chunk_partitions,
    deps=[SESSIONS],
    kinds={"python", "parquet"},
    code_version=str(DAYS_VERSION),
    **_common(DAYS),
)
def days_and_encounters(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetCheckResult]:
    """One row per device, date and place with sessions (place_days), per device and date
    (device_days), and per device and those that it meets (encounters): what rules read of a time
    chunk. A session counts in the chunk in which it starts.
    """
    yield from _materialize(context, DAYS)


DEFINED: list[dg.AssetsDefinition | dg.SourceAsset] = [
    session_source,
    sessions,
    source_occupancy,
    derived_occupancy,
    days_and_encounters,
]


def _materialize(context: dg.AssetExecutionContext, asset: str) -> Iterator[dg.AssetCheckResult]:
    """Compute the run's partitions, and in a run of automation all that follows in its chunks.

    The run has no output that Dagster would report for its whole range: it logs a materialization
    of each partition that it has computed.

    Raises
    ------
    dagster.Failure
        If a chunk failed. All others were computed and reported.
    """
    requested_at = _requested_at(context.run)
    following = ASSETS[ASSETS.index(asset) :]
    outcomes: list[Outcome] = []
    for level in (asset,) if requested_at is None else following:
        outcome = _compute(context, level, requested_at)
        report_computed(context, get_settings(), outcome)
        if level == asset:
            yield from _checks(outcome)
        elif outcome.computed or outcome.failed:
            for check in _checks(outcome):
                context.log_event(_evaluation(level, check))
        if requested_at is None and outcome.computed:
            told = describe_run(get_settings(), outcome)
            context.log_event(dg.AssetObservation(level, metadata=told))
        outcomes.append(outcome)
    context.log.info("; ".join(_summary(outcome) for outcome in outcomes))
    if failed := [outcome for outcome in outcomes if outcome.failed]:
        _fail(failed)


def _requested_at(run: dg.DagsterRun) -> float | None:
    """When automation requested the run (Unix seconds); None if a person started it.

    A run that somebody executes again has the tags of the first.
    """
    tag = run.tags.get(ONWARD_TAG)
    return None if tag is None or run.parent_run_id is not None else float(tag)


def _compute(context: dg.AssetExecutionContext, asset: str, requested_at: float | None) -> Outcome:
    settings = get_settings()
    run_id = context.run.run_id
    chunks = _chunks(context)
    with (
        _excusing(settings, asset, chunks, requested_at),
        run_locks(settings, run_id, asset, chunks, context.log),
    ):
        if requested_at is not None:
            outcome = compute_due(settings, asset, chunks, run_id, requested_at)
        else:
            stale_only = STALE_ONLY_TAG in context.run.tags
            keys = [split_key(asset, key) for key in context.partition_keys]
            outcome = compute(settings, asset, keys, run_id, stale_only=stale_only)
        _excuse(settings, asset, outcome.failed, requested_at)
    if outcome.computed:
        engine = warehouse_engine(settings)
        record_duration(engine, run_id, asset, outcome.computed, outcome.seconds)
    return outcome


def _summary(outcome: Outcome) -> str:
    return (
        f"{outcome.asset}: {outcome.computed} partitions in {outcome.seconds:.1f} s, "
        f"{outcome.skipped} already up to date, {len(outcome.failed)} chunks failed"
    )


def _chunks(context: dg.AssetExecutionContext) -> list[str]:
    """The run's chunks, in order. Listing its partitions would make a key of each."""
    (asset,) = (key.to_user_string() for key in context.selected_asset_keys)
    first = context.run.tags.get(RANGE_START_TAG) or context.run.tags[ONE_KEY_TAG]
    last = context.run.tags.get(RANGE_END_TAG) or first
    keys = list(context.instance.get_dynamic_partitions(chunk_partitions.name or ""))
    return sorted(keys_between(keys, split_key(asset, first)[1], split_key(asset, last)[1]))


@contextmanager
def _excusing(
    settings: Settings, asset: str, chunks: list[str], requested_at: float | None
) -> Iterator[None]:
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
        _excuse(settings, asset, dict.fromkeys(chunks, fault), requested_at)
        raise fault from error


def _excuse(
    settings: Settings,
    asset: str,
    failed: Mapping[str, BaseException],
    requested_at: float | None,
) -> None:
    """Do not count automation's attempts at chunks that failed through the environment; retry them
    later.
    """
    excused = {chunk for chunk, error in failed.items() if environment_fault(error) is not None}
    if excused and requested_at is not None:
        since = dt.datetime.fromtimestamp(requested_at - SAME_REQUEST_SECONDS, dt.UTC)
        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=settings.environment_retry_seconds)
        take_back_attempts(warehouse_engine(settings), asset, excused, since, until)


def _fail(failed: list[Outcome]) -> NoReturn:
    asset, (chunk, error) = failed[0].asset, next(iter(failed[0].failed.items()))
    chunks = sorted({chunk for outcome in failed for chunk in outcome.failed})
    reason = recordable(str(error), get_settings())
    raise dg.Failure(
        f"Failed chunks: {len(chunks)} of {len(failed[0].chunks)}; the others are recorded. First "
        f"failure, {asset} in {chunk}: {reason}",
        metadata={"failed_chunks": chunks},
    ) from (error if reason == str(error) else None)


def _evaluation(asset: str, check: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=check.check_name or "",
        passed=check.passed,
        metadata=check.metadata,
        severity=check.severity,
    )


def _checks(outcome: Outcome) -> Iterator[dg.AssetCheckResult]:
    """The results of an asset's checks."""
    if outcome.asset == SESSIONS:
        yield _rejected_share(outcome)
    wrong = {
        error.check: f"{chunk}: {error.message}"
        for chunk, error in outcome.failed.items()
        if isinstance(error, InconsistentCounts)
    }
    for name in CHECKS[outcome.asset]:
        yield dg.AssetCheckResult(
            check_name=f"{outcome.asset}__{name}",
            passed=name not in wrong,
            metadata={
                "partitions_checked": outcome.computed,
                **({"example": wrong[name]} if name in wrong else {}),
            },
        )


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
