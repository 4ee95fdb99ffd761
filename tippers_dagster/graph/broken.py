"""Broken definitions, as assets that say what is wrong. The others load nevertheless."""

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError

import dagster as dg

from tippers_dagster.automation.conditions import up_to_date
from tippers_dagster.automation.nodes import Node, digest, in_dependency_order
from tippers_dagster.automation.runs import asset_locks
from tippers_dagster.automation.state import recorder
from tippers_dagster.settings import get_settings

Key = tuple[str, ...]

_ODD = re.compile(r"[^A-Za-z0-9_]")


def broken_node(key: Iterable[str], reason: str, deps: Iterable[Key] = ()) -> Node:
    """A node that cannot be computed. Invalid characters in its key are replaced."""
    parts = tuple(_ODD.sub("_", part) or "_" for part in key)
    return Node(parts, digest("broken", reason), tuple(sorted(set(deps) - {parts})), broken=reason)


def mark_broken_nodes(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in order; nodes that read missing assets or form a cycle are marked as broken."""
    by_key = {node.key: node for node in nodes}
    while (cycle := _cycle(by_key)) is not None:
        path = " -> ".join(".".join(key) for key in cycle)
        for key in set(cycle):
            deps = [dep for dep in by_key[key].deps if dep not in cycle]
            by_key[key] = _break(by_key[key], f"It reads itself: {path}.", deps)
    return in_dependency_order(_check_inputs(node, by_key) for node in by_key.values())


def broken_assets(nodes: Iterable[Node], groups: Mapping[Key, str]) -> list[dg.AssetsDefinition]:
    """An asset per broken node; materializing it fails with the reason.

    Parameters
    ----------
    nodes
        All nodes, of which the broken ones become assets.
    groups
        The concept of each node that has one.
    """
    return [_asset(node, groups.get(node.key)) for node in nodes if node.broken is not None]


def _asset(node: Node, group: str | None) -> dg.AssetsDefinition:
    reason = node.broken or ""

    @dg.asset(
        key=dg.AssetKey(node.key),
        deps=[dg.AssetKey(dep) for dep in node.deps],
        group_name=_ODD.sub("_", group) if group else "broken",
        kinds={"broken"},
        description=f"A broken definition: {reason}",
        automation_condition=up_to_date(),
    )
    def broken(context: dg.AssetExecutionContext) -> None:
        settings, run_id = get_settings(), context.run.run_id
        with asset_locks(settings, run_id, [node.key], context.log):
            recorder(settings, [node], run_id).failed(node.key, reason)
        raise dg.Failure(reason, allow_retries=False)

    return broken


def _check_inputs(node: Node, by_key: Mapping[Key, Node]) -> Node:
    missing = sorted(dep for dep in node.deps if dep not in by_key)
    if not missing:
        return node
    names = ", ".join(".".join(dep) for dep in missing)
    reason = node.broken or f"It reads {names}, but no definition has this name."
    return _break(node, reason, [dep for dep in node.deps if dep in by_key])


def _break(node: Node, reason: str, deps: Iterable[Key]) -> Node:
    return Node(node.key, digest("broken", reason), tuple(deps), broken=reason)


def _cycle(by_key: Mapping[Key, Node]) -> list[Key] | None:
    try:
        in_dependency_order(by_key.values())
    except CycleError as error:
        return list(error.args[1])
    return None
