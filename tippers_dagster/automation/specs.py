"""What definition assets and their checks have in common, and how failures are recorded."""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import dagster as dg

from tippers_dagster.automation.conditions import up_to_date
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.runs import asset_locks
from tippers_dagster.automation.state import Recorder, recorder
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import LowMemory, TippersError
from tippers_dagster.platform.disk import environment_fault
from tippers_dagster.platform.locks.locks import hold_run_lock
from tippers_dagster.platform.memory import wait_for_memory
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.settings import Settings

_OWNER = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|team:\S+")


def definition_spec(
    catalog: Catalog, node: Node, definition: Definition, grain: str, **more: Any
) -> dg.AssetSpec:
    """The asset specification of a definition.

    Parameters
    ----------
    node
        Its key and inputs.
    grain
        What a row stands for; the asset's description starts with it.
    more
        Further arguments of ``AssetSpec``, such as ``kinds``.
    """
    ref, owner = definition.ref, definition.owner
    description = f"\n\n{definition.description}" if definition.description else ""
    level = {"tippers/level": str(catalog.level(ref.concept))} if ref.concept else {}
    concept = {"tippers/concept": ref.concept} if ref.concept else {}
    return dg.AssetSpec(
        dg.AssetKey(node.key),
        deps=[dg.AssetKey(dep) for dep in node.deps],
        group_name=ref.concept or ref.kind.value,
        owners=[owner] if _OWNER.fullmatch(owner) else None,
        description=f"{grain}{description}",
        code_version=node.content,
        automation_condition=up_to_date(),
        tags={"tippers/kind": ref.kind.value, **concept, **level},
        metadata={"tippers/owner": owner} if owner else {},
        **more,
    )


def check_specs(asset: dg.AssetKey, checks: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    """The checks of an asset, from names and descriptions; none of them blocks its dependents."""
    return [
        dg.AssetCheckSpec(f"{asset.path[-1]}__{check}", asset=asset, description=description)
        for check, description in checks.items()
    ]


def check_result(
    asset: dg.AssetKey, check: str, passed: bool, metadata: Mapping[str, Any], severe: bool = False
) -> dg.AssetCheckResult:
    """The result of one of ``check_specs``; a failure is an error if ``severe``, else a warning."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=f"{asset.path[-1]}__{check}",
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def assets_of_kind(
    catalog: Catalog,
    kind: Kind,
    nodes: Sequence[Node],
    make: Callable[[dict[tuple[str, ...], Node], Definition], dg.AssetsDefinition],
    path: Callable[[Ref], tuple[str, ...]] = attrgetter("asset_path"),
) -> list[dg.AssetsDefinition]:
    """One asset per definition of a kind, except for broken ones.

    Parameters
    ----------
    nodes
        All nodes, including those of other assets.
    make
        Makes the asset from the nodes that are not broken, by key, and the definition.
    path
        Returns the asset key for a definition, if not its main asset's.
    """
    sound = sound_nodes(nodes)
    return [make(sound, d) for d in catalog.of_kind(kind) if path(d.ref) in sound]


def sound_nodes(nodes: Sequence[Node]) -> dict[tuple[str, ...], Node]:
    """The nodes that are not broken, by key."""
    return {node.key: node for node in nodes if node.broken is None}


def one_asset(
    spec: dg.AssetSpec,
    checks: Mapping[str, str],
    compute: Callable[[dg.AssetExecutionContext], Iterator[Any]],
) -> dg.AssetsDefinition:
    """An asset from its specification; its step is named after its key.

    Parameters
    ----------
    checks
        Descriptions of the checks, by name.
    compute
        Yields the materialization and the results of the checks.
    """
    name = "__".join(spec.key.path)

    @dg.multi_asset(name=name, specs=[spec], check_specs=check_specs(spec.key, checks))
    def asset(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from compute(context)

    return asset


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
