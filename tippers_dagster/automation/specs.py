"""The specifications of definition assets and their checks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from tippers_dagster.automation.conditions import refreshed
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.refresh import in_words
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Definition

REFRESH = "tippers/refresh"
"""The metadata with an asset's refresh policy."""

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
    refresh = in_words(node.refresh)
    return dg.AssetSpec(
        dg.AssetKey(node.key),
        deps=[dg.AssetKey(dep) for dep in node.deps],
        group_name=ref.concept or ref.kind.value,
        owners=[owner] if _OWNER.fullmatch(owner) else None,
        description=f"{grain}{description}",
        code_version=node.content,
        automation_condition=refreshed(refresh),
        tags={"tippers/kind": ref.kind.value, **concept, **level},
        metadata={REFRESH: refresh, **({"tippers/owner": owner} if owner else {})},
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


def sound_nodes(nodes: Sequence[Node]) -> dict[tuple[str, ...], Node]:
    """The nodes that are not broken, by key."""
    return {node.key: node for node in nodes if node.broken is None}
