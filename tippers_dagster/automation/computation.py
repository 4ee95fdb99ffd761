"""What every asset of a definition does around its own work.

It waits for memory, takes its locks, begins an MLflow run, computes, records the result or the
reason of a failure, and reports its checks. An asset itself reads, calls a pure function, and
writes: ``definition_assets`` does the rest.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import dagster as dg

from tippers_dagster.automation.mlflow_runs import MlflowLog, mlflow_run
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.runs import STALE_ONLY_TAG, asset_locks
from tippers_dagster.automation.specs import check_result, check_specs, definition_spec, sound_nodes
from tippers_dagster.automation.state import COMPUTED_IN, AssetState, Recorder, recorder
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import LowMemory, TippersError
from tippers_dagster.platform.disk import environment_fault
from tippers_dagster.platform.locks.locks import hold_run_lock
from tippers_dagster.platform.memory import wait_for_memory
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.settings import Settings

LOGGED = "logged_to_mlflow"
NOTHING_CHANGED = (
    "Nothing was computed: the definition is the same, and the inputs were computed again with the "
    "same content."
)

CHECKS = "checks"
"""The detail with the results of checks, for runs that keep the asset's result."""

_LOGGED_CHECK = {LOGGED: "The materialisation is logged to MLflow."}


class Computation:
    """One materialisation of a definition's asset.

    Attributes
    ----------
    path
        The asset's key.
    record
        Records what is read and written.
    log
        The MLflow run; without an experiment, one that logs nothing.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        settings: Settings,
        path: tuple[str, ...],
        record: Recorder,
        log: MlflowLog,
    ) -> None:
        self.context, self.settings, self.path = context, settings, path
        self.record, self.log = record, log
        self.run_id = context.run.run_id
        self.reported: list[dg.AssetCheckResult] = []
        self.result: dg.MaterializeResult[None] | None = None
        self._started = time.monotonic()

    @property
    def asset(self) -> dg.AssetKey:
        """The asset's key, as Dagster has it."""
        return dg.AssetKey(self.path)

    @cached_property
    def version(self) -> str:
        """The version that is being computed, from the inputs as they are at the first call."""
        return self.record.version(self.path)

    @property
    def seconds(self) -> float:
        """Seconds since the locks were taken."""
        return time.monotonic() - self._started

    def replacing(self) -> None:
        """Void the recorded version; call it before anything is overwritten."""
        self.record.replacing(self.path)

    def log_result(
        self,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Log to MLflow, as ``MlflowLog.log`` does, with the asset and its version as tags."""
        self.log.log(params=params, metrics=metrics, tags=self.tags, files=files or {})

    @property
    def tags(self) -> dict[str, str]:
        """The tags of an MLflow run of this materialisation."""
        return {"version": self.version, "dagster_asset": "/".join(self.path)}

    def report(self, *checks: dg.AssetCheckResult) -> None:
        """Report checks; they count even if the computation then fails."""
        self.reported += checks

    def succeeded(
        self,
        rows: int,
        details: Mapping[str, Any],
        metadata: Mapping[str, Any],
        token: str | None = None,
        checks: Sequence[dg.AssetCheckResult] = (),
    ) -> None:
        """Record the result as the last write.

        Parameters
        ----------
        rows
            How many the asset has.
        details
            Kept in the warehouse.
        metadata
            Shown in Dagster.
        token
            Of what was read outside, if the asset depends on it.
        checks
            Of an asset with ``unchanged``: reported now, and by later runs that keep this result.
            Their metadata must be JSON.
        """
        found = [_check_details(check) for check in checks]
        recorded = {**details, **({CHECKS: found, LOGGED: self.log.problem} if found else {})}
        version = self.record.succeeded(self.path, rows, self.seconds, recorded, token=token)
        self.report(*checks)
        self._materialised(version, metadata)

    def keep(self, state: AssetState) -> None:
        """Record that the recorded result stays: it would be the same again."""
        version = self.record.unchanged(self.path, state)
        self.context.log.info(NOTHING_CHANGED)
        self.report(*(_recorded_check(self.asset, one) for one in state.details[CHECKS]))
        self.log.problem = state.details[LOGGED]
        run = state.details.get(COMPUTED_IN, state.run_id)
        found = {"unchanged": NOTHING_CHANGED, "computed_in_run": run}
        self._materialised(version, {"dagster/row_count": state.rows or 0, **found})

    def _materialised(self, version: str, metadata: Mapping[str, Any]) -> None:
        self.result = dg.MaterializeResult(
            asset_key=self.asset, metadata=dict(metadata), data_version=dg.DataVersion(version)
        )


@dataclass(frozen=True)
class DefinitionAsset:
    """What is particular to the asset of a definition.

    Attributes
    ----------
    grain
        What a row stands for; the asset's description starts with it.
    kinds
        Labels in Dagster's lineage.
    checks
        Descriptions of the checks that ``compute`` reports, by name.
    compute
        Reads, computes, writes, reports its checks and calls ``succeeded``.
    unchanged
        Whether ``compute`` would give the recorded result again, and all of it is still there; then
        it is kept. Called before ``compute``, in runs that compute only what is stale, if the
        result is whole and of the present definition.
    experiment
        The MLflow experiment in which each materialisation is a run; None: it is not logged.
    config
        What a run can be configured with; ``compute`` finds it in the context.
    described
        Whether the definition's description belongs to this asset, not only to its main one.
    lineage
        The inputs that Dagster shows; None: those of its node.
    """

    grain: str
    kinds: set[str]
    checks: Mapping[str, str]
    compute: Callable[[Computation], None]
    unchanged: Callable[[Computation, AssetState], bool] | None = None
    experiment: str | None = None
    config: type[dg.Config] | None = None
    described: bool = True
    lineage: tuple[tuple[str, ...], ...] | None = None


def definition_assets(
    settings: Settings,
    catalog: Catalog,
    kind: Kind,
    nodes: Sequence[Node],
    plan: Callable[[Definition], DefinitionAsset],
    path: Callable[[Ref], tuple[str, ...]] = attrgetter("asset_path"),
) -> list[dg.AssetsDefinition]:
    """One asset per definition of a kind, except for broken ones.

    Parameters
    ----------
    nodes
        The nodes of all assets, not only these.
    path
        Returns the asset key for a definition, if not its main asset's.
    """
    sound = sound_nodes(nodes)
    return [
        _asset(settings, catalog, sound, definition, path(definition.ref), plan(definition))
        for definition in catalog.of_kind(kind)
        if path(definition.ref) in sound
    ]


def _asset(
    settings: Settings,
    catalog: Catalog,
    nodes: Mapping[tuple[str, ...], Node],
    definition: Definition,
    path: tuple[str, ...],
    made: DefinitionAsset,
) -> dg.AssetsDefinition:
    """The asset of one definition; its step is named after its key."""
    described = definition if made.described else replace(definition, description="")
    spec = definition_spec(catalog, nodes[path], described, made.grain, kinds=made.kinds)
    if made.lineage is not None:
        spec = spec.replace_attributes(deps=[dg.AssetKey(above) for above in made.lineage])
    logged = {} if made.experiment is None else _LOGGED_CHECK
    schema = None if made.config is None else made.config.to_fields_dict()

    @dg.multi_asset(
        name="__".join(path),
        specs=[spec],
        check_specs=check_specs(spec.key, {**made.checks, **logged}),
        config_schema=schema,
    )
    def asset(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from _materialise(context, settings, list(nodes.values()), path, made)

    return asset


def _materialise(
    context: dg.AssetExecutionContext,
    settings: Settings,
    nodes: Sequence[Node],
    path: tuple[str, ...],
    made: DefinitionAsset,
) -> Iterator[Any]:
    with recording(settings, context, nodes, path) as record:
        work = Computation(context, settings, path, record, MlflowLog(settings))
        if not _kept(work, made):
            with _log(settings, context, made.experiment) as work.log:
                try:
                    made.compute(work)
                except Exception:
                    yield from work.reported
                    raise
    problem = work.log.problem
    if problem is not None:
        context.log.error("The result is stored, but not fully logged to MLflow: %s", problem)
    assert work.result is not None, f"{'/'.join(path)} recorded no result"
    yield work.result
    yield from work.reported
    if made.experiment is not None:
        reason = {} if problem is None else {"reason": problem}
        yield check_result(work.asset, LOGGED, problem is None, reason, severe=True)


def _kept(work: Computation, made: DefinitionAsset) -> bool:
    """Whether the recorded result stays as it is; then this is recorded."""
    if made.unchanged is None or STALE_ONLY_TAG not in work.context.run.tags:
        return False
    state = work.record.result(work.path)
    if state is None or CHECKS not in state.details or not made.unchanged(work, state):
        return False
    work.keep(state)
    return True


def _check_details(check: dg.AssetCheckResult) -> dict[str, Any]:
    metadata = {name: value.value for name, value in (check.metadata or {}).items()}
    severe = check.severity is dg.AssetCheckSeverity.ERROR
    found = {"check": check.check_name, "passed": bool(check.passed), "severe": severe}
    return {**found, "metadata": metadata}


def _recorded_check(asset: dg.AssetKey, recorded: Mapping[str, Any]) -> dg.AssetCheckResult:
    severities = dg.AssetCheckSeverity
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=recorded["check"],
        passed=recorded["passed"],
        severity=severities.ERROR if recorded["severe"] else severities.WARN,
        metadata=recorded["metadata"],
    )


def _log(
    settings: Settings, context: dg.AssetExecutionContext, experiment: str | None
) -> AbstractContextManager[MlflowLog]:
    if experiment is None:
        return nullcontext(MlflowLog(settings))
    return mlflow_run(settings, context, experiment)


# --- failures -----------------------------------------------------------------------------------
UNEXPECTED = "Unexpected "
"""Prefix of recorded reasons that were not written for users."""


def wait_to_begin(
    settings: Settings,
    context: dg.AssetExecutionContext,
    nodes: Sequence[Node],
    keys: Sequence[tuple[str, ...]],
) -> None:
    """Wait for free memory before taking the locks of assets.

    Raises
    ------
    dagster.Failure
        When too little memory is free for too long. Recorded for each asset, but not as an attempt.
    """
    run_id = context.run.run_id
    hold_run_lock(settings, run_id)
    try:
        wait_for_memory(settings, context.log)
    except LowMemory as error:
        record = recorder(settings, nodes, run_id)
        for key in keys:
            record.failed(key, str(error), environment_failed=True)
        raise dg.Failure(str(error)) from error


@contextmanager
def recording(
    settings: Settings,
    context: dg.AssetExecutionContext,
    nodes: Sequence[Node],
    key: tuple[str, ...],
) -> Iterator[Recorder]:
    """Compute an asset within the block: holds its lock, and records the reason of a failure.

    Within the block, read, write, and then call the recorder's ``succeeded``.

    Parameters
    ----------
    nodes
        At least the asset's node and those of its inputs.

    Raises
    ------
    dagster.Failure
        In place of a ``TippersError``.
    """
    run_id = context.run.run_id
    wait_to_begin(settings, context, nodes, [key])
    with asset_locks(settings, run_id, [key], context.log):
        record = recorder(settings, nodes, run_id)
        try:
            yield record
        except Exception as error:
            fault = environment_fault(error)
            if fault is not None or isinstance(error, TippersError):
                message = recordable(str(fault or error), settings)
                record.failed(key, message, environment_failed=fault is not None)
                raise dg.Failure(message) from None  # Dagster would store the cause, too
            reason = f"{UNEXPECTED}{type(error).__name__}: {error}"
            record.failed(key, recordable(reason, settings))
            trace = traceback.format_exc()
            if recordable(trace, settings) == trace:
                raise
            kept = {"traceback": dg.MetadataValue.text(recordable(trace, settings))}
            raise dg.Failure(recordable(reason, settings), metadata=kept) from None
