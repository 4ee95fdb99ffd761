"""Definitions that cannot work, as assets that say why. They never keep the others from loading."""

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError

import dagster as dg

from tippers_dagster.automation.condition import up_to_date
from tippers_dagster.automation.nodes import Node, digest, in_order
from tippers_dagster.automation.runs import asset_locks
from tippers_dagster.automation.state import recorder
from tippers_dagster.settings import get_settings

Key = tuple[str, ...]

_ODD = re.compile(r"[^A-Za-z0-9_]")


def broken_node(key: Iterable[str], reason: str, deps: Iterable[Key] = ()) -> Node:
    """A node of what cannot be computed. Odd characters of its key are replaced."""
    parts = tuple(_ODD.sub("_", part) or "_" for part in key)
    return Node(parts, digest("broken", reason), tuple(sorted(set(deps) - {parts})), broken=reason)


def without_riddles(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in order; those that read what nobody makes, or themselves, are broken."""
    by_key = {node.key: node for node in nodes}
    while (circle := _circle(by_key)) is not None:
        path = " -> ".join(".".join(key) for key in circle)
        for key in set(circle):
            deps = [dep for dep in by_key[key].deps if dep not in circle]
            by_key[key] = _break(by_key[key], f"It reads itself: {path}.", deps)
    return in_order(_judged(node, by_key) for node in by_key.values())


def broken_assets(nodes: Iterable[Node], groups: Mapping[Key, str]) -> list[dg.AssetsDefinition]:
    """An asset for each node that is broken: materializing it fails with its reason.

    Parameters
    ----------
    nodes
        All; only the broken ones become assets here.
    groups
        The concept of each, where it has one.
    """
    return [_asset(node, groups.get(node.key)) for node in nodes if node.broken is not None]


def _asset(node: Node, group: str | None) -> dg.AssetsDefinition:
    reason = node.broken or ""

    @dg.asset(
        key=dg.AssetKey(node.key),
        deps=[dg.AssetKey(dep) for dep in node.deps],
        group_name=_ODD.sub("_", group) if group else "broken",
        kinds={"broken"},
        description=f"One definition that cannot work: {reason}",
        automation_condition=up_to_date(),
    )
    def cannot_work(context: dg.AssetExecutionContext) -> None:
        settings, run_id = get_settings(), context.run.run_id
        with asset_locks(settings, run_id, [node.key], context.log):
            recorder(settings, [node], run_id).failed(node.key, reason)
        raise dg.Failure(reason, allow_retries=False)

    return cannot_work


def _judged(node: Node, by_key: Mapping[Key, Node]) -> Node:
    missing = sorted(dep for dep in node.deps if dep not in by_key)
    if not missing:
        return node
    names = ", ".join(".".join(dep) for dep in missing)
    reason = node.broken or f"It reads {names}, which no definition makes."
    return _break(node, reason, [dep for dep in node.deps if dep in by_key])


def _break(node: Node, reason: str, deps: Iterable[Key]) -> Node:
    return Node(node.key, digest("broken", reason), tuple(deps), broken=reason)


def _circle(by_key: Mapping[Key, Node]) -> list[Key] | None:
    try:
        in_order(by_key.values())
    except CycleError as error:
        return list(error.args[1])
    return None
